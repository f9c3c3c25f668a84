//! Public keys, their names, and which of them speak for a role.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use ed25519_dalek::VerifyingKey;
use serde_json::{Value, json};

use crate::digest::parse_lowercase_hex;
use crate::limits::KEYS_MAX;
use crate::{Digest, DigestError, json};

/// A key's name: SHA-256 of its key object's canonical JSON, in TUF and in DSSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Digest);

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for KeyId {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// How a key signs. Products accept ed25519 only; keys of other schemes are never counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Ed25519 over the message itself, verified strictly (no small-order keys or points).
    Ed25519,
}

impl Scheme {
    /// Its name in key objects.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
        }
    }
}

/// A public key that was checked to be one.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    scheme: Scheme,
    bytes: [u8; 32],
    id: KeyId,
    /// Canonical JSON of the key object as it was read, unknown fields included: the id covers them.
    object: String,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({} {})", self.scheme.name(), self.id)
    }
}

/// Why bytes or an object are not a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read a public key: {problem}")]
pub struct KeyError {
    problem: String,
}

impl KeyError {
    fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into() }
    }
}

impl PublicKey {
    /// An ed25519 key from its 32 bytes; refuses bytes that are no point or a weak one.
    pub fn ed25519(bytes: [u8; 32]) -> Result<Self, KeyError> {
        let object = json!({
            "keytype": "ed25519",
            "keyval": {"public": hex::encode(bytes)},
            "scheme": "ed25519",
        });
        Self::from_parts(bytes, &object)
    }

    fn from_parts(bytes: [u8; 32], object: &Value) -> Result<Self, KeyError> {
        let point =
            VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::new("its 32 bytes are no point of the curve"))?;
        // A point that has two spellings would be two signers.
        if point.to_edwards().compress().to_bytes() != bytes {
            return Err(KeyError::new("its 32 bytes are not the canonical spelling of their point"));
        }
        if point.is_weak() {
            return Err(KeyError::new("it has a small order: anybody could sign for it"));
        }
        let canonical = json::canonical(object)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| KeyError::new("it has no canonical form"))?;
        Ok(Self { scheme: Scheme::Ed25519, bytes, id: KeyId(Digest::of(canonical.as_bytes())), object: canonical })
    }

    /// How it signs.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The raw key.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.bytes
    }

    /// Its name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The key object as canonical JSON.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// Reads a TUF key object; `Ok(None)` for a scheme that this program does not verify.
    pub(crate) fn from_object(object: &Value) -> Result<Option<Self>, KeyError> {
        let text = |field: &str| object.get(field).and_then(Value::as_str);
        let (Some(keytype), Some(scheme)) = (text("keytype"), text("scheme")) else {
            return Err(KeyError::new("expected the texts keytype and scheme"));
        };
        if keytype != Scheme::Ed25519.name() || scheme != Scheme::Ed25519.name() {
            return Ok(None);
        }
        let bytes = object
            .get("keyval")
            .and_then(|keyval| keyval.get("public"))
            .and_then(Value::as_str)
            .and_then(parse_lowercase_hex)
            .ok_or_else(|| KeyError::new("expected keyval.public to be 64 lowercase hexadecimal characters"))?;
        Self::from_parts(bytes, object).map(Some)
    }

    /// Whether `signature` is this key's over `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.scheme {
            Scheme::Ed25519 => {
                let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else {
                    return false;
                };
                VerifyingKey::from_bytes(&self.bytes).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
            }
        }
    }
}

/// The keys that speak for a role, and how many of them must agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleKeys {
    /// Different keys that must sign; 0 trusts nobody.
    pub threshold: u32,
    /// The keys by name.
    pub keys: BTreeMap<KeyId, PublicKey>,
}

impl RoleKeys {
    /// `threshold` of `keys`.
    pub fn new(threshold: u32, keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Self { threshold, keys: keys.into_iter().map(|key| (key.id(), key)).collect() }
    }

    /// Different keys: one key under two names is one signer.
    pub(crate) fn signers(&self) -> usize {
        let different: BTreeSet<_> = self.keys.values().map(PublicKey::to_bytes).collect();
        different.len()
    }

    /// Whether a key of `self` has lost its word in `newer`: then what it said is no longer believed.
    pub(crate) fn lost_a_key(&self, newer: &Self) -> bool {
        let still: BTreeSet<_> = newer.keys.values().map(PublicKey::to_bytes).collect();
        self.keys.values().any(|key| !still.contains(&key.bytes))
    }
}

/// Reads the `keys` object of root or of delegations: every name must be its key's digest.
pub(crate) fn read_keys(keys: &BTreeMap<String, Value>) -> Result<KeyTable, KeyError> {
    if keys.len() > KEYS_MAX {
        let found = keys.len();
        return Err(KeyError::new(format!("found {found} keys, at most {KEYS_MAX} are allowed")));
    }
    let mut table = KeyTable::default();
    for (name, object) in keys {
        let canonical = json::canonical(object).map_err(|error| KeyError::new(error.to_string()))?;
        let digest = Digest::of(&canonical);
        if name.parse() != Ok(digest) {
            return Err(KeyError::new(format!("it is called {name:?}, its canonical JSON has the digest {digest}")));
        }
        table.insert(KeyId(digest), PublicKey::from_object(object)?);
    }
    Ok(table)
}

/// Keys by name; `None` for a key of a scheme that this program does not verify.
pub(crate) type KeyTable = BTreeMap<KeyId, Option<PublicKey>>;

/// Joins a role's key names and threshold with the keys.
pub(crate) fn read_role(keyids: &[String], threshold: u32, table: &KeyTable) -> Result<RoleKeys, KeyError> {
    if keyids.len() > KEYS_MAX {
        return Err(KeyError::new(format!("a role has {} keys, at most {KEYS_MAX} are allowed", keyids.len())));
    }
    let mut seen = BTreeSet::new();
    let mut keys = BTreeMap::new();
    for text in keyids {
        let id: KeyId = text.parse().map_err(|error: DigestError| KeyError::new(error.to_string()))?;
        if !seen.insert(id) {
            return Err(KeyError::new(format!("a role names the key {id} twice")));
        }
        match table.get(&id) {
            Some(Some(key)) => {
                keys.insert(id, key.clone());
            }
            Some(None) => {}
            None => {
                return Err(KeyError::new(format!("a role names the key {id}, which is not there")));
            }
        }
    }
    Ok(RoleKeys { threshold, keys })
}
