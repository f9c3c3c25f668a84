//! What devices last reported. It is a cache: every device reports again when it connects, so losing it loses
//! nothing but the time when a silent device was last seen. Nothing in it is trusted: devices sign nothing.

use std::collections::BTreeMap;

use cloud_sync_protocol::{ChannelId, DeviceId, ModelName, ModelState, ModelStatus, RefusalReport, Status};
use runtime_trust::Digest;
use serde::{Deserialize, Serialize};

use crate::event::DeploymentRecord;
use crate::state::State;

/// The version of the cache file.
pub const DEVICES_SCHEMA: u32 = 1;
/// The longest cache file that is read or written, in bytes.
pub const DEVICES_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Devices that are kept in mind.
const DEVICES_MAX: usize = 100_000;

/// The latest report of each device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceIndex {
    devices: BTreeMap<DeviceId, Observed>,
}

/// What one device last reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    /// Whether its connection stands, as far as the broker has told.
    pub online: bool,
    /// When its latest report arrived, in seconds since 1970 by the controller's clock.
    pub last_seen: u64,
    /// The report.
    pub status: Status,
}

/// Why a report was left out.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Ignored {
    /// The report names another device than the topic that it came on.
    #[error("a report about {named} came from {device}")]
    OtherDevice {
        /// The device of the topic.
        device: DeviceId,
        /// The device of the report.
        named: DeviceId,
    },
    /// The last will of an earlier run, after a later run has reported.
    #[error("the last will of run {will} of {device} came after run {boot} had begun")]
    LateWill {
        /// The device.
        device: DeviceId,
        /// The run that the will is of.
        will: u64,
        /// The run that reported.
        boot: u64,
    },
    /// There are more devices than are kept in mind.
    #[error("a report of {device}: {DEVICES_MAX} devices are kept in mind already")]
    Full {
        /// The device.
        device: DeviceId,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheFile {
    schema: u32,
    devices: BTreeMap<DeviceId, Observed>,
}

impl DeviceIndex {
    /// Takes a report that arrived from `device` at `now`.
    pub fn observe(&mut self, device: &DeviceId, status: Status, now: u64) -> Result<(), Ignored> {
        if status.device != *device {
            return Err(Ignored::OtherDevice { device: device.clone(), named: status.device });
        }
        let full = self.devices.len() >= DEVICES_MAX;
        match self.devices.get_mut(device) {
            // A will says that the connection ended, and nothing about models.
            Some(known) if !status.online => {
                if status.boot < known.status.boot {
                    let (will, boot) = (status.boot, known.status.boot);
                    return Err(Ignored::LateWill { device: device.clone(), will, boot });
                }
                known.online = false;
            }
            // A lower boot than before is a device that was set up anew: it is believed.
            Some(known) => *known = Observed { online: true, last_seen: now, status },
            None if full => return Err(Ignored::Full { device: device.clone() }),
            None => {
                self.devices.insert(device.clone(), Observed { online: status.online, last_seen: now, status });
            }
        }
        Ok(())
    }

    /// What a device last reported.
    pub fn get(&self, device: &DeviceId) -> Option<&Observed> {
        self.devices.get(device)
    }

    /// Every device that ever reported.
    pub fn iter(&self) -> impl Iterator<Item = (&DeviceId, &Observed)> {
        self.devices.iter()
    }

    /// The highest sequence that a device of the channel has reported.
    pub fn reported_sequence(&self, state: &State, channel: &ChannelId) -> u64 {
        let of_channel = state.devices().iter().filter(|(_, device)| device.channel == *channel);
        of_channel.filter_map(|(id, _)| self.get(id)).map(|observed| observed.status.sequence_seen).max().unwrap_or(0)
    }

    /// The cache file's bytes; none when they would be too long to read again.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let file = CacheFile { schema: DEVICES_SCHEMA, devices: self.devices.clone() };
        let bytes = serde_json::to_vec(&file).expect("names, numbers and texts serialize to JSON");
        (bytes.len() as u64 <= DEVICES_BYTES_MAX).then_some(bytes)
    }

    /// Reads a cache file. Nobody is online until they report. `None` for a damaged or foreign one: a cache is
    /// left out, not mended.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let file: CacheFile = serde_json::from_slice(bytes).ok()?;
        let mut devices = (file.schema == DEVICES_SCHEMA).then_some(file.devices)?;
        devices.values_mut().for_each(|observed| observed.online = false);
        Some(DeviceIndex { devices })
    }
}

/// Where a device is with a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Every model of the deployment answers there.
    Active,
    /// Not yet: on its way, offline, or never seen.
    Pending,
    /// The device refused a model of the deployment and serves what it had.
    Refused,
}

/// Where a device is with `deployment`, and the refusal that it named, if it did.
///
/// A refusal counts when it names a digest of the deployment and was reported after the deployment was signed: an
/// older one may be about an earlier try with the same digest.
pub fn standing<'a>(
    deployment: &DeploymentRecord,
    observed: Option<&'a Observed>,
) -> (Standing, Option<&'a RefusalReport>) {
    let Some(observed) = observed else { return (Standing::Pending, None) };
    let models = &observed.status.models;
    let of = |name: &ModelName| models.iter().find(|model| model.name == *name);
    if deployment.models.iter().all(|(name, digest)| of(name).is_some_and(|model| is_active(model, digest))) {
        return (Standing::Active, None);
    }
    let refusal = deployment.models.iter().find_map(|(name, digest)| refused(of(name)?, digest));
    match refusal {
        Some(refusal) if observed.last_seen >= deployment.issued => (Standing::Refused, Some(refusal)),
        other => (Standing::Pending, other),
    }
}

fn is_active(model: &ModelStatus, digest: &Digest) -> bool {
    model.active.as_ref().is_some_and(|active| active.digest == *digest) && model.state != ModelState::Denied
}

fn refused<'a>(model: &'a ModelStatus, digest: &Digest) -> Option<&'a RefusalReport> {
    if is_active(model, digest) || model.state != ModelState::Refused {
        return None;
    }
    model.refusal.as_ref().filter(|refusal| refusal.digest == Some(*digest))
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
