//! Writing metadata: what `fleet` signs and publishes, and devices read.
//!
//! Every builder reads back what it wrote with the reader of the device, so that nothing is signed
//! that no device would take. Signatures may be too few for a threshold: [`add_signature`] adds more.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::document::Document;
use crate::limits::{ROOT_BYTES_MAX, SNAPSHOT_BYTES_MAX, TARGETS_BYTES_MAX, TIMESTAMP_BYTES_MAX};
use crate::listing::{SNAPSHOT_FILE, Snapshot, TARGETS_FILE, Timestamp, named_file};
use crate::refusal::Refusal;
use crate::targets::{NamedTargets, TopTargets, delegated_paths};
use crate::{AllowedManifest, Digest, FileName, Role, RoleKeys, Root, SigningKey, calendar, check_name, json};

/// The version of the TUF specification that is written.
pub const SPEC_VERSION: &str = "1.0.31";

/// Metadata that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorError {
    /// It would be too big for devices.
    #[error("write {file}: it would have {found} bytes, at most {max} are allowed; retire old entries")]
    TooLarge {
        /// The file.
        file: String,
        /// Bytes it would have.
        found: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// Its content is not possible.
    #[error("write {file}: {problem}")]
    Invalid {
        /// The file.
        file: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

fn invalid(file: &str, problem: impl std::fmt::Display) -> AuthorError {
    AuthorError::Invalid { file: file.to_owned(), problem: problem.to_string() }
}

/// What one artifact's targets state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedDraft {
    /// The artifact.
    pub name: String,
    /// Version of the file, from 1.
    pub version: u64,
    /// Expiry in seconds since 1970.
    pub expires: u64,
    /// The manifests that may be installed.
    pub allowed: Vec<AllowedManifest>,
    /// Lower numbers are refused.
    pub floor: u64,
    /// Manifests that must not run any more.
    pub denied: BTreeSet<Digest>,
}

/// Writes `root.json`: every [`Role`] with its keys. For version N+1, `keys` are root keys of both versions.
pub fn build_root(
    version: u64,
    expires: u64,
    roles: &BTreeMap<Role, RoleKeys>,
    keys: &[&SigningKey],
) -> Result<Vec<u8>, AuthorError> {
    let mut signed = common("root", version, expires)?;
    signed.insert("consistent_snapshot".to_owned(), false.into());
    signed.insert("keys".to_owned(), key_objects(roles.values()));
    let role_objects: Map<String, Value> =
        roles.iter().map(|(role, keys)| (role.name().to_owned(), role_object(keys))).collect();
    signed.insert("roles".to_owned(), role_objects.into());
    seal("root.json", ROOT_BYTES_MAX, signed, keys, |bytes| {
        // Not `pin`: the root may still wait for other signatures.
        Root::read_unsigned(bytes)
    })
}

/// Writes `targets.json`: who speaks for each artifact name.
pub fn build_targets(
    version: u64,
    expires: u64,
    delegations: &BTreeMap<String, RoleKeys>,
    keys: &[&SigningKey],
) -> Result<Vec<u8>, AuthorError> {
    let mut signed = common("targets", version, expires)?;
    let mut roles = Vec::new();
    for (name, keys) in delegations {
        check_name(name).map_err(|error| invalid(TARGETS_FILE, error))?;
        let Value::Object(mut role) = role_object(keys) else {
            unreachable!("`role_object` makes an object");
        };
        role.insert("name".to_owned(), name.as_str().into());
        role.insert("terminating".to_owned(), true.into());
        role.insert("paths".to_owned(), json!([delegated_paths(name)]));
        roles.push(Value::Object(role));
    }
    let keys_of_all = key_objects(delegations.values());
    signed.insert("targets".to_owned(), json!({}));
    signed.insert("delegations".to_owned(), json!({"keys": keys_of_all, "roles": roles}));
    seal(TARGETS_FILE, TARGETS_BYTES_MAX, signed, keys, TopTargets::read)
}

/// Writes `<name>.json`: what release allows, its floor and its deny-list.
pub fn build_named_targets(draft: &NamedDraft, keys: &[&SigningKey]) -> Result<Vec<u8>, AuthorError> {
    let file = named_file(&draft.name);
    check_name(&draft.name).map_err(|error| invalid(&file, error))?;
    let mut targets = Map::new();
    for entry in &draft.allowed {
        let digest = entry.digest.to_string();
        let path = format!("{}/{digest}", draft.name);
        let target = json!({
            "length": entry.bytes,
            "hashes": {"sha256": digest},
            "custom": {"number": entry.number, "version": entry.version},
        });
        if targets.insert(path, target).is_some() {
            return Err(invalid(&file, format!("the manifest {digest} is allowed twice")));
        }
    }
    let denied: Vec<String> = draft.denied.iter().map(Digest::to_string).collect();
    let mut signed = common("targets", draft.version, draft.expires)?;
    signed.insert("targets".to_owned(), targets.into());
    signed.insert("cask".to_owned(), json!({"floor": draft.floor, "denied": denied}));
    seal(&file, TARGETS_BYTES_MAX, signed, keys, |bytes| NamedTargets::read(&draft.name, bytes))
}

/// Writes `snapshot.json` over the exact bytes of `targets` and of each artifact's targets in `named`.
pub fn build_snapshot(
    version: u64,
    expires: u64,
    targets: &[u8],
    named: &BTreeMap<String, Vec<u8>>,
    keys: &[&SigningKey],
) -> Result<Vec<u8>, AuthorError> {
    let mut meta = Map::new();
    let top = TopTargets::read(targets).map_err(|refusal| invalid(SNAPSHOT_FILE, refusal))?;
    meta.insert(TARGETS_FILE.to_owned(), file_meta(&top.document));
    for (name, bytes) in named {
        check_name(name).map_err(|error| invalid(SNAPSHOT_FILE, error))?;
        let file = NamedTargets::read(name, bytes).map_err(|refusal| invalid(SNAPSHOT_FILE, refusal))?;
        meta.insert(named_file(name), file_meta(&file.document));
    }
    let mut signed = common("snapshot", version, expires)?;
    signed.insert("meta".to_owned(), meta.into());
    seal(SNAPSHOT_FILE, SNAPSHOT_BYTES_MAX, signed, keys, Snapshot::read)
}

/// Writes `timestamp.json` over the exact bytes of `snapshot`; `issued` is the time now, in seconds
/// since 1970, and becomes part of every device's time seen.
pub fn build_timestamp(
    version: u64,
    expires: u64,
    issued: u64,
    snapshot: &[u8],
    keys: &[&SigningKey],
) -> Result<Vec<u8>, AuthorError> {
    let listed = Snapshot::read(snapshot).map_err(|refusal| invalid("timestamp.json", refusal))?;
    let mut signed = common("timestamp", version, expires)?;
    signed.insert("meta".to_owned(), json!({SNAPSHOT_FILE: file_meta(&listed.document)}));
    signed.insert("cask".to_owned(), json!({"issued": issued}));
    seal("timestamp.json", TIMESTAMP_BYTES_MAX, signed, keys, Timestamp::read)
}

/// Adds a key's signature to any metadata file, for thresholds above one; one that this key made before
/// is replaced. What is signed stays as it is, unknown fields included.
pub fn add_signature(bytes: &[u8], key: &SigningKey) -> Result<Vec<u8>, AuthorError> {
    let file = "the metadata";
    let mut value = json::parse_strict(bytes).map_err(|error| invalid(file, error))?;
    let signed = value.get("signed").ok_or_else(|| invalid(file, "it has no signed part"))?;
    let message = json::canonical(signed).map_err(|error| invalid(file, error))?;
    let signatures = value
        .get_mut("signatures")
        .and_then(Value::as_array_mut)
        .ok_or_else(|| invalid(file, "it has no signatures"))?;
    sign_into(signatures, &message, key);
    to_file_bytes(file, &value)
}

/// Reads a version and an expiry back from a metadata file that this side wrote itself.
pub fn version_and_expiry(file: &FileName, bytes: &[u8]) -> Result<(u64, u64), Refusal> {
    let document = match file {
        FileName::Root(_) => return Root::read_unsigned(bytes),
        FileName::Timestamp => Timestamp::read(bytes)?.document,
        FileName::Snapshot => Snapshot::read(bytes)?.document,
        FileName::Targets => TopTargets::read(bytes)?.document,
        FileName::Named(name) => NamedTargets::read(name, bytes)?.document,
    };
    Ok((document.version, document.expires))
}

/// Reads the targets of one artifact back, to change and sign them again.
pub fn read_named_targets(name: &str, bytes: &[u8]) -> Result<NamedDraft, Refusal> {
    let file = NamedTargets::read(name, bytes)?;
    Ok(NamedDraft {
        name: name.to_owned(),
        version: file.document.version,
        expires: file.document.expires,
        allowed: file.allowed.into_values().collect(),
        floor: file.floor,
        denied: file.denied,
    })
}

/// Reads the delegations of the top-level targets back, to change and sign them again.
pub fn read_delegations(bytes: &[u8]) -> Result<BTreeMap<String, RoleKeys>, Refusal> {
    Ok(TopTargets::read(bytes)?.delegations)
}

fn common(kind: &str, version: u64, expires: u64) -> Result<Map<String, Value>, AuthorError> {
    if expires > calendar::LATEST_SECOND {
        return Err(invalid(kind, format!("it cannot expire at second {expires}, the year 9999 is the last one")));
    }
    let mut signed = Map::new();
    signed.insert("_type".to_owned(), kind.into());
    signed.insert("spec_version".to_owned(), SPEC_VERSION.into());
    signed.insert("version".to_owned(), version.into());
    signed.insert("expires".to_owned(), calendar::format_utc(expires).into());
    Ok(signed)
}

fn role_object(keys: &RoleKeys) -> Value {
    let ids: Vec<String> = keys.keys.keys().map(ToString::to_string).collect();
    json!({"keyids": ids, "threshold": keys.threshold})
}

fn key_objects<'a>(roles: impl Iterator<Item = &'a RoleKeys>) -> Value {
    let mut objects = Map::new();
    for (id, key) in roles.flat_map(|role| &role.keys) {
        let object =
            json::parse_strict(key.object().as_bytes()).expect("a key keeps the canonical JSON that it was read from");
        objects.insert(id.to_string(), object);
    }
    Value::Object(objects)
}

fn file_meta(document: &Document) -> Value {
    let bytes = document.bytes();
    json!({
        "version": document.version,
        "length": bytes.len(),
        "hashes": {"sha256": Digest::of(bytes)},
    })
}

/// Signs, writes, and reads back.
fn seal<T>(
    file: &str,
    bytes_max: u64,
    signed: Map<String, Value>,
    keys: &[&SigningKey],
    read: impl Fn(&[u8]) -> Result<T, Refusal>,
) -> Result<Vec<u8>, AuthorError> {
    let signed = Value::Object(signed);
    let message = json::canonical(&signed).map_err(|error| invalid(file, error))?;
    let mut signatures = Vec::new();
    for key in keys {
        sign_into(&mut signatures, &message, key);
    }
    let bytes = to_file_bytes(file, &json!({"signatures": signatures, "signed": signed}))?;
    let found = bytes.len() as u64;
    if found > bytes_max {
        return Err(AuthorError::TooLarge { file: file.to_owned(), found, max: bytes_max });
    }
    read(&bytes).map_err(|refusal| invalid(file, refusal))?;
    Ok(bytes)
}

fn sign_into(signatures: &mut Vec<Value>, message: &[u8], key: &SigningKey) {
    let id = key.id().to_string();
    signatures.retain(|signature| signature.get("keyid").and_then(Value::as_str) != Some(&id));
    signatures.push(json!({"keyid": id, "sig": hex::encode(key.sign(message))}));
}

fn to_file_bytes(file: &str, value: &Value) -> Result<Vec<u8>, AuthorError> {
    serde_json::to_vec(value).map_err(|error| invalid(file, error))
}
