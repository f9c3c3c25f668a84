//! One served model: its queue, its workers, and how they stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use runtime_engine::{LoadOptions, check_inputs, check_wanted};

use crate::chain::{Chain, steps};
use crate::queue::{Queue, Refused};
use crate::statistics::Counters;
use crate::{Activation, ActiveModel, Engines, InferError, InferReply, InferRequest, ModelMetadata, Reply};

/// A request on its way to a worker.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) request: InferRequest,
    pub(crate) deadline: Instant,
    pub(crate) reply: Reply,
}

/// What workers and callers share about one served model.
pub(crate) struct Runtime {
    metadata: ModelMetadata,
    queue: Queue<Job>,
    counters: Arc<Counters>,
    /// Set when the artifact is denied: nothing of it may answer any more, not even what is queued.
    revoked: AtomicBool,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

/// A model that is loaded and not yet reachable.
pub(crate) struct Prepared {
    pub(crate) activation: Activation,
    metadata: ModelMetadata,
    chains: Vec<Chain>,
}

/// Loads one session a worker; the slow part of an activation, done while the old model still answers.
pub(crate) fn prepare(
    name: &str,
    model: &ActiveModel,
    engines: &Engines,
    threads: usize,
    options: &LoadOptions,
) -> Result<Prepared, InferError> {
    let steps = Arc::new(steps(model, engines));
    let failed = |reasons: Vec<String>| InferError::Failed {
        model: name.to_owned(),
        reasons: if reasons.is_empty() { "no engine of this build is allowed".to_owned() } else { reasons.join("; ") },
    };
    // A model with state has one stream of requests, and its state lives in one session.
    let threads = if model.primary.files.contract.states.is_empty() { threads.max(1) } else { 1 };
    let mut first = Chain::new(Arc::clone(&steps), options.clone());
    let (position, passed_over) = first.load_first().map_err(failed)?;
    let step = &steps[position];
    let session = first.session(position).map_err(|error| failed(vec![error.to_string()]))?;
    let mut metadata = ModelMetadata {
        identity: step.files.identity.clone(),
        inputs: session.inputs().to_vec(),
        outputs: session.outputs().to_vec(),
        engine: step.engine.name().to_owned(),
        isa: session.isa().to_owned(),
        numerics: session.numerics(),
        labels: step.files.contract.labels.clone(),
        ready: true,
        resident_bytes: 0,
    };
    let mut chains = vec![first];
    for _ in 1..threads {
        let mut chain = Chain::new(Arc::clone(&steps), options.clone());
        chain.load_first().map_err(failed)?;
        chains.push(chain);
    }
    metadata.resident_bytes = chains.iter().map(Chain::resident_bytes).sum();
    let engine = metadata.engine.clone();
    Ok(Prepared {
        activation: Activation { name: name.to_owned(), rung: step.rung, engine, passed_over },
        metadata,
        chains,
    })
}

impl Runtime {
    /// Starts the workers of a prepared model.
    pub(crate) fn start(
        prepared: Prepared,
        queue_max: usize,
        counters: Arc<Counters>,
    ) -> Result<Arc<Self>, InferError> {
        let name = prepared.activation.name;
        let runtime = Arc::new(Self {
            metadata: prepared.metadata,
            queue: Queue::new(queue_max),
            counters,
            revoked: AtomicBool::new(false),
            workers: Mutex::new(Vec::new()),
        });
        for (number, mut chain) in prepared.chains.into_iter().enumerate() {
            let shared = Arc::clone(&runtime);
            let spawned = std::thread::Builder::new()
                .name(format!("infer-{name}-{number}"))
                .spawn(move || shared.work(&mut chain));
            match spawned {
                Ok(worker) => runtime.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker),
                Err(error) => {
                    runtime.close();
                    return Err(InferError::Failed { model: name, reasons: format!("no thread: {error}") });
                }
            }
        }
        Ok(runtime)
    }

    fn work(&self, chain: &mut Chain) {
        while let Some(job) = self.queue.pop() {
            let started = Instant::now();
            let answer = self.answer(chain, &job, started);
            match &answer {
                Ok(reply) => self.counters.answered(reply.rung, started.elapsed()),
                Err(error) => self.counters.refused(error),
            }
            job.reply.send(answer);
        }
    }

    fn answer(&self, chain: &mut Chain, job: &Job, started: Instant) -> Result<InferReply, InferError> {
        let denied = || InferError::Denied { model: job.request.model.clone() };
        if self.is_revoked() {
            return Err(denied());
        }
        if started >= job.deadline {
            return Err(InferError::Deadline);
        }
        let reply = chain.answer(&job.request, job.deadline)?;
        if self.is_revoked() {
            return Err(denied());
        }
        if Instant::now() >= job.deadline {
            return Err(InferError::Deadline);
        }
        Ok(reply)
    }

    /// Checks what can be checked without running, so that a bad request never takes a place in the queue.
    pub(crate) fn check(&self, request: &InferRequest) -> Result<(), InferError> {
        let active = self.metadata.identity.number;
        if let Some(asked) = request.number.filter(|&asked| asked != active) {
            return Err(InferError::UnknownVersion { model: request.model.clone(), asked, active });
        }
        let refused = |error: runtime_engine::EngineError| {
            InferError::from_refusal(&error).unwrap_or_else(|| InferError::BadInput {
                tensor: String::new(),
                found: error.to_string(),
                expected: "tensors within limits".into(),
            })
        };
        check_inputs(&self.metadata.inputs, &request.inputs).map_err(refused)?;
        check_wanted(&self.metadata.outputs, &request.wanted).map_err(refused)?;
        Ok(())
    }

    /// Queues `job`; gives it back when this model was replaced in the meantime.
    pub(crate) fn push(&self, job: Job) -> Result<(), Job> {
        match self.queue.push(job) {
            Ok(()) => Ok(()),
            Err(Refused::Closed(job)) => Err(job),
            Err(Refused::Full(job)) => {
                let error = InferError::Busy { model: job.request.model.clone(), queued: self.queue.max() };
                self.counters.refused(&error);
                job.reply.send(Err(error));
                Ok(())
            }
        }
    }

    /// Takes no more requests; workers answer those that wait and end.
    pub(crate) fn close(&self) {
        self.queue.close();
    }

    /// Takes no more requests, and answers those that wait with [`InferError::Denied`].
    pub(crate) fn revoke(&self) {
        self.revoked.store(true, Ordering::SeqCst);
        self.queue.close();
    }

    fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::SeqCst)
    }

    /// Waits until every worker has ended; call [`close`](Self::close) before.
    pub(crate) fn join(&self) {
        let workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        let own = std::thread::current().id();
        for worker in workers {
            // A callback may hold the last handle and end the process from a worker: it cannot wait for itself.
            if worker.thread().id() != own && worker.join().is_err() {
                tracing::error!("an inference worker panicked");
            }
        }
    }

    pub(crate) fn metadata(&self) -> &ModelMetadata {
        &self.metadata
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }
}
