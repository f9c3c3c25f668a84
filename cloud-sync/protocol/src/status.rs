//! What a device reports about itself, and the last will that the broker publishes for it.

use runtime_trust::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{ProtocolError, malformed, read_json, write_json};
use crate::identifier::{DeviceId, ModelName};
use crate::limits::{MESSAGE_BYTES_MAX, MODELS_MAX, PAYLOAD_BYTES_MAX, bounded_text};

/// The newest version of a status.
pub const STATUS_SCHEMA: u32 = 1;

const WHAT: &str = "a device's status";

/// A device's report, on its `status` topic with QoS 1, not retained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Version of this format.
    pub schema: u32,
    /// The device; readers compare it with the topic's level and drop the report when they differ.
    pub device: DeviceId,
    /// False only in the last will.
    pub online: bool,
    /// Grows with every start of the agent, so that a late last will of an earlier run is recognised.
    pub boot: u64,
    /// The highest sequence of a deployment that the device accepted in its channel; 0 for none.
    pub sequence_seen: u64,
    /// The device's clock when it wrote this, in seconds since 1970; not to be trusted.
    pub sent_unix: u64,
    /// Version of the agent's program.
    pub agent_version: String,
    /// What the device is; absent in the last will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileSummary>,
    /// One entry per model name.
    pub models: Vec<ModelStatus>,
}

/// The short form of a device's profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileSummary {
    /// CPU architecture, for example `x86_64`.
    pub architecture: String,
    /// Operating system.
    pub os: String,
    /// CPU cores that the agent may use.
    pub cores: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// CPU features that matter to engines.
    pub cpu_features: Vec<String>,
    /// Engines in the order in which the device tries them.
    pub engines: Vec<String>,
}

/// One manifest by digest, with its readable names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRef {
    /// SHA-256 of the manifest.
    pub digest: Digest,
    /// The growing integer version.
    pub number: u64,
    /// The semantic version.
    pub version: String,
}

/// What one model name is doing on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelState {
    /// Nothing was ever active.
    Empty,
    /// A candidate is being fetched.
    Fetching,
    /// A candidate is being tested on this device.
    Proving,
    /// The active model answers and is what the deployment names.
    Active,
    /// The last candidate was refused; what was active before still answers.
    Refused,
    /// A person chose the active model on the device; it holds until a newer deployment.
    Held,
    /// Every version on the device is denied; none answers.
    Denied,
}

/// One model name's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelStatus {
    /// The model's name.
    pub name: ModelName,
    /// What it is doing.
    pub state: ModelState,
    /// What answers now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ModelRef>,
    /// What answered before and would be rolled back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<ModelRef>,
    /// What is being fetched or proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<ModelRef>,
    /// How much of the candidate is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The latest refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefusalReport>,
    /// What the active model's test on this device measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_test: Option<SelfTestReport>,
}

/// How much of a candidate was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Bytes that are there.
    pub fetched_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Why a candidate or a deployment was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalReport {
    /// Number of the check that failed, 1 to 10.
    pub step: u8,
    /// The reason in kebab case, for programs.
    pub reason: String,
    /// The reason for people, at most 400 bytes.
    pub message: String,
    /// The manifest that was refused, when the check was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

impl RefusalReport {
    /// A refusal with its message cut to what the format holds.
    pub fn new(step: u8, reason: &str, message: &str, digest: Option<Digest>) -> Self {
        Self {
            step,
            reason: bounded_text(reason, MESSAGE_BYTES_MAX / 4),
            message: bounded_text(message, MESSAGE_BYTES_MAX),
            digest,
        }
    }
}

/// What the self-test of the active model measured on the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfTestReport {
    /// The engine that was chosen.
    pub engine: String,
    /// 50th percentile of the latency in microseconds.
    pub p50_us: u64,
    /// 95th percentile of the latency in microseconds.
    pub p95_us: u64,
    /// Bytes that the model holds in memory.
    pub memory_bytes: u64,
    /// Golden cases that were compared.
    pub golden_cases: u32,
}

impl Status {
    /// The last will: published by the broker when the device's connection ends without a goodbye.
    pub fn offline(device: DeviceId, boot: u64, agent_version: &str, connected_unix: u64) -> Self {
        Self {
            schema: STATUS_SCHEMA,
            device,
            online: false,
            boot,
            sequence_seen: 0,
            sent_unix: connected_unix,
            agent_version: agent_version.to_owned(),
            profile: None,
            models: Vec::new(),
        }
    }

    /// The payload.
    pub fn encode(&self) -> Result<Vec<u8>, ProtocolError> {
        self.check()?;
        write_json(WHAT, self, PAYLOAD_BYTES_MAX)
    }

    /// Reads a payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let status: Self = read_json(WHAT, bytes, PAYLOAD_BYTES_MAX, STATUS_SCHEMA)?;
        status.check()?;
        Ok(status)
    }

    fn check(&self) -> Result<(), ProtocolError> {
        if self.schema != STATUS_SCHEMA {
            return Err(malformed(WHAT, format!("schema {}, expected {STATUS_SCHEMA}", self.schema)));
        }
        if self.models.len() > MODELS_MAX {
            return Err(malformed(WHAT, format!("{} models, at most {MODELS_MAX} are allowed", self.models.len())));
        }
        Ok(())
    }
}
