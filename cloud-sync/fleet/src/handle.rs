//! Carries out what the admin socket or a command asks of an open fleet.

use runtime_trust::Envelope;
use runtime_trust::limits::ENVELOPE_BYTES_MAX;
use serde::Serialize;
use serde_json::Value;

use crate::admin::Request;
use crate::decide::{self, Refused, VersionChoice};
use crate::error::FleetError;
use crate::fleet::Fleet;
use crate::objects::Kind;
use crate::report::{self, ArtifactDetails, REPORT_SCHEMA};
use cloud_sync_protocol::ModelName;

impl Fleet {
    /// Does what `request` asks, at `now`, and returns its report.
    pub async fn handle(&mut self, request: Request, now: u64) -> Result<Value, FleetError> {
        match request {
            Request::ArtifactList { name } => Ok(to_value(&report::artifact_list(self.state(), name.as_ref()))),
            Request::ArtifactShow { name, version } => Ok(to_value(&self.artifact_details(&name, &version).await?)),
            Request::ReleasePlan { name, change } => Ok(to_value(&self.plan_release(&name, &change)?)),
            Request::ReleaseCommit { release } => Ok(to_value(&self.commit_release(&release, now).await?)),
            Request::RolloutStart { channel, name, version, sequence_min } => {
                Ok(to_value(&self.rollout(&channel, &name, &version, sequence_min, now).await?))
            }
            Request::RolloutRollback { channel, name, sequence_min } => {
                Ok(to_value(&self.rollback(&channel, name.as_ref(), sequence_min, now).await?))
            }
            Request::RolloutStatus { channel } => {
                let none = || Refused::NoDeployment { channel: channel.clone() };
                let deployment = self.state().deployment(&channel).ok_or_else(none)?;
                Ok(to_value(&report::rollout_status(self.state(), self.devices(), &channel, deployment)))
            }
            Request::DeviceList {} => Ok(to_value(&report::device_list(self.state(), self.devices()))),
            Request::DeviceShow { device } => {
                let details = report::device_details(self.state(), self.devices(), &device);
                Ok(to_value(&details.ok_or(Refused::UnknownDevice { device })?))
            }
            Request::DeviceEnroll { device, channel, again, broker, ca_pem } => {
                decide::enroll(self.state(), &device, again)?;
                let broker = self.broker_for_devices(broker, ca_pem)?;
                Ok(to_value(&self.enroll(&device, &channel, again, broker, now).await?))
            }
        }
    }

    async fn artifact_details(&self, name: &ModelName, version: &VersionChoice) -> Result<ArtifactDetails, FleetError> {
        let named = self.state().artifacts(name).ok_or_else(|| Refused::UnknownName { name: name.clone() })?;
        let artifact = decide::find(named, name, version)?;
        let digest = &artifact.record.digest;
        let bytes = self.objects().expect(Kind::Manifest, digest, ENVELOPE_BYTES_MAX).await?;
        let envelope = Envelope::parse(&bytes).map_err(FleetError::not_trusted("read the stored manifest"))?;
        if let Some(damage) = self.objects().damaged(Kind::Manifest, digest, envelope.payload()) {
            return Err(damage.into());
        }
        let manifest = serde_json::from_slice(envelope.payload()).map_err(|error| FleetError::Usage {
            message: format!("read the manifest: {error}"),
            hint: String::new(),
        })?;
        let row = report::artifact_row(self.state(), name, named, artifact);
        Ok(ArtifactDetails { schema: REPORT_SCHEMA, row, floor: named.floor, manifest })
    }
}

fn to_value(report: &impl Serialize) -> Value {
    serde_json::to_value(report).expect("reports are names, numbers and texts")
}
