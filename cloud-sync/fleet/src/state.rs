//! What the fleet is now: the events folded, one after the other. No I/O, no clock.
//!
//! Invariants of the fold, each checked at every event: positions have no gaps, versions of trust files and
//! sequences of a channel only rise, a number of a name means one digest for ever.

use std::collections::{BTreeMap, BTreeSet};

use cloud_sync_protocol::{ChannelId, DeviceId, ModelName};
use runtime_trust::Digest;

use crate::event::{ArtifactRecord, Cause, DeploymentRecord, Event, Record, TrustChange, TrustFile};

/// Everything that the log says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    position: u64,
    artifacts: BTreeMap<ModelName, NamedArtifacts>,
    trust: Option<TrustSet>,
    channels: BTreeMap<ChannelId, Vec<DeploymentRecord>>,
    devices: BTreeMap<DeviceId, EnrolledDevice>,
}

/// All artifacts of one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedArtifacts {
    /// No number under it is allowed.
    pub floor: u64,
    /// Manifests that must not run anywhere.
    pub denied: BTreeSet<Digest>,
    /// By number.
    pub versions: BTreeMap<u64, Artifact>,
}

/// One artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What was pushed.
    pub record: ArtifactRecord,
    /// Whether the targets no longer list it.
    pub retired: bool,
    /// When it was pushed, in seconds since 1970.
    pub pushed: u64,
}

/// The current trust files below the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustSet {
    /// The timestamp.
    pub timestamp: TrustFile,
    /// The snapshot.
    pub snapshot: TrustFile,
    /// The top-level targets.
    pub targets: TrustFile,
    /// The targets of each name.
    pub names: BTreeMap<ModelName, TrustFile>,
}

/// A device that was enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledDevice {
    /// The channel of its latest enrolment.
    pub channel: ChannelId,
    /// When that was, in seconds since 1970.
    pub enrolled: u64,
    /// SHA-256 of its latest certificate.
    pub fingerprint: Digest,
    /// When that certificate ends, in seconds since 1970.
    pub expires: u64,
}

/// An event that cannot follow on those before it: the log is damaged, or was written by a faulty program.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("apply event {position} of the log: {reason}")]
pub struct FoldError {
    /// The event's position.
    pub position: u64,
    /// Which invariant it breaks.
    pub reason: String,
}

impl State {
    /// The state after all of `records`, which begin at position 1.
    pub fn fold<'a>(records: impl IntoIterator<Item = &'a Record>) -> Result<Self, FoldError> {
        let mut state = State::default();
        for record in records {
            state.apply(record)?;
        }
        Ok(state)
    }

    /// Takes one more event. On an error the state is as before.
    pub fn apply(&mut self, record: &Record) -> Result<(), FoldError> {
        let broken = |reason: String| FoldError { position: record.position, reason };
        if record.position != self.position + 1 {
            return Err(broken(format!("expected event {}", self.position + 1)));
        }
        match &record.event {
            Event::Released { name, artifact, retired, floor, denied, trust } => {
                self.check_trust(trust).map_err(broken)?;
                let named = self.artifacts.get(name);
                if let (Some(artifact), Some(named)) = (artifact, named) {
                    check_artifact(artifact, named).map_err(broken)?;
                }
                if named.is_some_and(|named| *floor < named.floor) {
                    return Err(broken(format!("the floor of {name} falls to {floor}")));
                }
                self.replace_trust(trust);
                let named = self.artifacts.entry(name.clone()).or_default();
                named.floor = *floor;
                named.denied = denied.iter().copied().collect();
                if let Some(record_of) = artifact {
                    let entry = Artifact { record: record_of.clone(), retired: false, pushed: record.time };
                    named.versions.entry(record_of.number).or_insert(entry).retired = false;
                }
                for number in retired {
                    if let Some(artifact) = named.versions.get_mut(number) {
                        artifact.retired = true;
                    }
                }
            }
            Event::TrustRenewed { trust } => {
                self.check_trust(trust).map_err(broken)?;
                self.replace_trust(trust);
            }
            Event::Deployed { channel, deployment } => {
                let last = self.channels.get(channel).and_then(|history| history.last());
                if last.is_some_and(|last| deployment.sequence <= last.sequence) {
                    return Err(broken(format!("sequence {} of {channel} does not rise", deployment.sequence)));
                }
                self.channels.entry(channel.clone()).or_default().push(deployment.clone());
            }
            Event::Enrolled { device, channel, fingerprint, expires } => {
                let device_now = EnrolledDevice {
                    channel: channel.clone(),
                    enrolled: record.time,
                    fingerprint: *fingerprint,
                    expires: *expires,
                };
                self.devices.insert(device.clone(), device_now);
            }
        }
        self.position = record.position;
        Ok(())
    }

    /// The position of the last event; 0 for none.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The names of all artifacts, in order.
    pub fn names(&self) -> impl Iterator<Item = &ModelName> {
        self.artifacts.keys()
    }

    /// All artifacts of a name.
    pub fn artifacts(&self, name: &ModelName) -> Option<&NamedArtifacts> {
        self.artifacts.get(name)
    }

    /// The artifact with a manifest's digest, whatever its name.
    pub fn artifact_of(&self, digest: &Digest) -> Option<(&ModelName, &Artifact)> {
        let all = self.artifacts.iter().flat_map(|(name, named)| named.versions.values().map(move |one| (name, one)));
        all.into_iter().find(|(_, artifact)| artifact.record.digest == *digest)
    }

    /// The current trust files; none before the first push.
    pub fn trust(&self) -> Option<&TrustSet> {
        self.trust.as_ref()
    }

    /// The channels that ever had a deployment.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelId> {
        self.channels.keys()
    }

    /// A channel's deployments, oldest first.
    pub fn history(&self, channel: &ChannelId) -> &[DeploymentRecord] {
        self.channels.get(channel).map_or(&[], Vec::as_slice)
    }

    /// What a channel runs now.
    pub fn deployment(&self, channel: &ChannelId) -> Option<&DeploymentRecord> {
        self.history(channel).last()
    }

    /// The manifests that any channel runs now.
    pub fn deployed(&self) -> BTreeSet<Digest> {
        self.channels
            .values()
            .filter_map(|history| history.last())
            .flat_map(|last| last.models.values().copied())
            .collect()
    }

    /// The enrolled devices.
    pub fn devices(&self) -> &BTreeMap<DeviceId, EnrolledDevice> {
        &self.devices
    }

    /// The name that a channel's latest rollout or rollback was about.
    pub fn last_changed(&self, channel: &ChannelId) -> Option<&ModelName> {
        self.history(channel).iter().rev().find_map(|deployment| match &deployment.cause {
            Cause::Rollout { name } | Cause::Rollback { name, .. } => Some(name),
            Cause::Renewal => None,
        })
    }

    fn check_trust(&self, change: &TrustChange) -> Result<(), String> {
        let Some(now) = &self.trust else {
            let complete = change.snapshot.is_some() && change.targets.is_some();
            return if complete { Ok(()) } else { Err("the first trust files are incomplete".to_owned()) };
        };
        let mut pairs = vec![("timestamp", &now.timestamp, &change.timestamp)];
        pairs.extend(change.snapshot.as_ref().map(|file| ("snapshot", &now.snapshot, file)));
        pairs.extend(change.targets.as_ref().map(|file| ("targets", &now.targets, file)));
        for (name, file) in &change.names {
            pairs.extend(now.names.get(name).map(|before| (name.as_str(), before, file)));
        }
        match pairs.into_iter().find(|(_, before, after)| after.version <= before.version) {
            Some((what, before, after)) => {
                Err(format!("{what} goes from version {} to {}", before.version, after.version))
            }
            None => Ok(()),
        }
    }

    fn replace_trust(&mut self, change: &TrustChange) {
        match (&mut self.trust, &change.snapshot, &change.targets) {
            (Some(now), snapshot, targets) => {
                now.timestamp = change.timestamp.clone();
                now.snapshot = snapshot.clone().unwrap_or_else(|| now.snapshot.clone());
                now.targets = targets.clone().unwrap_or_else(|| now.targets.clone());
                now.names.extend(change.names.clone());
            }
            (empty @ None, Some(snapshot), Some(targets)) => {
                *empty = Some(TrustSet {
                    timestamp: change.timestamp.clone(),
                    snapshot: snapshot.clone(),
                    targets: targets.clone(),
                    names: change.names.clone(),
                });
            }
            // `check_trust` has refused an incomplete first set.
            (None, ..) => {}
        }
    }
}

impl NamedArtifacts {
    /// The artifacts that a device may take: not retired, not under the floor, not denied; lowest number first.
    pub fn allowed(&self) -> impl DoubleEndedIterator<Item = &Artifact> {
        self.versions
            .range(self.floor..)
            .map(|(_, artifact)| artifact)
            .filter(|artifact| !artifact.retired && !self.denied.contains(&artifact.record.digest))
    }
}

fn check_artifact(artifact: &ArtifactRecord, named: &NamedArtifacts) -> Result<(), String> {
    match named.versions.get(&artifact.number) {
        Some(before) if before.record.digest != artifact.digest => {
            Err(format!("number {} changes its digest", artifact.number))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
