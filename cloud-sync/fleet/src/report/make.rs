//! Reports from the state and from what devices reported.

use std::collections::BTreeSet;

use cloud_sync_protocol::{ChannelId, DeviceId, ModelName, ModelStatus};
use runtime_trust::Digest;

use super::{
    ActiveModel, ArtifactList, ArtifactRow, Deployed, DeployedModelRow, DeviceDetails, DeviceList, DeviceModel,
    DeviceRefusal, DeviceRow, REPORT_SCHEMA, RolloutDevice, RolloutStatus,
};
use crate::devices::{DeviceIndex, Observed, Standing, standing};
use crate::event::DeploymentRecord;
use crate::state::{Artifact, NamedArtifacts, State};

/// The report of `fleet artifact list`, of one name or of all.
pub fn artifact_list(state: &State, only: Option<&ModelName>) -> ArtifactList {
    let names = state.names().filter(|name| only.is_none_or(|only| only == *name));
    let artifacts = names
        .filter_map(|name| Some((name, state.artifacts(name)?)))
        .flat_map(|(name, named)| {
            named.versions.values().map(move |artifact| artifact_row(state, name, named, artifact))
        })
        .collect();
    ArtifactList { schema: REPORT_SCHEMA, artifacts }
}

/// One row of it.
pub fn artifact_row(state: &State, name: &ModelName, named: &NamedArtifacts, artifact: &Artifact) -> ArtifactRow {
    let record = &artifact.record;
    let word = if named.denied.contains(&record.digest) {
        "denied"
    } else if record.number < named.floor {
        "under-floor"
    } else if artifact.retired {
        "retired"
    } else {
        "allowed"
    };
    let runs = |channel: &&ChannelId| {
        state.deployment(channel).is_some_and(|deployment| deployment.models.get(name) == Some(&record.digest))
    };
    ArtifactRow {
        name: name.clone(),
        number: record.number,
        version: record.version.clone(),
        digest: record.digest,
        state: word.to_owned(),
        pushed_unix: artifact.pushed,
        chunks: record.chunks,
        stored_bytes: record.stored_bytes,
        channels: state.channels().filter(runs).cloned().collect(),
    }
}

/// The models of a deployment with their readable names.
pub fn model_rows(state: &State, deployment: &DeploymentRecord) -> Vec<DeployedModelRow> {
    let row = |(name, digest): (&ModelName, &Digest)| {
        let record = state.artifact_of(digest).map(|(_, artifact)| &artifact.record);
        DeployedModelRow {
            name: name.clone(),
            digest: *digest,
            number: record.map(|record| record.number),
            version: record.map(|record| record.version.clone()),
        }
    };
    deployment.models.iter().map(row).collect()
}

/// The report about a new deployment.
pub fn deployed(state: &State, channel: &ChannelId, deployment: &DeploymentRecord) -> Deployed {
    let (sequence, models) = (deployment.sequence, model_rows(state, deployment));
    Deployed { schema: REPORT_SCHEMA, channel: channel.clone(), sequence, models }
}

/// The report of `fleet rollout status`.
pub fn rollout_status(
    state: &State,
    devices: &DeviceIndex,
    channel: &ChannelId,
    deployment: &DeploymentRecord,
) -> RolloutStatus {
    let of_channel = state.devices().iter().filter(|(_, device)| device.channel == *channel);
    let rows: Vec<RolloutDevice> = of_channel.map(|(id, _)| rollout_device(deployment, id, devices.get(id))).collect();
    let count = |wanted| rows.iter().filter(|row| row.state == wanted).count() as u64;
    RolloutStatus {
        schema: REPORT_SCHEMA,
        channel: channel.clone(),
        sequence: deployment.sequence,
        models: model_rows(state, deployment),
        issued_unix: deployment.issued,
        expires_unix: deployment.expires,
        devices_total: rows.len() as u64,
        active: count(Standing::Active),
        pending: count(Standing::Pending),
        refused: count(Standing::Refused),
        devices: rows,
    }
}

fn rollout_device(deployment: &DeploymentRecord, id: &DeviceId, observed: Option<&Observed>) -> RolloutDevice {
    let (state, refusal) = standing(deployment, observed);
    RolloutDevice {
        id: id.clone(),
        state,
        online: observed.is_some_and(|observed| observed.online),
        last_seen_unix: observed.map(|observed| observed.last_seen),
        step: refusal.map(|refusal| refusal.step),
        reason: refusal.map(|refusal| refusal.reason.clone()),
        message: refusal.map(|refusal| refusal.message.clone()),
    }
}

/// The report of `fleet device list`: those that are enrolled, and those that only report.
pub fn device_list(state: &State, devices: &DeviceIndex) -> DeviceList {
    let mut ids: BTreeSet<&DeviceId> = state.devices().keys().collect();
    ids.extend(devices.iter().map(|(id, _)| id));
    let devices = ids.into_iter().map(|id| device_row(state, devices, id)).collect();
    DeviceList { schema: REPORT_SCHEMA, devices }
}

/// One row of it.
pub fn device_row(state: &State, devices: &DeviceIndex, id: &DeviceId) -> DeviceRow {
    let observed = devices.get(id);
    let status = observed.map(|observed| &observed.status);
    DeviceRow {
        id: id.clone(),
        channel: state.devices().get(id).map(|device| device.channel.clone()),
        online: observed.is_some_and(|observed| observed.online),
        last_seen_unix: observed.map(|observed| observed.last_seen),
        sequence_seen: status.map(|status| status.sequence_seen).filter(|sequence| *sequence > 0),
        models: status.map(|status| status.models.iter().map(device_model).collect()).unwrap_or_default(),
    }
}

fn device_model(model: &ModelStatus) -> DeviceModel {
    let engine = model.self_test.as_ref().map(|test| test.engine.clone());
    DeviceModel {
        name: model.name.clone(),
        state: model.state,
        active: model.active.clone().map(|active| ActiveModel {
            digest: active.digest,
            version: active.version,
            number: active.number,
            engine,
        }),
        last_good: model.last_good.clone(),
        refusal: model.refusal.clone().map(|refusal| DeviceRefusal {
            digest: refusal.digest,
            step: refusal.step,
            reason: refusal.reason,
            message: refusal.message,
        }),
    }
}

/// The report of `fleet device show`; none for a device that nobody knows.
pub fn device_details(state: &State, devices: &DeviceIndex, id: &DeviceId) -> Option<DeviceDetails> {
    let enrolled = state.devices().get(id);
    let status = devices.get(id).map(|observed| &observed.status);
    if enrolled.is_none() && status.is_none() {
        return None;
    }
    let tests = status.map(|status| status.models.as_slice()).unwrap_or_default().iter();
    Some(DeviceDetails {
        schema: REPORT_SCHEMA,
        row: device_row(state, devices, id),
        enrolled_unix: enrolled.map(|device| device.enrolled),
        certificate_expires_unix: enrolled.map(|device| device.expires),
        certificate_sha256: enrolled.map(|device| device.fingerprint),
        agent_version: status.map(|status| status.agent_version.clone()),
        profile: status.and_then(|status| status.profile.clone()),
        self_tests: tests.filter_map(|model| Some((model.name.clone(), model.self_test.clone()?))).collect(),
    })
}
