//! Every change to a fleet.
//!
//! The order is always the same: decide (pure), sign, play the device, store the new objects, append the event (from
//! here on it has happened), then take it into the state and write the copies for people. A crash in between leaves
//! objects that nothing names, never an event whose objects are missing.

use bytes::Bytes;
use cloud_sync_protocol::{ChannelId, DeviceId, ENROLMENT_SCHEMA, Enrolment, ModelName};
use runtime_artifact::Manifest;
use runtime_trust::limits::ENVELOPE_BYTES_MAX;
use runtime_trust::{
    DEPLOYMENT_SCHEMA, DeployedModel, Deployment, Digest, Envelope, PayloadType, Role, SigningKey, TrustState,
};

use super::Fleet;
use crate::decide::{self, DeploymentPlan, Refused, ReleaseChange, ReleasePlan, SequenceBounds, VersionChoice};
use crate::error::FleetError;
use crate::event::{ArtifactRecord, DeploymentRecord, Event, TrustChange};
use crate::keyring::DEPLOY;
use crate::objects::Kind;
use crate::remembered::BrokerAddress;
use crate::report::{self, Enrolled, Pushed, REPORT_SCHEMA};
use crate::trust_files::{CurrentFiles, SignedRelease, Signing, compare_with_plan, rehearse};

impl Fleet {
    /// What a person has to sign so that `change` comes true.
    pub fn plan_release(&self, name: &ModelName, change: &ReleaseChange) -> Result<ReleasePlan, FleetError> {
        Ok(decide::release(&self.state, name, change)?)
    }

    /// Takes targets that release signed, signs snapshot and timestamp over them, and makes them current.
    ///
    /// The manifest and every object of an added artifact are in the store already; its envelope is checked here.
    pub async fn commit_release(&mut self, release: &SignedRelease, now: u64) -> Result<Pushed, FleetError> {
        let plan = decide::release(&self.state, &release.name, &release.change)?;
        if let Some(artifact) = &release.change.artifact {
            self.check_stored_manifest(&release.name, artifact).await?;
        }
        let signing = Signing { version_min: release.change.version_min, ..self.signing(now) };
        let files = self.files.with_release(release, self.state.trust(), self.deploy_keys()?, signing)?;
        let trusted = rehearse(&self.root, &files, &release.name, now)?;
        compare_with_plan(&trusted, &plan)?;
        let trust = self.store_files(&files).await?;
        let event = Event::Released {
            name: release.name.clone(),
            artifact: release.change.artifact.clone(),
            retired: plan.retired.clone(),
            floor: plan.floor,
            denied: plan.denied.clone(),
            trust,
        };
        self.happened(event, now).await?;
        self.files = files;
        self.write_copies()?;
        let artifact = release.change.artifact.as_ref().or(plan.allowed.last()).ok_or(Refused::NothingPushed)?;
        Ok(Pushed {
            schema: REPORT_SCHEMA,
            name: release.name.clone(),
            version: artifact.version.clone(),
            number: artifact.number,
            digest: artifact.digest,
            chunks: artifact.chunks,
            bytes: artifact.stored_bytes,
            chunks_new: 0,
            retired: plan.retired.clone(),
            targets_version: plan.version,
        })
    }

    async fn check_stored_manifest(&self, name: &ModelName, artifact: &ArtifactRecord) -> Result<(), FleetError> {
        let other = |what| FleetError::OtherThanPlanned { name: name.clone(), what };
        let bytes = self.objects.expect(Kind::Manifest, &artifact.digest, ENVELOPE_BYTES_MAX).await?;
        let envelope = Envelope::parse(&bytes).map_err(FleetError::not_trusted("read the stored manifest"))?;
        envelope
            .verify(PayloadType::Manifest, self.root.role(Role::Targets))
            .map_err(FleetError::not_trusted("check the stored manifest"))?;
        if Digest::of(envelope.payload()) != artifact.digest {
            return Err(other("the manifest's digest"));
        }
        let manifest = Manifest::parse(envelope.payload())?;
        let version = manifest.version.to_string();
        if manifest.name != name.as_str() || manifest.number != artifact.number || version != artifact.version {
            return Err(other("the manifest's name, number or version"));
        }
        if envelope.payload().len() as u64 != artifact.manifest_bytes {
            return Err(other("the manifest's length"));
        }
        Ok(())
    }

    /// Deploys a version of an artifact to a channel; the channel's other models stay.
    pub async fn rollout(
        &mut self,
        channel: &ChannelId,
        name: &ModelName,
        version: &VersionChoice,
        sequence_min: u64,
        now: u64,
    ) -> Result<report::Deployed, FleetError> {
        let bounds = self.bounds(channel, sequence_min);
        let plan = decide::rollout(&self.state, channel, name, version, bounds)?;
        self.deploy(plan, now).await
    }

    /// Deploys the newest older version that the channel ran.
    pub async fn rollback(
        &mut self,
        channel: &ChannelId,
        name: Option<&ModelName>,
        sequence_min: u64,
        now: u64,
    ) -> Result<report::Deployed, FleetError> {
        let bounds = self.bounds(channel, sequence_min);
        let plan = decide::rollback(&self.state, channel, name, bounds)?;
        self.deploy(plan, now).await
    }

    fn bounds(&self, channel: &ChannelId, at_least: u64) -> SequenceBounds {
        SequenceBounds { at_least, reported: self.devices.reported_sequence(&self.state, channel) }
    }

    async fn deploy(&mut self, plan: DeploymentPlan, now: u64) -> Result<report::Deployed, FleetError> {
        let fleet = self.settings.fleet.to_string();
        let expires = now.saturating_add(self.settings.expiry.seconds().deployment_s);
        let models = plan.models.iter().map(|(name, digest)| DeployedModel { name: name.to_string(), digest: *digest });
        let deployment = Deployment {
            schema: DEPLOYMENT_SCHEMA,
            fleet: fleet.clone(),
            channel: plan.channel.to_string(),
            sequence: plan.sequence,
            issued: now,
            expires,
            models: models.collect(),
        };
        let keys: Vec<&SigningKey> = self.deploy_keys()?.iter().collect();
        let envelope = Envelope::sign(PayloadType::Deployment, deployment.to_bytes(), &keys).to_bytes();
        TrustState::enrolled(self.root.clone(), now)
            .check_deployment(&envelope, &fleet, plan.channel.as_str(), now)
            .map_err(FleetError::not_trusted("sign a deployment that devices take"))?;
        let digest = Digest::of(&envelope);
        self.objects.put(Kind::Deployment, &digest, Bytes::from(envelope)).await?;
        let record = DeploymentRecord {
            sequence: plan.sequence,
            models: plan.models,
            envelope: digest,
            issued: now,
            expires,
            cause: plan.cause,
        };
        let event = Event::Deployed { channel: plan.channel.clone(), deployment: record.clone() };
        self.happened(event, now).await?;
        Ok(report::deployed(&self.state, &plan.channel, &record))
    }

    /// Signs again what is due: timestamp, snapshot, deployments. Returns whether anything was.
    pub async fn renew(&mut self, now: u64) -> Result<bool, FleetError> {
        let due = decide::renewals(&self.state, self.settings.expiry.seconds(), now);
        if due.snapshot || due.timestamp {
            let mut files = self.files.clone();
            let signing = self.signing(now);
            if due.snapshot {
                files.sign_snapshot(self.state.trust(), self.deploy_keys()?, signing)?;
            } else {
                files.sign_timestamp(self.state.trust(), self.deploy_keys()?, signing)?;
            }
            let trust = self.store_files(&files).await?;
            self.happened(Event::TrustRenewed { trust }, now).await?;
            self.files = files;
            self.write_copies()?;
        }
        for channel in &due.channels {
            let plan = decide::renew_deployment(&self.state, channel, self.bounds(channel, 0))?;
            self.deploy(plan, now).await?;
        }
        Ok(!due.is_empty())
    }

    /// Makes a device's certificate and enrolment.
    pub async fn enroll(
        &mut self,
        device: &DeviceId,
        channel: &ChannelId,
        again: bool,
        broker: BrokerAddress,
        now: u64,
    ) -> Result<Enrolled, FleetError> {
        decide::enroll(&self.state, device, again)?;
        let identity = self.authority()?.device(device, now)?;
        let root = String::from_utf8_lossy(self.root.bytes()).into_owned();
        let enrolment = Enrolment {
            schema: ENROLMENT_SCHEMA,
            broker: broker.url,
            fleet: self.settings.fleet.clone(),
            device: device.clone(),
            channel: channel.clone(),
            time: now,
            ca_pem: broker.ca_pem,
            certificate_pem: identity.certificate_pem,
            key_pem: identity.key_pem.to_string(),
            root,
        };
        let (fingerprint, expires) = (identity.fingerprint, identity.expires);
        let event = Event::Enrolled { device: device.clone(), channel: channel.clone(), fingerprint, expires };
        self.happened(event, now).await?;
        Ok(Enrolled { enrolment, certificate_sha256: fingerprint, certificate_expires_unix: expires })
    }

    fn signing(&self, now: u64) -> Signing {
        Signing { version_min: 0, lifetimes: self.settings.expiry.seconds(), now }
    }

    fn deploy_keys(&self) -> Result<&[SigningKey], FleetError> {
        if self.deploy.is_empty() { Err(FleetError::Locked { role: DEPLOY }) } else { Ok(&self.deploy) }
    }

    async fn store_files(&self, files: &CurrentFiles) -> Result<TrustChange, FleetError> {
        for bytes in files.iter() {
            self.objects.put(Kind::Metadata, &Digest::of(bytes), bytes.clone()).await?;
        }
        files.change_since(&self.files)
    }

    async fn happened(&mut self, event: Event, now: u64) -> Result<(), FleetError> {
        let record = self.log.append(now, event).await?;
        self.state.apply(&record)?;
        Ok(())
    }
}
