//! The events of a fleet: what happened, in the order in which it happened. They are the truth; everything else
//! that `fleet` knows is folded from them ([`crate::State`]) or reported again by devices.
//!
//! One event is one JSON object on one line, in an object of its own:
//!
//! ```text
//! {"schema":1,"position":7,"time":1790000000,"event":{"kind":"deployed",...}}
//! ```
//!
//! `position` begins at 1 and has no gaps. Unknown fields and kinds are refused: an older program must not act on
//! half of what a newer one wrote. Golden lines of each version stand in the tests.

use std::collections::BTreeMap;

use cloud_sync_protocol::{ChannelId, DeviceId, ModelName};
use runtime_trust::Digest;
use serde::{Deserialize, Serialize};

/// The version of events that this build writes, and the only one it reads.
pub const EVENT_SCHEMA: u32 = 1;
/// The longest event, in bytes.
pub const EVENT_BYTES_MAX: u64 = 256 * 1024;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of this format.
    pub schema: u32,
    /// Place in the log, from 1 without gaps.
    pub position: u64,
    /// When it happened, in seconds since 1970 by the controller's clock.
    pub time: u64,
    /// What happened.
    pub event: Event,
}

/// What can happen to a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// The targets of a name were signed anew: an artifact was added, old ones retired or denied, the floor raised,
    /// or only the expiry renewed.
    Released {
        /// The artifact's name.
        name: ModelName,
        /// The artifact that was added, if one was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        artifact: Option<ArtifactRecord>,
        /// Numbers that the targets no longer allow since this event.
        retired: Vec<u64>,
        /// The name's floor: no number under it is allowed.
        floor: u64,
        /// All manifests of this name that are denied.
        denied: Vec<Digest>,
        /// The trust files that changed.
        trust: TrustChange,
    },
    /// `fleet serve` renewed the timestamp, and the snapshot when it was due.
    TrustRenewed {
        /// The trust files that changed.
        trust: TrustChange,
    },
    /// A channel got a new deployment.
    Deployed {
        /// The channel.
        channel: ChannelId,
        /// The deployment.
        deployment: DeploymentRecord,
    },
    /// A device got a certificate and an enrolment file.
    Enrolled {
        /// The device's name.
        device: DeviceId,
        /// The channel that it follows.
        channel: ChannelId,
        /// SHA-256 of its certificate.
        fingerprint: Digest,
        /// When the certificate ends, in seconds since 1970.
        expires: u64,
    },
}

/// One pushed artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactRecord {
    /// Its growing integer version.
    pub number: u64,
    /// Its semantic version.
    pub version: String,
    /// SHA-256 of its manifest.
    pub digest: Digest,
    /// Bytes of its manifest.
    pub manifest_bytes: u64,
    /// Objects (chunks and index parts) that it consists of.
    pub chunks: u64,
    /// Their bytes as stored.
    pub stored_bytes: u64,
}

/// A trust file: which bytes, and what a reader needs to know without them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustFile {
    /// SHA-256 of the file.
    pub digest: Digest,
    /// Length of the file.
    pub bytes: u64,
    /// Its TUF version.
    pub version: u64,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
}

/// The trust files that one event replaced. Whatever changes, the timestamp does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustChange {
    /// The new timestamp.
    pub timestamp: TrustFile,
    /// The new snapshot, when it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<TrustFile>,
    /// The new top-level targets, when they changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<TrustFile>,
    /// The new targets of single names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<ModelName, TrustFile>,
}

/// One deployment of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentRecord {
    /// The sequence that devices compare: higher replaces lower.
    pub sequence: u64,
    /// What the channel runs.
    pub models: BTreeMap<ModelName, Digest>,
    /// SHA-256 of the signed envelope.
    pub envelope: Digest,
    /// When it was signed, in seconds since 1970.
    pub issued: u64,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
    /// Why it was made.
    pub cause: Cause,
}

/// Why a deployment was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Cause {
    /// A person started a rollout of this name.
    Rollout {
        /// The model that changes.
        name: ModelName,
    },
    /// A person went back to an older artifact of this name.
    Rollback {
        /// The model that changes.
        name: ModelName,
        /// What the channel ran before.
        from: Digest,
    },
    /// The one before was about to end; nothing else changed.
    Renewal,
}

/// Why an entry of the log is not usable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EventError {
    /// The entry was written by a newer program.
    #[error("schema {found} is newer than {EVENT_SCHEMA}, the newest that this program reads; update it")]
    Newer {
        /// The number found.
        found: u32,
    },
    /// The entry is not an event.
    #[error("{0}")]
    Malformed(String),
}

impl Record {
    /// The line that is stored.
    pub fn encode(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("names, numbers and digests serialize to JSON");
        line.push(b'\n');
        line
    }

    /// Reads a stored line.
    pub fn decode(bytes: &[u8]) -> Result<Self, EventError> {
        #[derive(Deserialize)]
        struct OnlySchema {
            schema: u32,
        }
        let malformed = |error: serde_json::Error| EventError::Malformed(error.to_string());
        let OnlySchema { schema } = serde_json::from_slice(bytes).map_err(malformed)?;
        match schema {
            EVENT_SCHEMA => serde_json::from_slice(bytes).map_err(malformed),
            0 => Err(EventError::Malformed("schema 0 does not exist".to_owned())),
            found => Err(EventError::Newer { found }),
        }
    }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
