//! What the machine knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use runtime_trust::Digest;

use super::stage::{self, Signal, Stage};
use super::{Denied, Effect, JobId, Level, Memory, News, Refusal, Serving, Source, Ticket};

/// Sideloads that may wait behind a running job.
pub(crate) const QUEUED_MAX: usize = 4;

/// Numbers that the configuration sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Attempts at one deployment before the agent waits for news.
    pub attempts_max: u32,
    /// Milliseconds of serving after which a version counts as proven by survival.
    pub settle_ms: u64,
    /// The start, counted since the last survival, that goes to the last good version.
    pub boots_unproven_max: u32,
    /// Milliseconds between looks at trust without any news.
    pub refresh_ms: u64,
    /// Milliseconds between reports without any news.
    pub report_ms: u64,
    /// Differs between devices; spreads their retries.
    pub salt: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            attempts_max: 8,
            settle_ms: 10_000,
            boots_unproven_max: 3,
            refresh_ms: 3_600_000,
            report_ms: 60_000,
            salt: 0,
        }
    }
}

/// The connection to the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// Connected.
    Up,
    /// Not connected, and why.
    Down {
        /// For people.
        why: String,
    },
}

/// The one install job that may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    /// The person who waits for a sideload.
    pub(crate) ticket: Option<Ticket>,
    /// The deployment's, once step 4 passed.
    pub(crate) sequence: Option<u64>,
    /// What it is at work on, once known.
    pub(crate) models: Vec<String>,
    pub(crate) aborting: bool,
}

/// A promise to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Later {
    pub(crate) attempt: u32,
    /// Milliseconds since the process started.
    pub(crate) at: u64,
}

/// The machine's whole state. Only [`Memory`] survives a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub(crate) limits: Limits,
    pub(crate) memory: Memory,
    pub(crate) denied: Denied,
    pub(crate) floors: BTreeMap<String, u64>,
    /// The highest sequence that passed step 4.
    pub(crate) sequence_seen: Option<u64>,
    pub(crate) started: bool,
    pub(crate) stages: BTreeMap<String, Stage>,
    pub(crate) refusals: BTreeMap<String, Refusal>,
    /// A refusal that no model could be named for.
    pub(crate) refusal: Option<Refusal>,
    pub(crate) link: LinkState,
    pub(crate) job: Option<Job>,
    pub(crate) jobs: JobId,
    pub(crate) timestamp_seen: Option<Digest>,
    pub(crate) deployment_seen: Option<Digest>,
    /// Failed attempts since the last news.
    pub(crate) attempts: u32,
    pub(crate) retry: Option<Later>,
    /// News came while a job was running.
    pub(crate) again: bool,
    pub(crate) queued: VecDeque<(Ticket, PathBuf)>,
    /// Versions that began to serve, and when they count as settled.
    pub(crate) settling: BTreeMap<String, (Digest, u64)>,
    /// Models whose only version could not be loaded.
    pub(crate) serve_again: BTreeMap<String, Later>,
    /// Models that the latest commit made active together and that are not all settled.
    pub(crate) together: BTreeSet<String>,
    pub(crate) refresh_at: u64,
    pub(crate) report_at: u64,
}

impl State {
    /// The state at the start of a process, from what was last written.
    ///
    /// `denied`, `floors` and `sequence` (the last one accepted on this device's channel) are read from the trusted
    /// state inside `memory`, which is opaque here.
    pub fn new(
        memory: Memory,
        denied: Denied,
        floors: BTreeMap<String, u64>,
        sequence: Option<u64>,
        limits: Limits,
    ) -> Self {
        // What was held or refused was seen, too, although only step 10 raises the trusted sequence.
        let held = memory.models.values().filter_map(|model| model.held_above);
        let refused = memory.refused.values().map(|proof| proof.sequence);
        let sequence_seen = sequence.into_iter().chain(held).chain(refused).max();
        State {
            limits,
            memory,
            denied,
            floors,
            sequence_seen,
            started: false,
            stages: BTreeMap::new(),
            refusals: BTreeMap::new(),
            refusal: None,
            link: LinkState::Down { why: "not connected yet".to_owned() },
            job: None,
            jobs: 0,
            timestamp_seen: None,
            deployment_seen: None,
            attempts: 0,
            retry: None,
            again: false,
            queued: VecDeque::new(),
            settling: BTreeMap::new(),
            serve_again: BTreeMap::new(),
            together: BTreeSet::new(),
            refresh_at: 0,
            report_at: 0,
        }
    }

    /// What is remembered across restarts.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The connection to the fleet.
    pub fn link(&self) -> &LinkState {
        &self.link
    }

    /// The stage of `model`.
    pub fn stage(&self, model: &str) -> Stage {
        self.stages.get(model).copied().unwrap_or(Stage::Idle)
    }

    /// When [`super::Event::Tick`] is next of use; never later than that.
    pub fn next_wake(&self) -> u64 {
        let settling = self.settling.values().map(|(_, at)| *at);
        let serving = self.serve_again.values().map(|later| later.at);
        let refresh = (self.link == LinkState::Up && self.job.is_none()).then_some(self.refresh_at);
        let retry = self.retry.filter(|_| self.link == LinkState::Up && self.job.is_none()).map(|later| later.at);
        settling.chain(serving).chain(refresh).chain(retry).fold(self.report_at, u64::min)
    }

    /// Whether release's deny-list names this version of `model`.
    pub(crate) fn is_denied(&self, model: &str, digest: &Digest) -> bool {
        self.denied.get(model).is_some_and(|denied| denied.contains(digest))
    }

    /// Moves `model` along the table; `false` when the table has no such row.
    pub(crate) fn signal(&mut self, model: &str, signal: Signal) -> bool {
        let Some(to) = stage::next(self.stage(model), signal) else { return false };
        self.stages.insert(model.to_owned(), to);
        true
    }

    /// Where a model rests when a job lets go of it.
    pub(crate) fn rest(&mut self, model: &str) {
        let active = self.memory.models.get(model).is_some_and(|memory| memory.active.is_some());
        self.signal(model, if active { Signal::BackToActive } else { Signal::BackToIdle });
    }

    /// Begins a job. The caller has seen to it that none runs.
    pub(crate) fn start_job(&mut self, source: Source, ticket: Option<Ticket>, now: u64, effects: &mut Vec<Effect>) {
        debug_assert!(self.job.is_none(), "one job at a time");
        self.jobs += 1;
        self.job = Some(Job { id: self.jobs, ticket, sequence: None, models: Vec::new(), aborting: false });
        if source == Source::Network {
            self.again = false;
            self.retry = None;
            self.refresh_at = now.saturating_add(self.limits.refresh_ms);
        }
        effects.push(Effect::Start { job: self.jobs, source });
    }

    /// Tells the running job to stop, once.
    pub(crate) fn abort_job(&mut self, effects: &mut Vec<Effect>) {
        if let Some(job) = self.job.as_mut().filter(|job| !job.aborting) {
            job.aborting = true;
            effects.push(Effect::Abort { job: job.id });
        }
    }

    /// The running job if it is `id` and was not told to stop.
    pub(crate) fn live_job(&mut self, id: JobId) -> Option<&mut Job> {
        self.job.as_mut().filter(|job| job.id == id && !job.aborting)
    }

    /// Whether these bytes of `news` are new.
    pub(crate) fn is_news(&mut self, news: News, digest: Digest) -> bool {
        let seen = match news {
            News::Deployment => &mut self.deployment_seen,
            News::Timestamp => &mut self.timestamp_seen,
        };
        seen.replace(digest) != Some(digest)
    }

    /// Asks for the active version of `model` to be loaded.
    pub(crate) fn serve(&mut self, model: &str, effects: &mut Vec<Effect>) {
        self.serve_together(&[model.to_owned()], effects);
    }

    /// Asks for the active versions of `models` to be loaded as one step.
    pub(crate) fn serve_together(&mut self, models: &[String], effects: &mut Vec<Effect>) {
        let mut servings = Vec::new();
        for model in models {
            let Some(memory) = self.memory.models.get(model) else { continue };
            let Some(active) = memory.active.clone() else { continue };
            servings.push(Serving { model: model.clone(), active, last_good: memory.last_good.clone() });
            self.settling.remove(model);
            self.signal(model, Signal::Chosen);
        }
        if !servings.is_empty() {
            effects.push(Effect::Serve(servings));
        }
    }

    /// Asks for the memory to be written, or the step to be taken back.
    pub(crate) fn commit(&self, effects: &mut Vec<Effect>) {
        effects.push(Effect::Commit(self.memory.clone()));
    }

    /// Asks for the memory to be written if that can be done: for what is true whether it is written or not, such as
    /// that a job is over.
    pub(crate) fn save(&self, effects: &mut Vec<Effect>) {
        effects.push(Effect::Save(self.memory.clone()));
    }
}

/// A line for the log.
pub(crate) fn log(level: Level, text: impl Into<String>) -> Effect {
    Effect::Log { level, text: text.into() }
}
