//! The fallback chain of one model: which sessions may answer, in which order.
//!
//! One worker owns one chain. Sessions of later rungs are loaded when they are first needed: memory is the scarcer
//! thing on a device, and what stands in the chain was proven on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use runtime_engine::{Engine, EngineError, LoadOptions, Session, catch_panic};

use crate::loading::load;
use crate::{
    ActiveModel, Engines, InferError, InferReply, InferRequest, ModelFiles, RUNG_FIRST, RUNG_LAST_GOOD,
    RUNG_NEXT_ENGINE, ServedModel,
};

/// How long a session that failed to load is left alone: loading is the expensive part of an attempt.
const RELOAD_AFTER: Duration = Duration::from_secs(30);

/// One way to answer.
pub(crate) struct Step {
    pub(crate) rung: u8,
    pub(crate) files: Arc<ModelFiles>,
    pub(crate) engine: Arc<dyn Engine>,
}

/// The steps of `model` in order; names of engines that this build lacks are passed over.
pub(crate) fn steps(model: &ActiveModel, engines: &Engines) -> Vec<Step> {
    let of = |served: &ServedModel, rung_of: fn(usize) -> u8| {
        let known = served.engines.iter().filter_map(|name| engines.get(name));
        let step = |(position, engine)| Step { rung: rung_of(position), files: Arc::clone(&served.files), engine };
        known.enumerate().map(step).collect::<Vec<_>>()
    };
    let mut steps = of(&model.primary, |position| if position == 0 { RUNG_FIRST } else { RUNG_NEXT_ENGINE });
    steps.extend(model.last_good.iter().flat_map(|last_good| of(last_good, |_| RUNG_LAST_GOOD)));
    steps
}

enum Slot {
    Empty,
    Loaded(Box<dyn Session>),
    Broken { error: EngineError, until: Instant },
}

/// The sessions of one worker.
pub(crate) struct Chain {
    steps: Arc<Vec<Step>>,
    slots: Vec<Slot>,
    options: LoadOptions,
}

impl Chain {
    pub(crate) fn new(steps: Arc<Vec<Step>>, options: LoadOptions) -> Self {
        let slots = steps.iter().map(|_| Slot::Empty).collect();
        Self { steps, slots, options }
    }

    /// Loads the first step that loads. Gives its position and why the steps before it did not.
    pub(crate) fn load_first(&mut self) -> Result<(usize, Vec<String>), Vec<String>> {
        let mut passed_over = Vec::new();
        for position in 0..self.steps.len() {
            match self.session(position) {
                Ok(_) => return Ok((position, passed_over)),
                Err(error) => passed_over.push(self.step_text(position, &error)),
            }
        }
        Err(passed_over)
    }

    pub(crate) fn session(&mut self, position: usize) -> Result<&mut Box<dyn Session>, EngineError> {
        let step = &self.steps[position];
        let slot = &mut self.slots[position];
        match slot {
            Slot::Broken { error, until } if Instant::now() < *until => return Err(error.clone()),
            Slot::Empty | Slot::Broken { .. } => match load(step.engine.as_ref(), &step.files, &self.options) {
                Ok(session) => *slot = Slot::Loaded(session),
                Err(error) => {
                    *slot = Slot::Broken { error: error.clone(), until: Instant::now() + RELOAD_AFTER };
                    return Err(error);
                }
            },
            Slot::Loaded(_) => {}
        }
        match slot {
            Slot::Loaded(session) => Ok(session),
            // The match above leaves no other state.
            _ => Err(EngineError::Internal { engine: step.engine.name().into(), reason: "no session".into() }),
        }
    }

    fn step_text(&self, position: usize, error: &EngineError) -> String {
        let step = &self.steps[position];
        let identity = &step.files.identity;
        format!(
            "rung {} ({} {} on {}): failed to {error}",
            step.rung,
            identity.artifact,
            identity.version,
            step.engine.name()
        )
    }

    /// Answers `request` from the first step that can.
    ///
    /// Only faults of an engine lead to the next step: a request that an engine refuses, or whose time is up, is
    /// not tried again.
    pub(crate) fn answer(&mut self, request: &InferRequest, deadline: Instant) -> Result<InferReply, InferError> {
        let mut reasons = Vec::new();
        for position in 0..self.steps.len() {
            let step = &self.steps[position];
            let (rung, engine, identity) = (step.rung, Arc::clone(&step.engine), step.files.identity.clone());
            if request.strict && rung != RUNG_FIRST {
                break;
            }
            if request.number.is_some_and(|number| number != identity.number) {
                continue;
            }
            let answer = self.session(position).and_then(|session| {
                catch_panic(engine.name(), || session.run(&request.inputs, &request.wanted, Some(deadline)))
            });
            let error = match answer {
                Ok(outputs) => return Ok(InferReply { outputs, identity, engine: engine.name().to_owned(), rung }),
                Err(error) => error,
            };
            match InferError::from_refusal(&error) {
                Some(refusal) if rung != RUNG_LAST_GOOD || refusal == InferError::Deadline => return Err(refusal),
                // The last good artifact may have another contract: that is no fault of the request.
                Some(_) => {}
                // Whatever the fault was, the session may be half changed.
                None if matches!(self.slots[position], Slot::Loaded(_)) => self.slots[position] = Slot::Empty,
                None => {}
            }
            tracing::warn!(model = %request.model, rung, engine = engine.name(), %error, "a rung failed");
            reasons.push(self.step_text(position, &error));
        }
        Err(InferError::Failed { model: request.model.clone(), reasons: reasons.join("; ") })
    }

    /// Bytes that the loaded sessions hold.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let bytes = |slot: &Slot| match slot {
            Slot::Loaded(session) => session.resident_bytes(),
            _ => 0,
        };
        self.slots.iter().map(bytes).sum()
    }
}
