//! What a command leads to: pure functions from the state to a plan. No I/O, no clock, no keys.
//!
//! A plan says everything that will be signed; whoever carries it out adds signatures and bytes, nothing else.

mod deploy;
mod refused;
mod release;
mod version;

pub use deploy::{DeploymentPlan, MODELS_MAX, SequenceBounds, choose, find, renew_deployment, rollback, rollout};
pub use refused::Refused;
pub use release::{NAMES_MAX, ReleaseChange, ReleasePlan, TopLevelPlan, release};
pub use version::VersionChoice;

use cloud_sync_protocol::{ChannelId, DeviceId};

use crate::event::DeploymentRecord;
use crate::settings::Lifetimes;
use crate::state::State;

/// What is due to be signed again by the deploy key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renewals {
    /// The snapshot, and with it the timestamp.
    pub snapshot: bool,
    /// The timestamp.
    pub timestamp: bool,
    /// Channels whose deployment ends soon.
    pub channels: Vec<ChannelId>,
}

impl Renewals {
    /// Whether nothing is due.
    pub fn is_empty(&self) -> bool {
        *self == Renewals::default()
    }
}

/// What is due at `now`: the timestamp and snapshot in the second half of their life, deployments in the last
/// quarter of theirs (each renewal raises the sequence, which ends a hold that somebody set on a device).
pub fn renewals(state: &State, lifetimes: Lifetimes, now: u64) -> Renewals {
    let late = |expires: u64, left_s: u64| expires.saturating_sub(now) < left_s;
    let Some(trust) = state.trust() else { return Renewals::default() };
    let snapshot = late(trust.snapshot.expires, lifetimes.snapshot_s / 2);
    let timestamp = snapshot || late(trust.timestamp.expires, lifetimes.timestamp_s / 2);
    let is_due = |deployment: &DeploymentRecord| late(deployment.expires, lifetimes.deployment_s / 4);
    let channels = state.channels().filter(|channel| state.deployment(channel).is_some_and(is_due)).cloned().collect();
    Renewals { snapshot, timestamp, channels }
}

/// Whether a device may get an enrolment file.
pub fn enroll(state: &State, device: &DeviceId, again: bool) -> Result<(), Refused> {
    match state.devices().get(device) {
        Some(enrolled) if !again => {
            Err(Refused::AlreadyEnrolled { device: device.clone(), channel: enrolled.channel.clone() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
