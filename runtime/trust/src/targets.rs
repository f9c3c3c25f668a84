//! Release's statements: the top-level targets delegate each artifact name to a file of its own,
//! which lists the allowed manifests, the floor and the deny-list of that name.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::document::{Document, Expected, RawHashes};
use crate::key::{read_keys, read_role};
use crate::limits::{MANIFEST_BYTES_MAX, TARGETS_BYTES_MAX, VERSION_CHARACTERS_MAX};
use crate::listing::{TARGETS_FILE, named_file};
use crate::refusal::{Refusal, Step};
use crate::root::require_reachable;
use crate::{Digest, RoleKeys};

pub(crate) const TARGETS: Expected<'static> =
    Expected { file: TARGETS_FILE, kind: "targets", step: Step::Metadata, bytes_max: TARGETS_BYTES_MAX };

/// One manifest that release allows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AllowedManifest {
    /// SHA-256 of the manifest's exact bytes.
    pub digest: Digest,
    /// Length of the manifest in bytes.
    pub bytes: u64,
    /// The growing integer of this artifact.
    pub number: u64,
    /// The same for people (semver).
    pub version: String,
}

/// `targets.json`, well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopTargets {
    pub(crate) document: Document,
    /// Who speaks for each artifact name.
    pub(crate) delegations: BTreeMap<String, RoleKeys>,
}

#[derive(Deserialize)]
struct TopFields {
    delegations: Option<Delegations>,
}

#[derive(Deserialize)]
struct Delegations {
    keys: BTreeMap<String, Value>,
    /// Absent when succinct (hashed bins) delegations are used, which Cask does not.
    #[serde(default)]
    roles: Vec<DelegatedRole>,
}

#[derive(Deserialize)]
struct DelegatedRole {
    name: String,
    keyids: Vec<String>,
    threshold: u32,
    #[serde(default)]
    paths: Vec<String>,
}

impl TopTargets {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let (document, fields) = Document::open::<TopFields>(&TARGETS, bytes)?;
        let mut delegations = BTreeMap::new();
        if let Some(raw) = fields.delegations {
            let keys = read_keys(&raw.keys).map_err(|error| TARGETS.malformed(error))?;
            for role in raw.roles {
                // A delegation with other paths says nothing of the artifact that has its name.
                if !role.paths.contains(&delegated_paths(&role.name)) {
                    continue;
                }
                let role_keys =
                    read_role(&role.keyids, role.threshold, &keys).map_err(|error| TARGETS.malformed(error))?;
                require_reachable(&TARGETS, &role.name, &role_keys)?;
                if delegations.insert(role.name.clone(), role_keys).is_some() {
                    let problem = format!("it delegates {:?} twice", role.name);
                    return Err(TARGETS.malformed(problem));
                }
            }
        }
        Ok(Self { document, delegations })
    }
}

/// The paths that an artifact's own targets may speak of.
pub(crate) fn delegated_paths(name: &str) -> String {
    format!("{name}/*")
}

/// `<name>.json`, well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedTargets {
    pub(crate) document: Document,
    /// By digest.
    pub(crate) allowed: BTreeMap<Digest, AllowedManifest>,
    /// Lower numbers are refused.
    pub(crate) floor: u64,
    pub(crate) denied: BTreeSet<Digest>,
}

#[derive(Deserialize)]
struct NamedFields {
    targets: BTreeMap<String, RawTarget>,
    #[serde(default)]
    cask: NamedExtra,
}

#[derive(Deserialize)]
struct RawTarget {
    length: u64,
    hashes: RawHashes,
    custom: Option<Value>,
}

#[derive(Deserialize)]
struct Custom {
    number: u64,
    version: String,
}

/// Cask's own field in TUF's targets.
#[derive(Default, Deserialize)]
struct NamedExtra {
    #[serde(default)]
    floor: u64,
    #[serde(default)]
    denied: Vec<Digest>,
}

/// An expectation for the file of one artifact.
pub(crate) fn expected_named(file: &str) -> Expected<'_> {
    Expected { file, ..TARGETS }
}

impl NamedTargets {
    pub(crate) fn read(name: &str, bytes: &[u8]) -> Result<Self, Refusal> {
        let file = named_file(name);
        let expected = expected_named(&file);
        let (document, fields) = Document::open::<NamedFields>(&expected, bytes)?;
        let mut allowed = BTreeMap::new();
        for (path, target) in fields.targets {
            // The delegation covers this name alone: whatever else it lists was never asked of it.
            let Some(text) = path.strip_prefix(name).and_then(|rest| rest.strip_prefix('/')) else {
                continue;
            };
            let entry = read_entry(text, target)
                .map_err(|problem| expected.malformed(format!("its entry {path:?} {problem}")))?;
            allowed.insert(entry.digest, entry);
        }
        Ok(Self { document, allowed, floor: fields.cask.floor, denied: fields.cask.denied.into_iter().collect() })
    }
}

fn read_entry(text: &str, target: RawTarget) -> Result<AllowedManifest, String> {
    let digest: Digest = text.parse().map_err(|error| format!("is not called by a digest: {error}"))?;
    if target.hashes.sha256 != digest {
        return Err(format!("has the digest {}", target.hashes.sha256));
    }
    if target.length > MANIFEST_BYTES_MAX {
        return Err(format!("has {} bytes, a manifest has at most {MANIFEST_BYTES_MAX}", target.length));
    }
    let custom = target.custom.ok_or("has no custom number and version")?;
    let custom: Custom = serde_json::from_value(custom).map_err(|error| error.to_string())?;
    let version = &custom.version;
    if version.is_empty()
        || version.len() > VERSION_CHARACTERS_MAX
        || !version.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(format!("has the version {version:?}, expected 1 to {VERSION_CHARACTERS_MAX} ASCII characters"));
    }
    Ok(AllowedManifest { digest, bytes: target.length, number: custom.number, version: custom.version })
}
