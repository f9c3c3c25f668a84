//! What the network brings, and the one install job.

use std::collections::BTreeMap;
use std::sync::Arc;

use runtime_trust::Digest;

use super::stage::Signal;
use super::state::{LinkState, State, log};
use super::{Denied, Effect, Installed, JobId, Level, News, Proven, Refusal, Source, Verdict, boot, ended};

/// The broker accepted the connection: what was published meanwhile may be news.
pub(crate) fn link_up(state: &mut State, now: u64, effects: &mut Vec<Effect>) {
    if state.link != LinkState::Up {
        effects.push(log(Level::Info, "connected to the fleet's broker"));
    }
    state.link = LinkState::Up;
    effects.push(Effect::Report);
    news(state, now, effects);
}

/// The connection is gone: what serves goes on serving.
pub(crate) fn link_down(state: &mut State, why: String, effects: &mut Vec<Effect>) {
    let down = LinkState::Down { why };
    if state.link != down {
        if let LinkState::Down { why } = &down {
            effects
                .push(log(Level::Warn, format!("no connection to the fleet ({why}): serving goes on, trying again")));
        }
        state.link = down;
    }
}

/// A retained message arrived.
pub(crate) fn published(
    state: &mut State,
    kind: News,
    digest: Digest,
    sequence: Option<u64>,
    now: u64,
    effects: &mut Vec<Effect>,
) {
    if kind == News::Timestamp {
        // The fleet publishes it at each of its own connects, and has missed what was reported before.
        effects.push(Effect::Report);
    }
    if !state.is_news(kind, digest) {
        return;
    }
    // A newer deployment that already passes step 4 makes the one being fetched pointless. One that does not pass
    // waits its turn: whoever can publish must not be able to stop a good download.
    let running = state.job.as_ref().and_then(|job| job.sequence);
    if running.is_some_and(|running| sequence.is_some_and(|new| new > running)) {
        state.abort_job(effects);
    }
    news(state, now, effects);
}

/// Something may have changed: looks now, or right after the running job.
fn news(state: &mut State, now: u64, effects: &mut Vec<Effect>) {
    state.attempts = 0;
    state.retry = None;
    if state.job.is_some() {
        state.again = true;
    } else {
        state.start_job(Source::Network, None, now, effects);
    }
}

/// A promised retry, or the regular look, is due.
pub(crate) fn retry_due(state: &mut State, now: u64, effects: &mut Vec<Effect>) {
    if state.job.is_some() || state.link != LinkState::Up {
        return;
    }
    let retry = state.retry.is_some_and(|later| later.at <= now);
    if retry || state.refresh_at <= now {
        state.start_job(Source::Network, None, now, effects);
    }
}

/// Steps 1 to 3 passed: they are kept, and the deny-list takes effect at once.
pub(crate) fn trust_refreshed(
    state: &mut State,
    job: JobId,
    trust: Arc<[u8]>,
    denied: Denied,
    floors: BTreeMap<String, u64>,
    effects: &mut Vec<Effect>,
) {
    if state.live_job(job).is_none() {
        return;
    }
    state.denied = denied;
    state.floors = floors;
    let changed = boot::enforce_denied(state, effects) | (state.memory.trust != trust);
    state.memory.trust = trust;
    if changed {
        // What is denied stays denied, also on a full disk.
        state.save(effects);
        effects.push(Effect::Report);
    }
}

/// Step 4 passed: decides whether this device follows.
pub(crate) fn deployment_checked(
    state: &mut State,
    job: JobId,
    sequence: u64,
    models: &[(String, Digest)],
    effects: &mut Vec<Effect>,
) {
    let Some(running) = state.live_job(job) else {
        effects.push(Effect::Continue { job, verdict: Verdict::Stop });
        return;
    };
    running.sequence = Some(sequence);
    if state.sequence_seen.is_none_or(|seen| seen < sequence) {
        state.sequence_seen = Some(sequence);
        state.attempts = 0;
    }
    if let Some(verdict) = stop_reason(state, sequence, models, effects) {
        effects.push(Effect::Continue { job, verdict });
        return;
    }
    let names: Vec<String> = models.iter().map(|(name, _)| name.clone()).collect();
    for name in &names {
        state.signal(name, Signal::Named);
    }
    if let Some(running) = state.live_job(job) {
        running.models = names;
    }
    effects.push(Effect::Continue { job, verdict: Verdict::Install });
}

/// Why this device does not follow a deployment that is otherwise in order.
fn stop_reason(
    state: &mut State,
    sequence: u64,
    models: &[(String, Digest)],
    effects: &mut Vec<Effect>,
) -> Option<Verdict> {
    let held = |state: &State, name: &str| {
        state.memory.models.get(name).and_then(|model| model.held_above).is_some_and(|above| sequence <= above)
    };
    if let Some((name, _)) = models.iter().find(|(name, _)| held(state, name)) {
        effects.push(log(
            Level::Info,
            format!("deployment {sequence} is not followed: the version of {name} was chosen on this device"),
        ));
        for (name, _) in models {
            state.signal(name, Signal::Held);
        }
        return Some(Verdict::Stop);
    }
    let refused = models.iter().find_map(|(name, digest)| {
        let proof = state.memory.refused.get(digest).filter(|proof| proof.sequence >= sequence)?;
        Some((name.clone(), *digest, proof.clone()))
    });
    let (name, digest, proof) = refused?;
    let refusal = Refusal {
        step: proof.step,
        reason: proof.reason,
        message: proof.message,
        model: Some(name),
        digest: Some(digest),
        sequence: Some(sequence),
    };
    let names: Vec<String> = models.iter().map(|(name, _)| name.clone()).collect();
    ended::refuse(state, &names, &refusal);
    Some(Verdict::Stop)
}

/// A step began (5: passed).
pub(crate) fn entered(state: &mut State, job: JobId, step: u8, model: Option<&str>, effects: &mut Vec<Effect>) {
    let Some(running) = state.live_job(job) else { return };
    if let Some(name) = model
        && !running.models.iter().any(|known| known == name)
    {
        // A sideload's model is known only once its manifest is read.
        running.models.push(name.to_owned());
        state.signal(name, Signal::Named);
    }
    let names = match (model, state.live_job(job)) {
        (Some(name), _) => vec![name.to_owned()],
        (None, Some(running)) => running.models.clone(),
        (None, None) => Vec::new(),
    };
    let signal = match step {
        5 => Signal::ManifestPassed,
        6 => Signal::SpaceAsked,
        7 => Signal::ChunksAsked,
        8 => Signal::FilesAsked,
        9 => Signal::ProofAsked,
        _ => return,
    };
    let mut moved = false;
    for name in names {
        moved |= state.signal(&name, signal);
    }
    if moved {
        effects.push(Effect::Report);
    }
}

/// Step 6 passed for one model: its slot must survive a restart.
pub(crate) fn reserved(state: &mut State, job: JobId, model: &str, candidate: Installed, effects: &mut Vec<Effect>) {
    if state.live_job(job).is_none() {
        return;
    }
    let memory = state.memory.models.entry(model.to_owned()).or_default();
    if memory.candidate.as_ref() != Some(&candidate) {
        memory.candidate = Some(candidate);
        state.save(effects);
    }
}

/// Step 10: the versions, the trusted state and the holds change in one durable step, for all models together.
pub(crate) fn proven(state: &mut State, job: JobId, proven: Proven, effects: &mut Vec<Effect>) {
    let denied = proven.models.iter().any(|(name, version)| state.is_denied(name, &version.digest));
    if state.live_job(job).is_none() || denied {
        effects.push(Effect::Continue { job, verdict: Verdict::Stop });
        return;
    }
    state.memory.trust = proven.trust;
    let held_above = match proven.sequence {
        Some(_) => None,
        // The person's choice holds against every deployment seen so far.
        None => Some(state.sequence_seen.unwrap_or(0)),
    };
    let mut changed = Vec::new();
    for (name, version) in proven.models {
        let model = state.memory.models.entry(name.clone()).or_default();
        model.held_above = held_above;
        model.candidate = None;
        state.memory.refused.remove(&version.digest);
        if model.active.as_ref() != Some(&version) {
            model.activate(version);
            changed.push(name.clone());
        }
        state.refusals.remove(&name);
        state.signal(&name, Signal::Chosen);
    }
    state.refusal = None;
    state.together = changed.iter().cloned().collect();
    state.commit(effects);
    state.serve_together(&changed, effects);
    effects.push(Effect::Continue { job, verdict: Verdict::Committed });
    effects.push(Effect::Report);
}
