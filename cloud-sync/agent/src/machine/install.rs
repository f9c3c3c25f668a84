//! What the network brings, and the one install job.

use std::collections::BTreeMap;
use std::sync::Arc;

use runtime_trust::Digest;

use super::stage::Signal;
use super::state::{Later, LinkState, State, log};
use super::{
    Answer, Denied, Effect, End, Installed, JobId, Level, News, Proven, Refusal, RefusedProof, Source, Verdict, boot,
    retry,
};

/// Attempts at a deployment whose metadata or manifest is refused: it may be in the middle of being published.
const METADATA_ATTEMPTS_MAX: u32 = 3;
/// The last step that only looks at metadata and manifests.
const STEP_MANIFEST: u8 = 5;
/// The proof on the device.
const STEP_PROOF: u8 = 9;

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
        state.commit(effects);
        effects.push(Effect::Report);
    }
}

/// Step 4 passed: decides whether this device follows.
pub(crate) fn deployment_checked(
    state: &mut State,
    job: JobId,
    sequence: u64,
    models: &[(String, Digest)],
    now: u64,
    effects: &mut Vec<Effect>,
) {
    let _ = now;
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
    refuse(state, &names, &refusal);
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
        state.commit(effects);
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

/// The job is over: says so to whoever waits, and decides what comes next.
pub(crate) fn ended(state: &mut State, id: JobId, end: End, now: u64, effects: &mut Vec<Effect>) {
    let Some(job) = state.job.take_if(|job| job.id == id) else { return };
    let before = state.memory.clone();
    if !matches!(end, End::Interrupted { .. }) {
        for name in &job.models {
            if let Some(model) = state.memory.models.get_mut(name) {
                model.candidate = None;
            }
        }
    }
    match &end {
        End::Done | End::Nothing => {
            state.attempts = 0;
            for name in &job.models {
                // Models that were already active in the version named have nothing to load.
                if !state.signal(name, Signal::Served) {
                    state.rest(name);
                }
            }
        }
        End::Refused(refusal) => refused(state, &job.models, refusal, job.ticket.is_none(), now, effects),
        End::Interrupted { why } => interrupted(state, &job.models, why, job.ticket.is_none(), now, effects),
        End::Aborted => job.models.iter().for_each(|name| state.rest(name)),
    }
    if let Some(ticket) = job.ticket {
        let answer = answer(state, &job.models, end);
        effects.push(Effect::Answer { ticket, answer });
    }
    state.memory.tidy();
    if state.memory != before {
        state.commit(effects);
    }
    effects.push(Effect::Report);
    effects.push(Effect::Sweep);
    if let Some((ticket, path)) = state.queued.pop_front() {
        state.start_job(Source::File(path), Some(ticket), now, effects);
    } else if state.again && state.link == LinkState::Up {
        state.start_job(Source::Network, None, now, effects);
    }
}

/// A check refused the job.
fn refused(
    state: &mut State,
    models: &[String],
    refusal: &Refusal,
    from_network: bool,
    now: u64,
    effects: &mut Vec<Effect>,
) {
    effects
        .push(log(Level::Warn, format!("refused in step {} ({}): {}", refusal.step, refusal.reason, refusal.message)));
    refuse(state, models, refusal);
    if !from_network {
        return;
    }
    if refusal.step == STEP_PROOF {
        // The only refusal that says something about the version; a deployment with a higher sequence tries again.
        if let (Some(digest), Some(sequence)) = (refusal.digest, refusal.sequence) {
            let model = refusal.model.clone().or_else(|| models.first().cloned()).unwrap_or_default();
            let proof = RefusedProof {
                model,
                sequence,
                step: refusal.step,
                reason: refusal.reason.clone(),
                message: refusal.message.clone(),
            };
            state.memory.refuse(digest, proof);
        }
        return;
    }
    let limit = state.limits.attempts_max;
    retry_later(
        state,
        if refusal.step <= STEP_MANIFEST { limit.min(METADATA_ATTEMPTS_MAX) } else { limit },
        now,
        effects,
    );
}

/// Notes a refusal for its models; for every known model when it names none.
fn refuse(state: &mut State, models: &[String], refusal: &Refusal) {
    let mut names: Vec<String> = models.to_vec();
    if names.is_empty() {
        names.extend(refusal.model.clone());
    }
    if names.is_empty() {
        names.extend(state.memory.models.keys().cloned());
    }
    for name in names {
        state.signal(&name, Signal::Refused);
        state.refusals.insert(name, refusal.clone());
    }
    state.refusal = Some(refusal.clone());
}

/// Something that passes stopped the job.
fn interrupted(
    state: &mut State,
    models: &[String],
    why: &str,
    from_network: bool,
    now: u64,
    effects: &mut Vec<Effect>,
) {
    effects.push(log(Level::Info, format!("interrupted: {why}")));
    for name in models {
        if from_network {
            state.signal(name, Signal::Interrupted);
        } else {
            state.rest(name);
        }
    }
    if from_network {
        retry_later(state, state.limits.attempts_max, now, effects);
    }
}

/// Promises another attempt, up to `attempts_max`; after that the agent waits for news.
fn retry_later(state: &mut State, attempts_max: u32, now: u64, effects: &mut Vec<Effect>) {
    state.attempts = state.attempts.saturating_add(1);
    if state.attempts >= attempts_max {
        state.retry = None;
        effects.push(log(
            Level::Warn,
            format!("{} attempts failed: waiting for a new deployment or connection", state.attempts),
        ));
        return;
    }
    let at = now.saturating_add(retry::pause_ms(state.attempts, state.limits.salt));
    state.retry = Some(Later { attempt: state.attempts, at });
}

/// What the person who asked for a sideload hears.
fn answer(state: &State, models: &[String], end: End) -> Answer {
    match end {
        End::Done | End::Nothing => {
            let active = |name: &String| Some((name.clone(), state.memory.models.get(name)?.active.clone()?));
            Answer::Active(models.iter().filter_map(active).collect())
        }
        End::Refused(refusal) => Answer::Refused(refusal),
        End::Interrupted { why } => Answer::Impossible { why },
        End::Aborted => Answer::Impossible { why: "the agent is stopping: try again".to_owned() },
    }
}
