//! What the device tells its fleet.

use bytes::Bytes;
use cloud_sync_link::{Link, Publish};
use cloud_sync_protocol::limits::MODELS_MAX;
use cloud_sync_protocol::{
    DeviceId, FleetId, ModelName, ModelRef, ModelState, ModelStatus, ProfileSummary, RefusalReport, SelfTestReport,
    Status, Topic,
};
use runtime_inference::Proof;
use runtime_trust::TrustState;

use crate::device::Device;
use crate::executor::Shared;
use crate::machine::{Installed, ModelReport, Stage, State};

/// This program's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The file that counts starts.
const BOOT_FILE: &str = "boots";
/// It holds one number.
const BOOT_BYTES_MAX: u64 = 32;

/// The number of this start, higher than that of every start before. A count, not a time: clocks go back.
pub(crate) fn next_boot(device: &Device) -> u64 {
    let path = device.folder.path().join(BOOT_FILE);
    let before = runtime_disk::read_bounded(&path, BOOT_BYTES_MAX).ok();
    let before = before.and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse::<u64>().ok());
    // Without a count the clock is the next best thing that grows.
    let boot = before.map_or_else(|| device.unix(), |before| before.saturating_add(1));
    if let Err(error) = runtime_disk::write_atomic(&path, format!("{boot}\n").as_bytes()) {
        tracing::warn!(%error, "the count of starts was not written");
    }
    boot
}

/// The last will: what the broker says for a device that went silent.
pub(crate) fn will(_fleet: &FleetId, device: &DeviceId, boot: u64, unix: u64) -> Option<Bytes> {
    // A will is small and has no models: encoding it cannot fail.
    Status::offline(device.clone(), boot, VERSION, unix).encode().ok().map(Bytes::from)
}

/// Sends the status of `state`; `online` is false in the last one.
pub(crate) fn send(link: &Link, device: &Device, state: &State, shared: &Shared, boot: u64, online: bool) {
    let Some(identity) = &device.identity else { return };
    let mut status = Status::offline(identity.device.clone(), boot, VERSION, device.unix());
    if online {
        status.online = true;
        status.profile = Some(profile(device));
        let trust = TrustState::parse(&state.memory().trust).ok();
        status.sequence_seen = trust.and_then(|trust| trust.sequence(identity.channel.as_str())).unwrap_or(0);
        let report = state.report();
        status.models = report.models.iter().filter_map(|report| model(report, shared)).take(MODELS_MAX).collect();
    }
    let topic = Topic::Status(identity.fleet.clone(), identity.device.clone());
    let sent = status
        .encode()
        .map_err(|error| error.to_string())
        .and_then(|bytes| link.publish(&topic, bytes, Publish::default()).map_err(|error| error.to_string()));
    if let Err(error) = sent {
        tracing::warn!(error, "the status was not sent");
    }
}

fn profile(device: &Device) -> ProfileSummary {
    let profile = &device.profile;
    ProfileSummary {
        architecture: profile.architecture.clone(),
        os: profile.os.clone(),
        cores: profile.cores,
        memory_bytes: profile.memory_bytes,
        cpu_features: profile.cpu_features.iter().cloned().collect(),
        engines: profile.engine_order.clone(),
    }
}

fn model(report: &ModelReport, shared: &Shared) -> Option<ModelStatus> {
    let reference = |version: &Installed| ModelRef {
        digest: version.digest,
        number: version.number,
        version: version.version.clone(),
    };
    let newest = report.candidate.as_ref().or(report.active.as_ref());
    Some(ModelStatus {
        // Every name came from a manifest or deployment; one that is no topic level is not reported.
        name: ModelName::parse(&report.name).ok()?,
        state: model_state(report),
        active: report.active.as_ref().map(reference),
        last_good: report.last_good.as_ref().map(reference),
        candidate: report.candidate.as_ref().map(reference),
        progress: None,
        refusal: report
            .refusal
            .as_ref()
            .map(|refusal| RefusalReport::new(refusal.step, &refusal.reason, &refusal.message, refusal.digest)),
        self_test: newest.and_then(|version| shared.proof(&version.digest)).map(self_test),
    })
}

fn model_state(report: &ModelReport) -> ModelState {
    match report.stage {
        Stage::Idle => ModelState::Empty,
        Stage::DeploymentAccepted
        | Stage::ManifestChecked
        | Stage::Reserving
        | Stage::Downloading
        | Stage::Verifying
        | Stage::Waiting => ModelState::Fetching,
        Stage::Proving | Stage::Activating => ModelState::Proving,
        Stage::Active => ModelState::Active,
        Stage::Refused => ModelState::Refused,
        Stage::Held => ModelState::Held,
        Stage::Denied => ModelState::Denied,
    }
}

fn self_test(proof: Proof) -> SelfTestReport {
    SelfTestReport {
        engine: proof.engine,
        p50_us: proof.p50_us,
        p95_us: proof.p95_us,
        memory_bytes: proof.memory_bytes,
        golden_cases: u32::try_from(proof.golden_cases).unwrap_or(u32::MAX),
    }
}
