//! The end of a job: who hears of it, what is remembered, what comes next.

use super::stage::Signal;
use super::state::{Later, LinkState, State, log};
use super::{Answer, Effect, End, JobId, Level, Refusal, RefusedProof, Source, retry};

/// Attempts at a deployment whose metadata or manifest is refused: it may be in the middle of being published.
const METADATA_ATTEMPTS_MAX: u32 = 3;
/// The last step that only looks at metadata and manifests.
const STEP_MANIFEST: u8 = 5;
/// The proof on the device.
const STEP_PROOF: u8 = 9;

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
        state.save(effects);
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
pub(crate) fn refuse(state: &mut State, models: &[String], refusal: &Refusal) {
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
