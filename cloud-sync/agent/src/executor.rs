//! Carries out what the state machine asks for, in order. Blocks; one thread owns it.
//!
//! The same executor runs in the daemon and in a command that found no daemon: what differs is where jobs run and
//! who hears answers ([`Surroundings`]).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use runtime_artifact::Contract;
use runtime_inference::{Absence, ActiveModel, InferError, Inference, Proof};
use runtime_trust::{Digest, TrustState};

use crate::device::{Device, memory};
use crate::machine::{Answer, Effect, Event, JobId, Level, Serving, Source, State, Ticket, Verdict, step};

/// Events that one event may lead to before the executor takes the next from outside.
const FOLLOWING_EVENTS_MAX: usize = 1_000;

/// Where jobs run and who hears.
pub(crate) trait Surroundings {
    /// Begins a job.
    fn start(&mut self, job: JobId, source: Source, trust: TrustState, state: &State);
    /// Tells a job to stop.
    fn abort(&mut self, job: JobId);
    /// Answers a waiting job.
    fn go_on(&mut self, job: JobId, verdict: Verdict);
    /// Answers a person.
    fn answer(&mut self, ticket: Ticket, answer: Answer);
    /// Sends the status.
    fn report(&mut self, state: &State);
}

/// A model that answers, as callers need to know it.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) contract: Contract,
}

/// What other threads may look at.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    described: RwLock<BTreeMap<String, Arc<Described>>>,
    proofs: RwLock<BTreeMap<Digest, Proof>>,
}

impl Shared {
    /// The model of this name, or the only one.
    pub(crate) fn describe(&self, name: Option<&str>) -> Result<(String, Arc<Described>), String> {
        let described = self.described.read().unwrap_or_else(PoisonError::into_inner);
        let found = match name {
            Some(name) => described.get_key_value(name),
            None if described.len() == 1 => described.iter().next(),
            None => None,
        };
        let names = || described.keys().cloned().collect::<Vec<_>>().join(", ");
        match found {
            Some((name, described)) => Ok((name.clone(), Arc::clone(described))),
            None if described.is_empty() => Err("no model is active on this device".to_owned()),
            None => Err(match name {
                Some(name) => format!("no model {name} is active on this device (active: {})", names()),
                None => format!("several models are active: name one of {} with --model", names()),
            }),
        }
    }

    /// The latest proof of a version in this process.
    pub(crate) fn proof(&self, digest: &Digest) -> Option<Proof> {
        self.proofs.read().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// Remembers a proof.
    pub(crate) fn proved(&self, digest: Digest, proof: Proof) {
        self.proofs.write().unwrap_or_else(PoisonError::into_inner).insert(digest, proof);
    }
}

/// The state machine with hands.
pub(crate) struct Executor<S> {
    pub(crate) device: Arc<Device>,
    pub(crate) inference: Inference,
    pub(crate) shared: Arc<Shared>,
    pub(crate) surroundings: S,
    state: State,
}

impl<S: Surroundings> Executor<S> {
    /// An executor at the start of a process; nothing is done yet.
    pub(crate) fn new(device: Arc<Device>, inference: Inference, state: State, surroundings: S) -> Self {
        Executor { device, inference, shared: Arc::default(), surroundings, state }
    }

    /// The state now.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// The trusted state now.
    pub(crate) fn trust(&self) -> Result<TrustState, runtime_trust::StateError> {
        TrustState::parse(&self.state.memory().trust)
    }

    /// Takes an event in, and all that follows from it here. `now`: milliseconds since the process started.
    pub(crate) fn feed(&mut self, event: Event, now: u64) {
        let mut events = VecDeque::from([event]);
        for _ in 0..FOLLOWING_EVENTS_MAX {
            let Some(event) = events.pop_front() else { return };
            tracing::trace!(?event);
            let before = self.state.clone();
            let (state, effects) = step(before.clone(), event, now);
            self.state = state;
            self.carry_out(effects, before, &mut events);
        }
        tracing::error!("the state machine feeds itself: {} events are dropped", events.len());
    }

    fn carry_out(&mut self, effects: Vec<Effect>, before: State, events: &mut VecDeque<Event>) {
        let mut effects = effects.into_iter();
        while let Some(effect) = effects.next() {
            let Effect::Commit(memory) = effect else {
                self.perform(effect, events);
                continue;
            };
            if let Err(error) = self.device.store.commit(memory::save(&memory)) {
                let why = format!("failed to {error}");
                // What is not on the disk did not happen: the step is taken back, and whoever waits hears why.
                self.state = before;
                effects.for_each(|effect| self.fail(effect, &why));
                events.push_back(Event::CommitFailed { why });
                return;
            }
        }
    }

    /// What is left of an effect whose step could not be written.
    fn fail(&mut self, effect: Effect, why: &str) {
        match effect {
            Effect::Continue { job, .. } => self.surroundings.go_on(job, Verdict::NotWritten(why.to_owned())),
            Effect::Answer { ticket, .. } => {
                self.surroundings.answer(ticket, Answer::Impossible { why: why.to_owned() });
            }
            _ => {}
        }
    }

    fn perform(&mut self, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            // `carry_out` writes commits itself.
            Effect::Commit(_) => {}
            Effect::Save(memory) => {
                if let Err(error) = self.device.store.commit(memory::save(&memory)) {
                    tracing::warn!("the device's state was not written, and is tried again: failed to {error}");
                }
            }
            Effect::Serve(servings) => self.serve(&servings, events),
            Effect::Withdraw { model, denied } => self.withdraw(&model, denied),
            Effect::Start { job, source } => match self.trust() {
                Ok(trust) => self.surroundings.start(job, source, trust, &self.state),
                Err(error) => {
                    let end = crate::machine::End::Interrupted { why: format!("failed to {error}") };
                    events.push_back(Event::Ended { job, end });
                }
            },
            Effect::Abort { job } => self.surroundings.abort(job),
            Effect::Continue { job, verdict } => self.surroundings.go_on(job, verdict),
            Effect::Answer { ticket, answer } => self.surroundings.answer(ticket, answer),
            Effect::Report => self.surroundings.report(&self.state),
            Effect::Sweep => {
                if let Err(error) = self.device.store.collect_garbage() {
                    tracing::warn!(%error, "old slots were not removed");
                }
            }
            Effect::Log { level: Level::Info, text } => tracing::info!("{text}"),
            Effect::Log { level: Level::Warn, text } => tracing::warn!("{text}"),
        }
    }

    /// Loads all of `servings`, then swaps them in together.
    fn serve(&mut self, servings: &[Serving], events: &mut VecDeque<Event>) {
        match self.load_together(servings) {
            Ok(()) => {
                let served =
                    |serving: &Serving| Event::Served { model: serving.model.clone(), digest: serving.active.digest };
                events.extend(servings.iter().map(served));
            }
            Err((position, reason, message)) => {
                if let Some(serving) = servings.get(position) {
                    events.push_back(Event::ServeFailed {
                        model: serving.model.clone(),
                        digest: serving.active.digest,
                        reason: reason.to_owned(),
                        message,
                    });
                }
            }
        }
    }

    /// Loads one model for a look, without a word to the state machine.
    pub(crate) fn load(&mut self, serving: &Serving) -> Result<(), String> {
        self.load_together(std::slice::from_ref(serving)).map_err(|(_, _, message)| message)
    }

    /// The error names the position of the model that does not come up, a code and a sentence.
    fn load_together(&mut self, servings: &[Serving]) -> Result<(), (usize, &'static str, String)> {
        let mut models: Vec<(String, ActiveModel)> = Vec::new();
        let mut described: Vec<(String, Arc<Described>)> = Vec::new();
        for (position, serving) in servings.iter().enumerate() {
            let model = self.device.active_model(serving).map_err(|message| (position, "damaged-slot", message))?;
            let files = &model.primary.files;
            let known = Described { contract: files.contract.clone() };
            described.push((serving.model.clone(), Arc::new(known)));
            models.push((serving.model.clone(), model));
        }
        let activations = self.inference.activate_together(models).map_err(|error| {
            let named = match &error {
                InferError::Failed { model, .. } => servings.iter().position(|serving| serving.model == *model),
                _ => None,
            };
            (named.unwrap_or(0), "load-failed", format!("failed to {error}"))
        })?;
        for activation in activations {
            tracing::info!(
                model = activation.name,
                engine = activation.engine,
                rung = activation.rung,
                passed_over = ?activation.passed_over,
                "the model answers"
            );
        }
        self.shared.described.write().unwrap_or_else(PoisonError::into_inner).extend(described);
        Ok(())
    }

    fn withdraw(&mut self, model: &str, denied: bool) {
        let absence = if denied {
            Absence::Denied
        } else {
            Absence::NotReady("the installed version does not come up on this device".to_owned())
        };
        self.inference.deactivate(model, absence);
        self.shared.described.write().unwrap_or_else(PoisonError::into_inner).remove(model);
    }
}
