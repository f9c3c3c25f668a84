//! Plans for what a channel runs.

use std::collections::{BTreeMap, BTreeSet};

use cloud_sync_protocol::{ChannelId, ModelName};
use runtime_trust::Digest;

use super::{Refused, VersionChoice};
use crate::event::Cause;
use crate::state::{Artifact, NamedArtifacts, State};

/// How far ahead of the log a device's report may be to be believed. A device signs nothing: a lying one must not
/// be able to use up a channel's sequences.
const REPORTED_AHEAD_MAX: u64 = 1_000_000;
/// Sequences of one controller's term: the term is the high half of a sequence, and is 0 until leases exist.
const TERM_SEQUENCES: u64 = 1 << 32;
/// Models of one deployment.
pub const MODELS_MAX: usize = cloud_sync_protocol::limits::MODELS_MAX;

/// What will be signed for one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentPlan {
    /// The channel.
    pub channel: ChannelId,
    /// The sequence.
    pub sequence: u64,
    /// What the channel will run.
    pub models: BTreeMap<ModelName, Digest>,
    /// Why.
    pub cause: Cause,
}

/// The sequences that a plan must exceed besides those in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SequenceBounds {
    /// A person's wish: at least this.
    pub at_least: u64,
    /// The highest that a device of the channel has reported.
    pub reported: u64,
}

/// Plans a deployment that adds or changes one model and keeps the channel's others.
pub fn rollout(
    state: &State,
    channel: &ChannelId,
    name: &ModelName,
    version: &VersionChoice,
    bounds: SequenceBounds,
) -> Result<DeploymentPlan, Refused> {
    let artifact = choose(state, name, version)?;
    let mut models = state.deployment(channel).map(|deployment| deployment.models.clone()).unwrap_or_default();
    models.insert(name.clone(), artifact.record.digest);
    if models.len() > MODELS_MAX {
        return Err(Refused::TooMany { what: "a model to the channel", found: models.len() - 1, max: MODELS_MAX });
    }
    let sequence = next_sequence(state, channel, bounds)?;
    Ok(DeploymentPlan { channel: channel.clone(), sequence, models, cause: Cause::Rollout { name: name.clone() } })
}

/// Plans a deployment that goes back to what the channel ran before, if that is still allowed; else to what it ran
/// before that. Without a name it is about whatever changed last.
pub fn rollback(
    state: &State,
    channel: &ChannelId,
    name: Option<&ModelName>,
    bounds: SequenceBounds,
) -> Result<DeploymentPlan, Refused> {
    let no_deployment = || Refused::NoDeployment { channel: channel.clone() };
    let now = state.deployment(channel).ok_or_else(no_deployment)?;
    let name = name.or_else(|| state.last_changed(channel)).ok_or_else(no_deployment)?;
    let named = state.artifacts(name).ok_or_else(|| Refused::UnknownName { name: name.clone() })?;
    let allowed: BTreeSet<Digest> = named.allowed().map(|artifact| artifact.record.digest).collect();
    let mut ran = ran_before(state, channel, name);
    let nothing = || Refused::NothingOlder { name: name.clone(), channel: channel.clone() };
    let from = ran.pop().ok_or_else(nothing)?;
    let to = ran.into_iter().rev().find(|digest| allowed.contains(digest) && *digest != from).ok_or_else(nothing)?;
    let mut models = now.models.clone();
    models.insert(name.clone(), to);
    let sequence = next_sequence(state, channel, bounds)?;
    let cause = Cause::Rollback { name: name.clone(), from };
    Ok(DeploymentPlan { channel: channel.clone(), sequence, models, cause })
}

/// What a channel ran of a name, oldest first and the present last, without what was rolled back from: a second
/// rollback goes further back instead of to and fro.
fn ran_before(state: &State, channel: &ChannelId, name: &ModelName) -> Vec<Digest> {
    let mut ran: Vec<Digest> = Vec::new();
    for deployment in state.history(channel) {
        let Some(digest) = deployment.models.get(name) else { continue };
        let known = ran.iter().rposition(|earlier| earlier == digest);
        match (&deployment.cause, known) {
            (Cause::Rollback { name: about, .. }, Some(place)) if about == name => ran.truncate(place + 1),
            _ if ran.last() == Some(digest) => {}
            _ => ran.push(*digest),
        }
    }
    ran
}

/// The artifact that a person means and that may run.
pub fn choose<'a>(state: &'a State, name: &ModelName, version: &VersionChoice) -> Result<&'a Artifact, Refused> {
    let named = state.artifacts(name).ok_or_else(|| Refused::UnknownName { name: name.clone() })?;
    let artifact = find(named, name, version)?;
    let reason = if named.denied.contains(&artifact.record.digest) {
        "it is denied"
    } else if artifact.record.number < named.floor {
        "it is under the floor"
    } else if artifact.retired {
        "it is retired"
    } else {
        return Ok(artifact);
    };
    Err(Refused::NotAllowed { name: name.clone(), version: artifact.record.version.clone(), reason })
}

/// The artifact that a person means, whether it may run or not; the newest is the newest that may.
pub fn find<'a>(named: &'a NamedArtifacts, name: &ModelName, version: &VersionChoice) -> Result<&'a Artifact, Refused> {
    let found = match version {
        VersionChoice::Newest => named.allowed().next_back(),
        VersionChoice::Number(number) => named.versions.get(number),
        VersionChoice::Digest(digest) => named.versions.values().find(|one| one.record.digest == *digest),
        VersionChoice::Text(text) => named.versions.values().find(|one| one.record.version == *text),
    };
    found.ok_or_else(|| Refused::UnknownVersion { name: name.clone(), version: version.to_string() })
}

fn next_sequence(state: &State, channel: &ChannelId, bounds: SequenceBounds) -> Result<u64, Refused> {
    let last = state.deployment(channel).map_or(0, |deployment| deployment.sequence);
    let believed = if bounds.reported <= last.saturating_add(REPORTED_AHEAD_MAX) { bounds.reported } else { 0 };
    let found = last.max(believed).saturating_add(1).max(bounds.at_least);
    let max = TERM_SEQUENCES - 1;
    if found > max { Err(Refused::SequenceTooHigh { found, max }) } else { Ok(found) }
}

/// Plans the same deployment once more, under the next sequence.
pub fn renew_deployment(state: &State, channel: &ChannelId, bounds: SequenceBounds) -> Result<DeploymentPlan, Refused> {
    let now = state.deployment(channel).ok_or_else(|| Refused::NoDeployment { channel: channel.clone() })?;
    let sequence = next_sequence(state, channel, bounds)?;
    Ok(DeploymentPlan { channel: channel.clone(), sequence, models: now.models.clone(), cause: Cause::Renewal })
}
