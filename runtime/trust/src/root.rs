//! The root of trust: which keys speak for which role.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::RoleKeys;
use crate::document::{Document, Expected};
use crate::key::{read_keys, read_role};
use crate::limits::ROOT_BYTES_MAX;
use crate::refusal::{Reason, Refusal, Step};

/// TUF's top-level roles. Release is `Targets`; deploy is `Snapshot` and `Timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Names the keys of all roles; offline.
    Root,
    /// Says which snapshot is current, and signs deployments.
    Timestamp,
    /// Says which targets files are current.
    Snapshot,
    /// Release: what may be installed.
    Targets,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Root, Self::Timestamp, Self::Snapshot, Self::Targets];

    /// TUF's name of the role.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Timestamp => "timestamp",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
        }
    }
}

/// A root that is trusted: pinned at enrolment, or reached from a trusted one by rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    document: Document,
    roles: BTreeMap<Role, RoleKeys>,
}

#[derive(Deserialize)]
struct RootFields {
    keys: BTreeMap<String, Value>,
    roles: BTreeMap<String, RawRole>,
}

#[derive(Deserialize)]
struct RawRole {
    keyids: Vec<String>,
    threshold: u32,
}

const EXPECTED: Expected<'static> =
    Expected { file: "root.json", kind: "root", step: Step::Root, bytes_max: ROOT_BYTES_MAX };

impl Root {
    /// Takes `bytes` as the root of trust: they must come from somewhere that is trusted already
    /// (an enrolment file, a person), never from the network. Checked: size, form, and that the
    /// root is signed by its own threshold. Its expiry is checked when it is used for a refresh.
    pub fn pin(bytes: &[u8]) -> Result<Self, Refusal> {
        let root = Self::read(bytes)?;
        root.verify_by(&root, "its own root keys")?;
        Ok(root)
    }

    /// The root that follows `self`, if `bytes` are one.
    pub(crate) fn successor(&self, bytes: &[u8]) -> Result<Self, Refusal> {
        let newer = Self::read(bytes)?;
        // TUF 5.3.4: signed by a threshold of keys of the trusted root (version N) ...
        newer.verify_by(self, "root keys of the version trusted now")?;
        // ... and by a threshold of keys of the new root itself (version N+1).
        newer.verify_by(&newer, "its own root keys")?;
        // TUF 5.3.5: the version of the new root is exactly N+1.
        let wanted = self.version().saturating_add(1);
        if newer.version() != wanted || newer.version() == self.version() {
            return Err(EXPECTED.refuse(
                Reason::WrongRootVersion,
                format!("it has version {}, expected {wanted}; publish every root from {wanted} on", newer.version()),
            ));
        }
        Ok(newer)
    }

    fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let (document, fields) = Document::open::<RootFields>(&EXPECTED, bytes)?;
        let keys = read_keys(&fields.keys).map_err(|error| EXPECTED.malformed(error))?;
        let mut roles = BTreeMap::new();
        for role in Role::ALL {
            let raw = fields
                .roles
                .get(role.name())
                .ok_or_else(|| EXPECTED.malformed(format!("it has no role {}", role.name())))?;
            let role_keys = read_role(&raw.keyids, raw.threshold, &keys).map_err(|error| EXPECTED.malformed(error))?;
            require_reachable(&EXPECTED, role.name(), &role_keys)?;
            roles.insert(role, role_keys);
        }
        Ok(Self { document, roles })
    }

    /// Checks the form alone, for the author of a root that still waits for signatures; gives the
    /// version and the expiry.
    #[cfg(feature = "signing")]
    pub(crate) fn read_unsigned(bytes: &[u8]) -> Result<(u64, u64), Refusal> {
        Self::read(bytes).map(|root| (root.version(), root.expires()))
    }

    fn verify_by(&self, root: &Self, who: &str) -> Result<(), Refusal> {
        self.document.verify(who, root.role(Role::Root))
    }

    /// The exact bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        self.document.bytes()
    }

    /// Its version: 1, 2, ...
    pub fn version(&self) -> u64 {
        self.document.version
    }

    /// Its expiry in seconds since 1970.
    pub fn expires(&self) -> u64 {
        self.document.expires
    }

    /// The keys that speak for a role.
    pub fn role(&self, role: Role) -> &RoleKeys {
        self.roles.get(&role).expect("`read` refuses a root that lacks a role")
    }

    /// Refuses when `now` is past the expiry.
    pub(crate) fn require_unexpired(&self, now: u64) -> Result<(), Refusal> {
        self.document.require_unexpired(now)
    }
}

/// A threshold that no set of keys can meet would lock everybody out; 0 would let everybody in.
pub(crate) fn require_reachable(expected: &Expected<'_>, role: &str, keys: &RoleKeys) -> Result<(), Refusal> {
    let (threshold, signers) = (keys.threshold, keys.signers());
    if threshold >= 1 && u64::from(threshold) <= signers as u64 {
        return Ok(());
    }
    Err(expected.refuse(
        Reason::UnreachableThreshold,
        format!(
            "role {role} wants {threshold} signatures, expected 1 to {signers}, the ed25519 keys it names; \
             publish it with a threshold that they can reach"
        ),
    ))
}
