//! Key files: a secret key at rest, encrypted by a passphrase.
//!
//! One JSON object, at most [`KEY_FILE_BYTES_MAX`] bytes:
//!
//! ```text
//! schema     1
//! kind       "cask-key"
//! role       what the key is for: "root", "release", "deploy", "device-ca"
//! algorithm  "ed25519" (the secret is the 32-byte seed) or "pkcs8" (the secret is PKCS #8 DER)
//! public     the public key, hex, readable without the passphrase
//! kdf        {"name":"argon2id","memory_kib","iterations","lanes","salt"} or {"name":"insecure-none"}
//! nonce      24 bytes, hex
//! sealed     XChaCha20-Poly1305 of the secret, hex; with "insecure-none" the secret itself
//! ```
//!
//! Everything but `sealed` is authenticated as associated data (its canonical JSON), so a role or public key
//! cannot be exchanged under the seal. The parameters of the key derivation are bounded before memory is
//! reserved for them. This module never reads a file, a terminal or the environment.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use olpc_cjson::CanonicalFormatter;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{SEED_BYTES, SigningKey};

/// The longest key file that is read, in bytes.
pub const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;

/// The version of key files that this build writes, and the only one it reads.
const SCHEMA: u32 = 1;
const KIND: &str = "cask-key";
const ED25519: &str = "ed25519";
const PKCS8: &str = "pkcs8";
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
const ROLE_BYTES_MAX: usize = 32;
const SECRET_BYTES_MAX: usize = 4 * 1024;

/// Argon2id parameters that a file may ask for: 256 MiB, 16 passes, 8 lanes.
const BOUNDS: Cost = Cost { memory_kib: 256 * 1024, iterations: 16, lanes: 8 };
/// What new files use: the second recommended option of RFC 9106, section 4.
const COST: Cost = Cost { memory_kib: 64 * 1024, iterations: 3, lanes: 4 };

/// Why a key file could not be written or opened.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KeyFileError {
    /// The file is longer than [`KEY_FILE_BYTES_MAX`].
    #[error("key file of {found} bytes, at most {KEY_FILE_BYTES_MAX} are read")]
    TooLarge {
        /// Its length in bytes.
        found: u64,
    },
    /// The file is not a key file, or a field of it is wrong.
    #[error("malformed key file: {0}")]
    Malformed(String),
    /// The file was written by a newer version of this program.
    #[error("key file of schema {found}, this build reads {SCHEMA}; use a newer build")]
    UnknownSchema {
        /// The schema number in the file.
        found: u32,
    },
    /// A parameter of the key derivation is out of bounds, so it was not run.
    #[error("key file asks for {found} {what}, at most {max} are allowed")]
    OutOfBounds {
        /// The parameter's name with its unit.
        what: &'static str,
        /// The value in the file.
        found: u32,
        /// The largest allowed value.
        max: u32,
    },
    /// The seal does not open: another passphrase, or the file was changed.
    #[error("wrong passphrase for the {role} key, or the key file was changed")]
    WrongPassphrase {
        /// The role that the file names.
        role: String,
    },
    /// A key was to be sealed with no passphrase.
    #[error("empty passphrase for the {role} key")]
    EmptyPassphrase {
        /// The role of the key.
        role: String,
    },
    /// The file holds another kind of key than was asked for.
    #[error("key file holds a key of algorithm {found}, expected {expected}")]
    WrongAlgorithm {
        /// The algorithm in the file.
        found: String,
        /// The algorithm that was asked for.
        expected: &'static str,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system: {0}")]
    NoRandomness(String),
}

/// What a key file says without its passphrase. Nothing of it is authenticated until the key is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFileFacts {
    /// What the key is for.
    pub role: String,
    /// `ed25519` or `pkcs8`.
    pub algorithm: String,
    /// The public key: 32 bytes for ed25519; for pkcs8 whatever the writer gave.
    pub public: Vec<u8>,
    /// False for a file that was written without a passphrase.
    pub encrypted: bool,
}

/// How a secret is protected at rest.
#[derive(Debug, Clone, Copy)]
pub enum Protection<'a> {
    /// Encrypted by this passphrase, which is not empty.
    Passphrase(&'a [u8]),
    /// Written in the clear: whoever reads the file has the key.
    InsecureUnencrypted,
}

/// Encrypts `key` for `role` with `passphrase`, which must not be empty.
pub fn seal_key(key: &SigningKey, role: &str, passphrase: &[u8]) -> Result<Vec<u8>, KeyFileError> {
    seal_key_as(key, role, Protection::Passphrase(passphrase))
}

/// Writes `key` for `role` under `protection`.
pub fn seal_key_as(key: &SigningKey, role: &str, protection: Protection<'_>) -> Result<Vec<u8>, KeyFileError> {
    seal(ED25519, role, &key.public().to_bytes(), key.seed().as_slice(), protection)
}

/// Writes a PKCS #8 secret (a TLS key) for `role` under `protection`; `public` stands readable in the file.
pub fn seal_pkcs8(der: &[u8], public: &[u8], role: &str, protection: Protection<'_>) -> Result<Vec<u8>, KeyFileError> {
    seal(PKCS8, role, public, der, protection)
}

/// Opens a signing key. An unencrypted file opens with any passphrase.
pub fn open_key(bytes: &[u8], passphrase: &[u8]) -> Result<SigningKey, KeyFileError> {
    let wire = Wire::parse(bytes)?;
    let secret = wire.open(ED25519, passphrase)?;
    let seed: Zeroizing<[u8; SEED_BYTES]> = Zeroizing::new(
        secret
            .as_slice()
            .try_into()
            .map_err(|_| KeyFileError::Malformed(format!("a seed of {} bytes", secret.len())))?,
    );
    let key = SigningKey::from_seed(&seed);
    // Encrypted files have the public key under the seal; this also holds for those without one.
    if wire.public_bytes()? != key.public().to_bytes() {
        return Err(KeyFileError::Malformed("the public key does not belong to the secret".to_owned()));
    }
    Ok(key)
}

/// Opens a PKCS #8 secret. An unencrypted file opens with any passphrase.
pub fn open_pkcs8(bytes: &[u8], passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    Wire::parse(bytes)?.open(PKCS8, passphrase)
}

/// Reads what a key file says about itself, without opening it.
pub fn describe_key(bytes: &[u8]) -> Result<KeyFileFacts, KeyFileError> {
    let wire = Wire::parse(bytes)?;
    let encrypted = matches!(wire.kdf, Kdf::Argon2id { .. });
    let public = wire.public_bytes()?;
    Ok(KeyFileFacts { role: wire.role, algorithm: wire.algorithm, public, encrypted })
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    schema: u32,
    kind: String,
    role: String,
    algorithm: String,
    public: String,
    kdf: Kdf,
    nonce: String,
    sealed: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
enum Kdf {
    Argon2id { memory_kib: u32, iterations: u32, lanes: u32, salt: String },
    InsecureNone {},
}

/// The two fields that every version has, read before the strict parse so that a newer file is refused by name.
#[derive(Deserialize)]
struct Probe {
    schema: u32,
    kind: String,
}

#[derive(Debug, Clone, Copy)]
struct Cost {
    memory_kib: u32,
    iterations: u32,
    lanes: u32,
}

impl Cost {
    fn check(self) -> Result<Self, KeyFileError> {
        let rows = [
            ("KiB of memory", self.memory_kib, BOUNDS.memory_kib),
            ("iterations", self.iterations, BOUNDS.iterations),
            ("lanes", self.lanes, BOUNDS.lanes),
        ];
        match rows.into_iter().find(|(_, found, max)| found > max) {
            Some((what, found, max)) => Err(KeyFileError::OutOfBounds { what, found, max }),
            None => Ok(self),
        }
    }

    fn derive(self, passphrase: &[u8], salt: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
        let refused = |error: argon2::Error| KeyFileError::Malformed(format!("key derivation: {error}"));
        let params = Params::new(self.memory_kib, self.iterations, self.lanes, Some(32)).map_err(refused)?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase, salt, key.as_mut_slice())
            .map_err(refused)?;
        Ok(key)
    }
}

impl Wire {
    fn parse(bytes: &[u8]) -> Result<Self, KeyFileError> {
        let found = bytes.len() as u64;
        if found > KEY_FILE_BYTES_MAX {
            return Err(KeyFileError::TooLarge { found });
        }
        let malformed = |error: serde_json::Error| KeyFileError::Malformed(error.to_string());
        let probe: Probe = serde_json::from_slice(bytes).map_err(malformed)?;
        if probe.kind != KIND {
            return Err(KeyFileError::Malformed(format!("kind {:?}, expected {KIND:?}", probe.kind)));
        }
        if probe.schema != SCHEMA {
            return Err(KeyFileError::UnknownSchema { found: probe.schema });
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(malformed)?;
        check_role(&wire.role)?;
        Ok(wire)
    }

    fn public_bytes(&self) -> Result<Vec<u8>, KeyFileError> {
        from_hex("public", &self.public)
    }

    /// What the seal authenticates: the canonical JSON of the file with `sealed` left empty.
    fn associated_data(&self) -> Vec<u8> {
        let header = serde_json::json!({
            "schema": self.schema, "kind": self.kind, "role": self.role, "algorithm": self.algorithm,
            "public": self.public, "kdf": self.kdf, "nonce": self.nonce, "sealed": "",
        });
        let mut bytes = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, CanonicalFormatter::new());
        header.serialize(&mut serializer).expect("strings and integers have a canonical form");
        bytes
    }

    fn open(&self, expected: &'static str, passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
        if self.algorithm != expected {
            return Err(KeyFileError::WrongAlgorithm { found: self.algorithm.clone(), expected });
        }
        let sealed = Zeroizing::new(from_hex("sealed", &self.sealed)?);
        let Kdf::Argon2id { memory_kib, iterations, lanes, salt } = &self.kdf else {
            return Ok(sealed);
        };
        let cost = Cost { memory_kib: *memory_kib, iterations: *iterations, lanes: *lanes }.check()?;
        let salt = from_hex("salt", salt)?;
        let nonce: [u8; NONCE_BYTES] = from_hex("nonce", &self.nonce)?
            .try_into()
            .map_err(|found: Vec<u8>| KeyFileError::Malformed(format!("a nonce of {} bytes", found.len())))?;
        let key = cost.derive(passphrase, &salt)?;
        let data = self.associated_data();
        XChaCha20Poly1305::new(key.as_slice().into())
            .decrypt(XNonce::from_slice(&nonce), Payload { msg: &sealed, aad: &data })
            .map(Zeroizing::new)
            .map_err(|_| KeyFileError::WrongPassphrase { role: self.role.clone() })
    }
}

fn seal(
    algorithm: &str,
    role: &str,
    public: &[u8],
    secret: &[u8],
    protection: Protection<'_>,
) -> Result<Vec<u8>, KeyFileError> {
    let mut salt = [0; SALT_BYTES];
    let mut nonce = [0; NONCE_BYTES];
    for buffer in [salt.as_mut_slice(), nonce.as_mut_slice()] {
        getrandom::fill(buffer).map_err(|error| KeyFileError::NoRandomness(error.to_string()))?;
    }
    seal_with(algorithm, role, public, secret, protection, COST, salt, nonce)
}

#[allow(clippy::too_many_arguments, reason = "the tests fix the cost, salt and nonce; nobody else calls it")]
fn seal_with(
    algorithm: &str,
    role: &str,
    public: &[u8],
    secret: &[u8],
    protection: Protection<'_>,
    cost: Cost,
    salt: [u8; SALT_BYTES],
    nonce: [u8; NONCE_BYTES],
) -> Result<Vec<u8>, KeyFileError> {
    check_role(role)?;
    if secret.len() > SECRET_BYTES_MAX || public.len() > SECRET_BYTES_MAX {
        return Err(KeyFileError::Malformed(format!("a secret of {} bytes", secret.len())));
    }
    let kdf = match protection {
        Protection::Passphrase(_) => Kdf::Argon2id {
            memory_kib: cost.memory_kib,
            iterations: cost.iterations,
            lanes: cost.lanes,
            salt: hex::encode(salt),
        },
        Protection::InsecureUnencrypted => Kdf::InsecureNone {},
    };
    let mut wire = Wire {
        schema: SCHEMA,
        kind: KIND.to_owned(),
        role: role.to_owned(),
        algorithm: algorithm.to_owned(),
        public: hex::encode(public),
        kdf,
        nonce: hex::encode(nonce),
        sealed: String::new(),
    };
    wire.sealed = match protection {
        Protection::InsecureUnencrypted => hex::encode(secret),
        Protection::Passphrase([]) => return Err(KeyFileError::EmptyPassphrase { role: role.to_owned() }),
        Protection::Passphrase(passphrase) => {
            let key = cost.derive(passphrase, &salt)?;
            let data = wire.associated_data();
            let sealed = XChaCha20Poly1305::new(key.as_slice().into())
                .encrypt(XNonce::from_slice(&nonce), Payload { msg: secret, aad: &data })
                .expect("a secret of a few KiB is far under the cipher's limit");
            hex::encode(sealed)
        }
    };
    let mut bytes = serde_json::to_vec_pretty(&wire).expect("strings and integers serialize to JSON");
    bytes.push(b'\n');
    Ok(bytes)
}

fn check_role(role: &str) -> Result<(), KeyFileError> {
    let fits = (1..=ROLE_BYTES_MAX).contains(&role.len());
    if fits && role.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
        return Ok(());
    }
    Err(KeyFileError::Malformed(format!("role {role:?}, expected 1 to {ROLE_BYTES_MAX} letters a to z or dashes")))
}

fn from_hex(field: &str, text: &str) -> Result<Vec<u8>, KeyFileError> {
    // Upper case is refused, too: one byte string has one spelling.
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(KeyFileError::Malformed(format!("field {field}: upper-case hex")));
    }
    hex::decode(text).map_err(|error| KeyFileError::Malformed(format!("field {field}: {error}")))
}

#[cfg(test)]
mod tests;
