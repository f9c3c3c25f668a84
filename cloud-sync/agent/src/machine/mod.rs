//! What the agent decides, as a pure function: `step(state, event, now) -> (state, effects)`.
//!
//! Nothing here does I/O, reads a clock or draws a random number: time is an argument (milliseconds since
//! the process started, so a wrong wall clock changes nothing), everything else arrives as an [`Event`], and
//! everything to be done leaves as an [`Effect`]. Effects are carried out in order; a [`Effect::Commit`] that
//! cannot be written takes the whole step back (see [`Event::CommitFailed`]), so nothing new becomes active that a
//! restart would not know. An [`Effect::Save`] is for what is so whether it is written or not.
//!
//! What is held, whatever happens (`property.rs` searches for counterexamples, crashes included):
//! - at most one version of a model is active;
//! - a version that was proven on this device stays referenced until another proven one takes its place, or
//!   release's signed deny-list names it;
//! - the models of one deployment become active together or not at all.

mod boot;
mod ended;
mod event;
mod install;
mod memory;
mod person;
#[cfg(test)]
mod property;
mod report;
mod retry;
mod stage;
mod state;
#[cfg(test)]
mod tests;

pub use event::{
    Answer, Effect, End, Event, JobId, Level, News, Order, Proven, Refusal, Serving, Source, Ticket, Verdict,
};
pub use memory::{Denied, Installed, Memory, ModelMemory, RefusedProof};
pub use report::{ModelReport, Report};
pub use stage::{Signal, Stage, TRANSITIONS};
pub use state::{Limits, LinkState, State};

/// Takes one event in at `now` (milliseconds since the process started) and says what follows from it.
///
/// Total: every event is legal in every state; one that does not apply (a late word of an aborted job) changes
/// nothing.
pub fn step(state: State, event: Event, now: u64) -> (State, Vec<Effect>) {
    let mut state = state;
    let mut effects = Vec::new();
    match event {
        Event::Started => boot::started(&mut state, now, &mut effects),
        Event::Served { model, digest } => boot::served(&mut state, &model, &digest, now, &mut effects),
        Event::ServeFailed { model, digest, reason, message } => {
            boot::serve_failed(&mut state, &model, &digest, (reason, message), now, &mut effects);
        }
        Event::CommitFailed { why } => boot::commit_failed(&why, &mut effects),
        Event::Tick => tick(&mut state, now, &mut effects),
        Event::LinkUp => install::link_up(&mut state, now, &mut effects),
        Event::LinkDown { why } => install::link_down(&mut state, why, &mut effects),
        Event::Published { news, digest, sequence } => {
            install::published(&mut state, news, digest, sequence, now, &mut effects);
        }
        Event::TrustRefreshed { job, trust, denied, floors } => {
            install::trust_refreshed(&mut state, job, trust, denied, floors, &mut effects);
        }
        Event::DeploymentChecked { job, sequence, models } => {
            install::deployment_checked(&mut state, job, sequence, &models, &mut effects);
        }
        Event::Entered { job, step, model } => install::entered(&mut state, job, step, model.as_deref(), &mut effects),
        Event::Reserved { job, model, candidate } => {
            install::reserved(&mut state, job, &model, candidate, &mut effects)
        }
        Event::Proven { job, proven } => install::proven(&mut state, job, proven, &mut effects),
        Event::Ended { job, end } => ended::ended(&mut state, job, end, now, &mut effects),
        Event::Asked { ticket, order } => person::asked(&mut state, ticket, order, now, &mut effects),
    }
    (state, effects)
}

/// What time alone brings: proof by survival, a retry, the next look at trust, the next report.
fn tick(state: &mut State, now: u64, effects: &mut Vec<Effect>) {
    boot::settle(state, now, effects);
    boot::serve_again(state, now, effects);
    install::retry_due(state, now, effects);
    report::due(state, now, effects);
}
