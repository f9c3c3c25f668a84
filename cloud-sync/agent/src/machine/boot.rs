//! Starts, survival, boot loops, and the deny-list: which version answers when nothing new is being installed.

use runtime_trust::Digest;

use super::stage::Signal;
use super::state::{Later, State, log};
use super::{Effect, Level, Refusal, retry};

/// Step of DESIGN 7's order that a version which does not come up is refused in.
const STEP_PROOF: u8 = 9;

/// The process started: counts the start, falls back where the count is full, and serves before anything else.
///
/// The count is written before a model is loaded, because loading it may be what kills the process.
pub(crate) fn started(state: &mut State, now: u64, effects: &mut Vec<Effect>) {
    if state.started {
        return;
    }
    let before = state.memory.clone();
    enforce_denied(state, effects);
    let unsettled = state.memory.models.values().any(|model| model.active.is_some() && !model.settled);
    let limit = state.limits.boots_unproven_max;
    let mut fallen = Vec::new();
    for (name, model) in &mut state.memory.models {
        // A half-fetched candidate of the last process is taken up again by its deployment, or swept.
        let Some(active) = model.active.clone() else { continue };
        model.boots_unproven = model.boots_unproven.saturating_add(1);
        // A process that dies takes every model's count along: the new ones are suspected before the settled ones.
        let suspect = !model.settled || !unsettled;
        if model.boots_unproven >= limit && suspect && model.fall_back() {
            model.boots_unproven = 1;
            fallen.push((name.clone(), active.digest, active.version));
        }
    }
    for (name, digest, version) in fallen {
        let message = format!(
            "version {version} was started {limit} times and never survived its first seconds: the last good version \
             answers instead; deploy a repaired version"
        );
        effects.push(log(Level::Warn, format!("{name}: {message}")));
        remember(state, &name, digest, "boot-loop", message);
    }
    if state.memory != before {
        // A full disk must not keep a device from serving.
        state.save(effects);
    }
    state.started = true;
    state.report_at = now.saturating_add(state.limits.report_ms);
    let names: Vec<String> = state.memory.models.keys().cloned().collect();
    for name in &names {
        state.serve(name, effects);
    }
    if state.job.is_none() {
        effects.push(Effect::Sweep);
    }
}

/// A commit could not be written, and its step was taken back: what was serving goes on serving.
pub(crate) fn commit_failed(why: &str, effects: &mut Vec<Effect>) {
    effects.push(log(Level::Warn, format!("the device's state was not written: {why}")));
}

/// A chosen version answers: from now on it has to survive.
pub(crate) fn served(state: &mut State, model: &str, digest: &Digest, now: u64, effects: &mut Vec<Effect>) {
    let active = state.memory.models.get(model).and_then(|memory| memory.active.as_ref());
    if active.is_none_or(|active| active.digest != *digest) {
        return;
    }
    state.signal(model, Signal::Served);
    state.serve_again.remove(model);
    state.settling.insert(model.to_owned(), (*digest, now.saturating_add(state.limits.settle_ms)));
    effects.push(Effect::Report);
}

/// Versions that served long enough are proven by survival.
pub(crate) fn settle(state: &mut State, now: u64, effects: &mut Vec<Effect>) {
    let due: Vec<String> =
        state.settling.iter().filter(|(_, (_, at))| *at <= now).map(|(name, _)| name.clone()).collect();
    let mut changed = false;
    for name in due {
        let Some((digest, _)) = state.settling.remove(&name) else { continue };
        let Some(model) = state.memory.models.get_mut(&name) else { continue };
        if model.active.as_ref().is_none_or(|active| active.digest != digest) {
            continue;
        }
        changed |= !model.settled || model.boots_unproven != 0;
        model.settled = true;
        model.boots_unproven = 0;
        state.together.remove(&name);
    }
    if changed {
        state.save(effects);
    }
}

/// A chosen version could not be loaded: its group falls back together, or it is tried again later.
pub(crate) fn serve_failed(
    state: &mut State,
    model: &str,
    digest: &Digest,
    (reason, message): (String, String),
    now: u64,
    effects: &mut Vec<Effect>,
) {
    let active = state.memory.models.get(model).and_then(|memory| memory.active.as_ref());
    if active.is_none_or(|active| active.digest != *digest) {
        return;
    }
    effects.push(log(Level::Warn, format!("{model}: the chosen version does not come up: {message}")));
    remember(state, model, *digest, &reason, message);
    let mut group: Vec<String> = state.together.iter().cloned().collect();
    if !group.iter().any(|name| name == model) {
        group = vec![model.to_owned()];
    }
    state.together.clear();
    let fallen: Vec<String> = group
        .into_iter()
        .filter(|name| state.memory.models.get_mut(name).is_some_and(super::ModelMemory::fall_back))
        .collect();
    if !fallen.is_empty() {
        state.save(effects);
        state.serve_together(&fallen, effects);
    }
    if !fallen.iter().any(|name| name == model) {
        // The last version is never dropped for not coming up once: memory or a device may be short just now.
        effects.push(Effect::Withdraw { model: model.to_owned(), denied: false });
        state.signal(model, Signal::BackToIdle);
        let attempt = state.serve_again.get(model).map_or(1, |later| later.attempt.saturating_add(1));
        if attempt <= state.limits.attempts_max {
            let at = now.saturating_add(retry::pause_ms(attempt, state.limits.salt));
            state.serve_again.insert(model.to_owned(), Later { attempt, at });
        }
    }
    effects.push(Effect::Report);
}

/// Tries to load a model's only version again.
pub(crate) fn serve_again(state: &mut State, now: u64, effects: &mut Vec<Effect>) {
    let due: Vec<String> =
        state.serve_again.iter().filter(|(_, later)| later.at <= now).map(|(name, _)| name.clone()).collect();
    for name in due {
        // Until the answer comes the promise stays, with its count, but not due.
        if let Some(later) = state.serve_again.get_mut(&name) {
            later.at = u64::MAX;
        }
        state.serve(&name, effects);
    }
}

/// Takes denied versions off every rung. Returns whether the memory changed.
///
/// A denied version stops answering before the memory is written: a full disk must not keep it alive.
pub(crate) fn enforce_denied(state: &mut State, effects: &mut Vec<Effect>) -> bool {
    let names: Vec<String> = state.memory.models.keys().cloned().collect();
    let mut changed = false;
    for name in names {
        let (Some(model), Some(denied)) = (state.memory.models.get_mut(&name), state.denied.get(&name)) else {
            continue;
        };
        let is_denied = |version: &Option<super::Installed>| {
            version.as_ref().is_some_and(|version| denied.contains(&version.digest))
        };
        if is_denied(&model.candidate) {
            model.candidate = None;
            changed = true;
        }
        let lost_good = is_denied(&model.last_good);
        if lost_good {
            model.last_good = None;
            changed = true;
        }
        let Some(active) = model.active.clone().filter(|_| is_denied(&model.active)) else {
            if lost_good && state.started {
                // The version behind the active one is gone from the serving path, too.
                state.serve(&name, effects);
            }
            continue;
        };
        changed = true;
        let message = format!("version {} is on release's deny-list: deploy another version", active.version);
        effects.push(log(Level::Warn, format!("{name}: {message}")));
        if model.fall_back() {
            if state.started {
                state.serve(&name, effects);
            }
        } else {
            model.active = None;
            state.settling.remove(&name);
            state.signal(&name, Signal::Denied);
            effects.push(Effect::Withdraw { model: name.clone(), denied: true });
        }
        let refusal = Refusal {
            step: 5,
            reason: "denied".to_owned(),
            message,
            model: Some(name.clone()),
            digest: Some(active.digest),
            sequence: state.sequence_seen,
        };
        state.refusals.insert(name, refusal);
    }
    changed
}

/// Remembers for reports why a version does not answer.
fn remember(state: &mut State, name: &str, digest: Digest, reason: &str, message: String) {
    let refusal = Refusal {
        step: STEP_PROOF,
        reason: reason.to_owned(),
        message,
        model: Some(name.to_owned()),
        digest: Some(digest),
        sequence: state.sequence_seen,
    };
    state.refusals.insert(name.to_owned(), refusal);
}
