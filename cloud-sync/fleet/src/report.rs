//! What commands print with `--json`, and what travels over the admin socket. Each object has a version; fields are
//! only added.

mod make;

use std::collections::BTreeMap;

use cloud_sync_protocol::{
    ChannelId, DeviceId, Enrolment, ModelName, ModelRef, ModelState, ProfileSummary, SelfTestReport,
};
use runtime_trust::Digest;
use serde::{Deserialize, Serialize};

use crate::devices::Standing;

pub use make::{
    artifact_list, artifact_row, deployed, device_details, device_list, device_row, model_rows, rollout_status,
};

/// The version of every report.
pub const REPORT_SCHEMA: u32 = 1;

/// `fleet artifact list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactList {
    /// Version of this object.
    pub schema: u32,
    /// Every artifact, by name and number.
    pub artifacts: Vec<ArtifactRow>,
}

/// One artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRow {
    /// Its name.
    pub name: ModelName,
    /// Its growing integer version.
    pub number: u64,
    /// Its semantic version.
    pub version: String,
    /// SHA-256 of its manifest.
    pub digest: Digest,
    /// `allowed`, `retired`, `denied` or `under-floor`.
    pub state: String,
    /// When it was pushed, in seconds since 1970.
    pub pushed_unix: u64,
    /// Objects that it consists of.
    pub chunks: u64,
    /// Their bytes as stored.
    pub stored_bytes: u64,
    /// Channels that run it now.
    pub channels: Vec<ChannelId>,
}

/// `fleet artifact show`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArtifactDetails {
    /// Version of this object.
    pub schema: u32,
    /// What `list` says about it.
    #[serde(flatten)]
    pub row: ArtifactRow,
    /// The floor of its name.
    pub floor: u64,
    /// The manifest as signed.
    pub manifest: serde_json::Value,
}

/// `fleet artifact push` and the other commands that sign targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// Version of this object.
    pub schema: u32,
    /// The artifact's name.
    pub name: ModelName,
    /// Its semantic version.
    pub version: String,
    /// Its growing integer version.
    pub number: u64,
    /// SHA-256 of its manifest.
    pub digest: Digest,
    /// Objects that it consists of.
    pub chunks: u64,
    /// Their bytes as stored.
    pub bytes: u64,
    /// Objects that the store did not have yet.
    pub chunks_new: u64,
    /// Numbers that this push retired.
    pub retired: Vec<u64>,
    /// Version of the name's targets.
    pub targets_version: u64,
}

/// `fleet rollout start` and `rollback`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// Version of this object.
    pub schema: u32,
    /// The channel.
    pub channel: ChannelId,
    /// The deployment's sequence.
    pub sequence: u64,
    /// What the channel runs.
    pub models: Vec<DeployedModelRow>,
}

/// One model of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployedModelRow {
    /// The model's name.
    pub name: ModelName,
    /// SHA-256 of its manifest.
    pub digest: Digest,
    /// Its growing integer version, when the log knows the digest.
    pub number: Option<u64>,
    /// Its semantic version, when the log knows the digest.
    pub version: Option<String>,
}

/// `fleet rollout status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// Version of this object.
    pub schema: u32,
    /// The channel.
    pub channel: ChannelId,
    /// The deployment's sequence.
    pub sequence: u64,
    /// What the channel runs.
    pub models: Vec<DeployedModelRow>,
    /// When the deployment was signed, in seconds since 1970.
    pub issued_unix: u64,
    /// When it ends.
    pub expires_unix: u64,
    /// Devices of the channel.
    pub devices_total: u64,
    /// Devices that run it.
    pub active: u64,
    /// Devices that have not answered yet.
    pub pending: u64,
    /// Devices that refused it.
    pub refused: u64,
    /// Each device.
    pub devices: Vec<RolloutDevice>,
}

/// One device of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutDevice {
    /// The device.
    pub id: DeviceId,
    /// Where it is.
    pub state: Standing,
    /// Whether its connection stands.
    pub online: bool,
    /// When it last reported; absent for never.
    pub last_seen_unix: Option<u64>,
    /// The check that failed, 1 to 10.
    pub step: Option<u8>,
    /// The reason in kebab case.
    pub reason: Option<String>,
    /// The reason for people.
    pub message: Option<String>,
}

/// `fleet device list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceList {
    /// Version of this object.
    pub schema: u32,
    /// Every device that is enrolled or has reported.
    pub devices: Vec<DeviceRow>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRow {
    /// The device.
    pub id: DeviceId,
    /// Its channel; absent for one that is not enrolled here.
    pub channel: Option<ChannelId>,
    /// Whether its connection stands.
    pub online: bool,
    /// When it last reported; absent for never.
    pub last_seen_unix: Option<u64>,
    /// The sequence that it has accepted; absent for none.
    pub sequence_seen: Option<u64>,
    /// Its models.
    pub models: Vec<DeviceModel>,
}

/// One model on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceModel {
    /// The model's name.
    pub name: ModelName,
    /// What it is doing, in kebab case.
    pub state: ModelState,
    /// What answers.
    pub active: Option<ActiveModel>,
    /// What answered before.
    pub last_good: Option<ModelRef>,
    /// The latest refusal.
    pub refusal: Option<DeviceRefusal>,
}

/// The model that answers on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveModel {
    /// SHA-256 of its manifest.
    pub digest: Digest,
    /// Its semantic version.
    pub version: String,
    /// Its growing integer version.
    pub number: u64,
    /// The engine that runs it, when the device said so.
    pub engine: Option<String>,
}

/// A refusal that a device reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRefusal {
    /// The manifest that was refused.
    pub digest: Option<Digest>,
    /// The check that failed, 1 to 10.
    pub step: u8,
    /// The reason in kebab case.
    pub reason: String,
    /// The reason for people.
    pub message: String,
}

/// `fleet device show`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceDetails {
    /// Version of this object.
    pub schema: u32,
    /// What `list` says about it.
    #[serde(flatten)]
    pub row: DeviceRow,
    /// When it was enrolled, in seconds since 1970.
    pub enrolled_unix: Option<u64>,
    /// When its certificate ends.
    pub certificate_expires_unix: Option<u64>,
    /// SHA-256 of its certificate.
    pub certificate_sha256: Option<Digest>,
    /// Version of its agent.
    pub agent_version: Option<String>,
    /// What the device is.
    pub profile: Option<ProfileSummary>,
    /// What its self-tests measured, by model.
    pub self_tests: BTreeMap<ModelName, SelfTestReport>,
}

/// `fleet device enroll`: the enrolment itself goes to a file, not to the terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The content of the enrolment file.
    pub enrolment: Enrolment,
    /// SHA-256 of the certificate.
    pub certificate_sha256: Digest,
    /// When the certificate ends, in seconds since 1970.
    pub certificate_expires_unix: u64,
}
