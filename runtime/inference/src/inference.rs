//! All models of this process, by name.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use runtime_engine::LoadOptions;

use crate::runtime::{Job, Prepared, Runtime, prepare};
use crate::statistics::Counters;
use crate::{
    Absence, Activation, ActiveModel, Engines, InferError, InferReply, InferRequest, ModelMetadata, ModelState, Reply,
    Statistics,
};

/// How often a request follows a model that is replaced while it is being queued.
const SWAPS_MAX: usize = 8;

/// How models are run.
#[derive(Clone, Debug)]
pub struct InferenceOptions {
    /// Requests of one model that run at the same time, each with a session of its own; 0 means 1.
    pub threads: usize,
    /// Threads that one run may use; 0 means 1.
    pub run_threads: usize,
    /// Requests of one model that may wait; the next one is [`InferError::Busy`].
    pub queue_max: usize,
    /// The longest that a request may take, waiting included.
    pub time_max: Duration,
    /// The engines that may be named.
    pub engines: Engines,
}

impl Default for InferenceOptions {
    fn default() -> Self {
        Self {
            threads: 1,
            run_threads: 1,
            queue_max: 64,
            time_max: Duration::from_secs(30),
            engines: Engines::standard(),
        }
    }
}

/// The models of this process. Clones share them.
#[derive(Clone)]
pub struct Inference {
    shared: Arc<Shared>,
}

struct Shared {
    options: InferenceOptions,
    models: RwLock<BTreeMap<String, Entry>>,
}

struct Entry {
    state: State,
    counters: Arc<Counters>,
}

enum State {
    Ready(Arc<Runtime>),
    /// With what was known when it was last active.
    Absent(Absence, Option<Arc<ModelMetadata>>),
}

impl Inference {
    /// No models yet.
    pub fn new(options: InferenceOptions) -> Self {
        Self { shared: Arc::new(Shared { options, models: RwLock::default() }) }
    }

    /// Makes `model` answer under `name`, in place of what answered before.
    ///
    /// Loads first and swaps then: until the swap the old model answers, after it the old one finishes what it has
    /// queued. When no rung of `model` loads, [`InferError::Failed`] says why and the old model stays.
    pub fn activate(&self, name: &str, model: ActiveModel) -> Result<Activation, InferError> {
        let mut activations = self.activate_together(vec![(name.to_owned(), model)])?;
        activations.pop().ok_or(InferError::Closed)
    }

    /// [`activate`](Self::activate) for several names as one step: all swap, or none does.
    pub fn activate_together(&self, models: Vec<(String, ActiveModel)>) -> Result<Vec<Activation>, InferError> {
        let options = &self.shared.options;
        let load = LoadOptions { threads: options.run_threads, ..LoadOptions::default() };
        let prepared: Vec<Prepared> = models
            .iter()
            .map(|(name, model)| prepare(name, model, &options.engines, options.threads, &load))
            .collect::<Result<_, _>>()?;
        let activations: Vec<Activation> = prepared.iter().map(|prepared| prepared.activation.clone()).collect();
        let mut started: Vec<(String, Arc<Counters>, Arc<Runtime>)> = Vec::new();
        for prepared in prepared {
            let name = prepared.activation.name.clone();
            let counters = self.counters(&name);
            match Runtime::start(prepared, options.queue_max, Arc::clone(&counters)) {
                Ok(runtime) => started.push((name, counters, runtime)),
                Err(error) => {
                    started.iter().for_each(|(_, _, runtime)| runtime.close());
                    return Err(error);
                }
            }
        }
        let mut map = self.shared.models.write().unwrap_or_else(PoisonError::into_inner);
        for (name, counters, runtime) in started {
            let entry = Entry { state: State::Ready(runtime), counters };
            if let Some(Entry { state: State::Ready(old), .. }) = map.insert(name, entry) {
                old.close();
            }
        }
        Ok(activations)
    }

    /// The counters of a name live as long as the name, over all activations.
    fn counters(&self, name: &str) -> Arc<Counters> {
        self.read(|models| models.get(name).map(|entry| Arc::clone(&entry.counters))).unwrap_or_default()
    }

    fn read<T>(&self, look: impl FnOnce(&BTreeMap<String, Entry>) -> T) -> T {
        look(&self.shared.models.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes `name` known and not ready, or takes what answers under it away.
    ///
    /// With [`Absence::Denied`] nothing of the old model answers any more, queued and running requests included;
    /// with any other absence it finishes what it has queued.
    pub fn deactivate(&self, name: &str, absence: Absence) {
        let mut map = self.shared.models.write().unwrap_or_else(PoisonError::into_inner);
        let old = map.remove(name);
        let counters = old.as_ref().map(|entry| Arc::clone(&entry.counters)).unwrap_or_default();
        let metadata = match old.map(|entry| entry.state) {
            Some(State::Ready(runtime)) => {
                match absence {
                    Absence::Denied => runtime.revoke(),
                    Absence::NotReady(_) => runtime.close(),
                }
                Some(Arc::new(ModelMetadata { ready: false, resident_bytes: 0, ..runtime.metadata().clone() }))
            }
            Some(State::Absent(_, metadata)) => metadata,
            None => None,
        };
        map.insert(name.to_owned(), Entry { state: State::Absent(absence, metadata), counters });
    }

    /// Forgets `name` wholly; what it has queued is still answered.
    pub fn forget(&self, name: &str) {
        let old = self.shared.models.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(Entry { state: State::Ready(runtime), .. }) = old {
            runtime.close();
        }
    }

    /// Every known name, ready or not, sorted.
    pub fn names(&self) -> Vec<String> {
        self.read(|models| models.keys().cloned().collect())
    }

    /// What is known about `name`; `None` for an unknown one, one that was never active, or another `number`.
    pub fn metadata(&self, name: &str, number: Option<u64>) -> Option<ModelMetadata> {
        let found = self.read(|models| match &models.get(name)?.state {
            State::Ready(runtime) => Some(runtime.metadata().clone()),
            State::Absent(_, metadata) => metadata.as_deref().cloned(),
        })?;
        number.is_none_or(|number| number == found.identity.number).then_some(found)
    }

    /// Whether `name` answers, and if not, why.
    pub fn state(&self, name: &str) -> ModelState {
        self.read(|models| match models.get(name).map(|entry| &entry.state) {
            Some(State::Ready(_)) => ModelState::Ready,
            Some(State::Absent(absence, _)) => ModelState::Absent(absence.clone()),
            None => ModelState::Unknown,
        })
    }

    /// The counters of `name`; `None` for an unknown name.
    pub fn statistics(&self, name: &str) -> Option<Statistics> {
        self.read(|models| {
            let entry = models.get(name)?;
            let queued = match &entry.state {
                State::Ready(runtime) => runtime.queued() as u64,
                State::Absent(..) => 0,
            };
            Some(Statistics { queued, ..entry.counters.read() })
        })
    }

    /// Answers `request`; blocks until then, at most until its deadline.
    pub fn infer(&self, request: InferRequest) -> Result<InferReply, InferError> {
        let deadline = self.deadline(&request);
        let (sender, receiver) = mpsc::sync_channel(1);
        // The receiver is gone only after the deadline, when nobody wants the answer any more.
        self.submit(request, Reply::new(move |answer| drop(sender.send(answer))));
        let wait = deadline.saturating_duration_since(Instant::now());
        receiver.recv_timeout(wait).unwrap_or(Err(InferError::Deadline))
    }

    /// Queues `request`; `reply` is called exactly once, here for a request that is refused at once, otherwise on a
    /// worker's thread.
    pub fn submit(&self, request: InferRequest, reply: Reply) {
        let deadline = self.deadline(&request);
        let mut job = Job { request, deadline, reply };
        for _ in 0..SWAPS_MAX {
            let runtime = match self.ready(&job.request.model) {
                Ok(runtime) => runtime,
                Err(error) => return self.refuse(job, error),
            };
            if let Err(error) = runtime.check(&job.request) {
                return self.refuse(job, error);
            }
            match runtime.push(job) {
                Ok(()) => return,
                // Replaced between the look and the push: ask again.
                Err(back) => job = back,
            }
        }
        self.refuse(job, InferError::Closed);
    }

    fn refuse(&self, job: Job, error: InferError) {
        self.read(|models| {
            if let Some(entry) = models.get(&job.request.model) {
                entry.counters.refused(&error);
            }
        });
        job.reply.send(Err(error));
    }

    fn ready(&self, name: &str) -> Result<Arc<Runtime>, InferError> {
        self.read(|models| match models.get(name).map(|entry| &entry.state) {
            Some(State::Ready(runtime)) => Ok(Arc::clone(runtime)),
            Some(State::Absent(Absence::Denied, _)) => Err(InferError::Denied { model: name.to_owned() }),
            Some(State::Absent(Absence::NotReady(reason), _)) => {
                Err(InferError::NoModel { model: name.to_owned(), reason: reason.clone() })
            }
            None => {
                let names: Vec<&str> = models.keys().map(String::as_str).collect();
                let known = if names.is_empty() { "no model".to_owned() } else { names.join(", ") };
                Err(InferError::UnknownModel { model: name.to_owned(), known })
            }
        })
    }

    fn deadline(&self, request: &InferRequest) -> Instant {
        let latest = Instant::now() + self.shared.options.time_max;
        request.deadline.map_or(latest, |deadline| deadline.min(latest))
    }

    /// The options that this was made with.
    pub fn options(&self) -> &InferenceOptions {
        &self.shared.options
    }

    /// Takes no more requests and waits until what is queued was answered. Every name is unknown afterwards.
    pub fn shutdown(&self) {
        let models = std::mem::take(&mut *self.shared.models.write().unwrap_or_else(PoisonError::into_inner));
        let runtimes = models.into_values().filter_map(|entry| match entry.state {
            State::Ready(runtime) => Some(runtime),
            State::Absent(..) => None,
        });
        let runtimes: Vec<Arc<Runtime>> = runtimes.collect();
        runtimes.iter().for_each(|runtime| runtime.close());
        runtimes.iter().for_each(|runtime| runtime.join());
    }
}

impl Drop for Shared {
    /// Workers end by themselves once their queue is closed and empty.
    fn drop(&mut self) {
        for entry in self.models.get_mut().unwrap_or_else(PoisonError::into_inner).values() {
            if let State::Ready(runtime) = &entry.state {
                runtime.close();
            }
        }
    }
}

impl std::fmt::Debug for Inference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Inference").field(&self.names()).finish()
    }
}
