//! What a person asks for on the device.

use super::state::{QUEUED_MAX, State, log};
use super::{Answer, Effect, Installed, Level, Order, Source, Ticket};

/// Starts a sideload, or rolls back.
pub(crate) fn asked(state: &mut State, ticket: Ticket, order: Order, now: u64, effects: &mut Vec<Effect>) {
    match order {
        Order::Sideload { path } => {
            if state.job.is_none() {
                state.start_job(Source::File(path), Some(ticket), now, effects);
            } else if state.queued.len() >= QUEUED_MAX {
                let why = "too many installs are waiting: try again when they are done".to_owned();
                effects.push(Effect::Answer { ticket, answer: Answer::Impossible { why } });
            } else {
                state.queued.push_back((ticket, path));
                // A download gives way to the person at the device, and is taken up again from its journal.
                if state.job.as_ref().is_some_and(|job| job.ticket.is_none()) {
                    state.again = true;
                    state.abort_job(effects);
                }
            }
        }
        Order::Rollback { model } => {
            let answer = match rollback(state, model.as_deref(), effects) {
                Ok(active) => Answer::Active(vec![active]),
                Err(why) => Answer::Impossible { why },
            };
            effects.push(Effect::Answer { ticket, answer });
            effects.push(Effect::Report);
        }
    }
}

/// Swaps the active and the last good version, and holds against every deployment seen so far.
fn rollback(state: &mut State, model: Option<&str>, effects: &mut Vec<Effect>) -> Result<(String, Installed), String> {
    let name = which(state, model)?;
    let floor = state.floors.get(&name).copied().unwrap_or(0);
    let sequence = state.sequence_seen.unwrap_or(0);
    // `which` returned a key of this map.
    let Some(memory) = state.memory.models.get_mut(&name) else { return Err(format!("no model {name}")) };
    let Some(good) = memory.last_good.clone() else {
        return Err(format!("no version of {name} was active before this one: install one, or deploy one"));
    };
    if good.number < floor {
        return Err(format!(
            "version {} of {name} is number {}, under the floor {floor} that release signed: install a newer one",
            good.version, good.number
        ));
    }
    memory.candidate = None;
    memory.activate(good.clone());
    memory.held_above = Some(sequence);
    let touched = state.job.as_ref().is_some_and(|job| job.ticket.is_none());
    if touched {
        // The running job may be about to replace what was just chosen; it starts over and sees the hold.
        state.again = true;
        state.abort_job(effects);
    }
    state.refusals.remove(&name);
    state.together.remove(&name);
    state.commit(effects);
    state.serve(&name, effects);
    effects.push(log(Level::Info, format!("{name}: rolled back to version {} by a person", good.version)));
    Ok((name, good))
}

/// The model meant, which may be left out where there is one.
fn which(state: &State, model: Option<&str>) -> Result<String, String> {
    let installed = || {
        let names: Vec<&str> = state.memory.models.keys().map(String::as_str).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    match model {
        Some(name) if state.memory.models.contains_key(name) => Ok(name.to_owned()),
        Some(name) => Err(format!("no model {name} on this device (installed: {})", installed())),
        None if state.memory.models.len() == 1 => {
            state.memory.models.keys().next().cloned().ok_or_else(|| "no model is installed".to_owned())
        }
        None if state.memory.models.is_empty() => Err("no model is installed".to_owned()),
        None => Err(format!("several models are installed: name one of {}", installed())),
    }
}
