//! The one thread that owns the state machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use cloud_sync_link::Link;
use runtime_inference::Inference;
use runtime_trust::{Digest, TrustState};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use super::report;
use crate::clock::Stopwatch;
use crate::device::Device;
use crate::executor::{Executor, Shared, Surroundings};
use crate::job::{self, JobDesk, Line};
use crate::machine::{Answer, End, Event, JobId, News, Order, Source, State, Ticket, Verdict};
use crate::order::Source as ByteSource;
use crate::source::{FileSource, NetworkSource, Publications};
use crate::status::Status;

/// The longest sleep, so that a clock that jumps or a missed wake costs little.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// What the director hears.
pub(crate) enum Message {
    /// For the state machine.
    Event(Event),
    /// A retained message; the director looks at it before the machine does.
    Published { news: News, bytes: Bytes },
    /// The link to report on.
    Connected { link: Link, boot: u64 },
    /// A person's order.
    Order { order: Order, reply: oneshot::Sender<Answer> },
    /// A person's question.
    Status { http: Option<String>, reply: oneshot::Sender<Status> },
    /// The process ends.
    Stop,
}

/// Jobs on threads, answers through channels.
struct Threads {
    device: Arc<Device>,
    shared: Option<Arc<Shared>>,
    inbox: mpsc::Sender<Message>,
    runtime: Handle,
    link: Option<(Link, u64)>,
    publications: Publications,
    people: BTreeMap<Ticket, oneshot::Sender<Answer>>,
    job: Option<Running>,
    time_seen: Arc<AtomicU64>,
}

/// A job that runs.
struct Running {
    id: JobId,
    abort: watch::Sender<bool>,
    verdicts: std::sync::mpsc::Sender<Verdict>,
    thread: Option<JoinHandle<()>>,
}

/// A job's line to the director.
struct InboxLine {
    inbox: mpsc::Sender<Message>,
    verdicts: std::sync::mpsc::Receiver<Verdict>,
    abort: watch::Receiver<bool>,
}

impl Line for InboxLine {
    fn tell(&mut self, event: Event) {
        // A director that is gone has told the job to stop.
        let _ = self.inbox.blocking_send(Message::Event(event));
    }

    fn ask(&mut self, event: Event) -> Verdict {
        self.tell(event);
        self.verdicts.recv().unwrap_or(Verdict::Stop)
    }

    fn is_aborted(&self) -> bool {
        *self.abort.borrow() || self.inbox.is_closed()
    }
}

impl Threads {
    fn source(&self, source: &Source, abort: watch::Receiver<bool>, job: JobId) -> Option<Box<dyn ByteSource + Send>> {
        match source {
            Source::File(path) => Some(Box::new(FileSource::new(path))),
            Source::Network => {
                let (link, boot) = self.link.clone()?;
                Some(Box::new(NetworkSource {
                    runtime: self.runtime.clone(),
                    link,
                    identity: self.device.identity.clone()?,
                    publications: self.publications.clone(),
                    abort,
                    patience: self.device.settings.answer_max,
                    seed: self.device.salt() ^ (boot << 20) ^ (job << 8),
                    seen: BTreeMap::new(),
                }))
            }
        }
    }
}

impl Surroundings for Threads {
    fn start(&mut self, job: JobId, source: Source, trust: TrustState, state: &State) {
        self.time_seen.store(trust.time_seen(), Ordering::Relaxed);
        let (abort, aborted) = watch::channel(false);
        let (verdicts, answers) = std::sync::mpsc::channel();
        let inbox = self.inbox.clone();
        let ended = move |end| drop(inbox.blocking_send(Message::Event(Event::Ended { job, end })));
        let (Some(mut source), Some(shared)) = (self.source(&source, aborted.clone(), job), self.shared.clone()) else {
            // Not from this thread: it would wait for itself when the inbox is full.
            std::thread::spawn(move || {
                ended(End::Interrupted { why: "there is no connection to the fleet".to_owned() })
            });
            return;
        };
        let mut line = InboxLine { inbox: self.inbox.clone(), verdicts: answers, abort: aborted };
        let device = Arc::clone(&self.device);
        let memory = state.memory().clone();
        let started = std::thread::Builder::new().name("install".to_owned()).spawn(move || {
            let mut desk = JobDesk { job, line: &mut line, shared };
            let end = job::run(&device, (trust, memory), source.as_mut(), &mut desk);
            ended(end);
        });
        match started {
            Ok(thread) => self.job = Some(Running { id: job, abort, verdicts, thread: Some(thread) }),
            Err(error) => {
                tracing::warn!(%error, "no thread for an install");
                let inbox = self.inbox.clone();
                let event =
                    Event::Ended { job, end: End::Interrupted { why: "no thread could be started".to_owned() } };
                self.runtime.spawn(async move { drop(inbox.send(Message::Event(event)).await) });
            }
        }
    }

    fn abort(&mut self, job: JobId) {
        if let Some(running) = self.job.as_ref().filter(|running| running.id == job) {
            running.abort.send_replace(true);
        }
    }

    fn go_on(&mut self, job: JobId, verdict: Verdict) {
        if let Some(running) = self.job.as_ref().filter(|running| running.id == job) {
            // A job that died does not wait.
            let _ = running.verdicts.send(verdict);
        }
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        if let Some(person) = self.people.remove(&ticket) {
            // The person may have gone.
            let _ = person.send(answer);
        }
    }

    fn report(&mut self, state: &State) {
        let up = *state.link() == crate::machine::LinkState::Up;
        if let (true, Some((link, boot)), Some(shared)) = (up, &self.link, &self.shared) {
            report::send(link, &self.device, state, shared, *boot, true);
        }
    }
}

/// The state machine on its thread.
pub(crate) struct Director {
    executor: Executor<Threads>,
    stopwatch: Stopwatch,
    runtime: Handle,
    tickets: Ticket,
}

impl Director {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new(
        device: Arc<Device>,
        inference: Inference,
        trust: &TrustState,
        inbox: mpsc::Sender<Message>,
    ) -> Self {
        let runtime = Handle::current();
        let threads = Threads {
            device: Arc::clone(&device),
            shared: None,
            inbox,
            runtime: runtime.clone(),
            link: None,
            publications: Publications::default(),
            people: BTreeMap::new(),
            job: None,
            time_seen: Arc::new(AtomicU64::new(trust.time_seen())),
        };
        let state = device.machine(trust);
        let mut executor = Executor::new(device, inference, state, threads);
        executor.surroundings.shared = Some(Arc::clone(&executor.shared));
        Director { executor, stopwatch: Stopwatch::start(), runtime, tickets: 0 }
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.executor.shared)
    }

    pub(crate) fn publications(&self) -> Publications {
        self.executor.surroundings.publications.clone()
    }

    pub(crate) fn time_seen(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.executor.surroundings.time_seen)
    }

    /// Starts the thread; `started` is told when what is installed answers.
    pub(crate) fn spawn(
        mut self,
        mut messages: mpsc::Receiver<Message>,
        started: oneshot::Sender<()>,
    ) -> JoinHandle<()> {
        std::thread::Builder::new()
            .name("director".to_owned())
            .spawn(move || {
                self.feed(Event::Started);
                // Whoever waited may have gone.
                let _ = started.send(());
                while let Some(message) = self.next(&mut messages) {
                    if matches!(message, Message::Stop) {
                        break;
                    }
                    self.take(message);
                }
                drop(messages);
                self.stop();
            })
            .expect("the process has just started its runtime's threads; one more is a bug to lack")
    }

    fn feed(&mut self, event: Event) {
        self.executor.feed(event, self.stopwatch.ms());
    }

    /// The next message, or a tick when it is time for one.
    fn next(&mut self, messages: &mut mpsc::Receiver<Message>) -> Option<Message> {
        let wake = self.executor.state().next_wake().saturating_sub(self.stopwatch.ms());
        let sleep = Duration::from_millis(wake).min(SLEEP_MAX);
        let received = self.runtime.block_on(async { tokio::time::timeout(sleep, messages.recv()).await });
        received.unwrap_or(Some(Message::Event(Event::Tick)))
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Event(event) => {
                if let Event::Ended { job, .. } = &event {
                    self.join(*job);
                }
                self.feed(event);
            }
            Message::Published { news, bytes } => {
                let sequence = if news == News::Deployment { self.verified_sequence(&bytes) } else { None };
                self.feed(Event::Published { news, digest: Digest::of(&bytes), sequence });
            }
            Message::Connected { link, boot } => self.executor.surroundings.link = Some((link, boot)),
            Message::Order { order, reply } => {
                self.tickets += 1;
                self.executor.surroundings.people.insert(self.tickets, reply);
                self.feed(Event::Asked { ticket: self.tickets, order });
            }
            Message::Status { http, reply } => {
                let executor = &self.executor;
                let running = Some((std::process::id(), http));
                let status = Status::of(&executor.device, executor.state(), Some(&executor.inference), running);
                let _ = reply.send(status);
            }
            Message::Stop => {}
        }
    }

    /// The sequence of a deployment that passes step 4 under what is trusted already.
    fn verified_sequence(&self, bytes: &[u8]) -> Option<u64> {
        let identity = self.executor.device.identity.as_ref()?;
        let trust = self.executor.trust().ok()?;
        let now = trust.clock(self.executor.device.unix());
        let checked = trust.check_deployment(bytes, identity.fleet.as_str(), identity.channel.as_str(), now);
        checked.ok().map(|deployment| deployment.sequence)
    }

    /// A job has said its last word: its thread is at its end.
    fn join(&mut self, job: JobId) {
        let running = self.executor.surroundings.job.take_if(|running| running.id == job);
        if let Some(thread) = running.and_then(|mut running| running.thread.take()) {
            // `job::run` catches panics.
            let _ = thread.join();
        }
    }

    fn stop(mut self) {
        if let Some(mut running) = self.executor.surroundings.job.take() {
            running.abort.send_replace(true);
            drop(running.verdicts);
            if let Some(thread) = running.thread.take() {
                let _ = thread.join();
            }
        }
        let threads = &self.executor.surroundings;
        if let (Some((link, boot)), Some(shared)) = (&threads.link, &threads.shared)
            && link.is_up()
        {
            report::send(link, &self.executor.device, self.executor.state(), shared, *boot, false);
        }
    }
}
