//! The agent's folder, opened by a command because no agent runs in it.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use runtime_console::{ExitCode, Failure};
use runtime_inference::{InferRequest, Inference};
use runtime_tensor::NamedTensor;
use runtime_trust::TrustState;

use crate::admin::InferReplyBody;
use crate::clock::Stopwatch;
use crate::device::Device;
use crate::executor::{Described, Executor, Surroundings};
use crate::job::{self, JobDesk, Line};
use crate::machine::{Answer, End, Event, JobId, Order, Serving, Source, State, Ticket, Verdict};
use crate::source::FileSource;
use crate::status::Status;

/// Waits for nobody: jobs run where they are asked for.
#[derive(Default)]
pub(crate) struct Alone {
    pub(crate) pending: Option<(JobId, Source, TrustState)>,
    verdict: Option<Verdict>,
    answers: BTreeMap<Ticket, Answer>,
}

impl Surroundings for Alone {
    fn start(&mut self, job: JobId, source: Source, trust: TrustState, _state: &State) {
        self.pending = Some((job, source, trust));
    }

    fn abort(&mut self, _job: JobId) {}

    fn go_on(&mut self, _job: JobId, verdict: Verdict) {
        self.verdict = Some(verdict);
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.answers.insert(ticket, answer);
    }

    fn report(&mut self, _state: &State) {}
}

/// The folder's agent, without network and sockets.
pub(crate) struct Local {
    pub(crate) executor: Executor<Alone>,
    pub(crate) stopwatch: Stopwatch,
    tickets: Ticket,
}

/// A job's line to the executor that waits for it.
pub(crate) struct OwnLine<'a> {
    pub(crate) executor: &'a mut Executor<Alone>,
    pub(crate) stopwatch: Stopwatch,
}

impl Line for OwnLine<'_> {
    fn tell(&mut self, event: Event) {
        self.executor.feed(event, self.stopwatch.ms());
    }

    fn ask(&mut self, event: Event) -> Verdict {
        self.executor.surroundings.verdict = None;
        self.tell(event);
        self.executor.surroundings.verdict.take().unwrap_or(Verdict::Stop)
    }

    fn is_aborted(&self) -> bool {
        false
    }
}

impl Local {
    /// Over a device whose folder this process has opened. Models are loaded when something needs them to answer.
    pub(crate) fn new(device: Arc<Device>, trust: &TrustState) -> Self {
        let state = device.machine(trust);
        let inference = Inference::new(device.settings.inference(device.engines.clone()));
        let executor = Executor::new(device, inference, state, Alone::default());
        Local { executor, stopwatch: Stopwatch::start(), tickets: 0 }
    }

    /// The folder's status; nothing is loaded or counted for it.
    pub(crate) fn status(&self) -> Status {
        Status::of(&self.executor.device, self.executor.state(), None, None)
    }

    /// Takes a sealed file through the order of checks.
    pub(crate) fn install(&mut self, path: &Path) -> Result<Answer, Failure> {
        self.ask(Order::Sideload { path: path.to_owned() })
    }

    /// Goes back to the last good version.
    pub(crate) fn rollback(&mut self, model: Option<String>) -> Result<Answer, Failure> {
        self.ask(Order::Rollback { model })
    }

    fn ask(&mut self, order: Order) -> Result<Answer, Failure> {
        self.tickets += 1;
        let ticket = self.tickets;
        self.executor.feed(Event::Asked { ticket, order }, self.stopwatch.ms());
        while let Some((job, source, trust)) = self.executor.surroundings.pending.take() {
            let end = self.run(job, &source, trust);
            self.executor.feed(Event::Ended { job, end }, self.stopwatch.ms());
        }
        let answer = self.executor.surroundings.answers.remove(&ticket);
        answer.ok_or_else(|| Failure::new(ExitCode::Bug, "the state machine gave no answer"))
    }

    fn run(&mut self, job: JobId, source: &Source, trust: TrustState) -> End {
        let Source::File(path) = source else {
            return End::Interrupted { why: "no network without a running agent".to_owned() };
        };
        let memory = self.executor.state().memory().clone();
        let device = Arc::clone(&self.executor.device);
        let shared = Arc::clone(&self.executor.shared);
        let mut line = OwnLine { executor: &mut self.executor, stopwatch: self.stopwatch };
        let mut desk = JobDesk { job, line: &mut line, shared };
        job::run(&device, (trust, memory), &mut FileSource::new(path), &mut desk)
    }

    /// Loads what is active, as a start of the agent would, but for a look only: no start is counted. An active version
    /// that does not come up gives way to the last good one; a model of which nothing does is left out.
    fn load(&mut self) -> Result<(), Failure> {
        let mut problems = Vec::new();
        for (model, memory) in self.executor.state().memory().models.clone() {
            let Some(active) = memory.active else { continue };
            let serving = Serving { model, active, last_good: memory.last_good };
            let Err(problem) = self.executor.load(&serving) else { continue };
            let good =
                serving.last_good.map(|active| Serving { model: serving.model.clone(), active, last_good: None });
            if good.is_none_or(|good| self.executor.load(&good).is_err()) {
                problems.push(format!("{}: {problem}", serving.model));
            }
        }
        if self.executor.inference.names().is_empty() && !problems.is_empty() {
            return Err(Failure::new(ExitCode::SelfTestFailed, problems.join("; ")));
        }
        Ok(())
    }

    /// A model that is installed, loaded if it was not.
    pub(crate) fn describe(&mut self, model: Option<&str>) -> Result<(String, Arc<Described>), Failure> {
        if self.executor.inference.names().is_empty() {
            self.load()?;
        }
        self.executor.shared.describe(model).map_err(Failure::usage)
    }

    /// One inference on a model that [`Local::describe`] returned.
    pub(crate) fn infer(
        &self,
        model: String,
        inputs: Vec<NamedTensor>,
        strict: bool,
    ) -> Result<InferReplyBody, Failure> {
        infer(&self.executor.inference, model, inputs, strict)
    }
}

/// One inference, for this module and the admin socket. Blocks.
pub(crate) fn infer(
    inference: &Inference,
    model: String,
    inputs: Vec<NamedTensor>,
    strict: bool,
) -> Result<InferReplyBody, Failure> {
    let request = InferRequest { model, number: None, inputs, wanted: Vec::new(), deadline: None, strict };
    let reply = inference.infer(request).map_err(|error| crate::outcome::infer_failure(&error))?;
    Ok(InferReplyBody {
        artifact: reply.identity.artifact,
        version: reply.identity.version,
        number: reply.identity.number,
        digest: reply.identity.digest,
        engine: reply.engine,
        rung: reply.rung,
        outputs: reply.outputs.iter().map(Into::into).collect(),
    })
}
