//! What the machine hears, and what it asks for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use runtime_trust::Digest;

use super::{Denied, Installed, Memory};

/// One install job. Numbers are never reused, so a late word of an old job is known as such.
pub type JobId = u64;

/// A person's question that waits for an answer.
pub type Ticket = u64;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The process started with the memory that was last written.
    Started,
    /// The broker accepted the connection.
    LinkUp,
    /// The connection broke or could not be made.
    LinkDown {
        /// For people: unreachable, wrong certificate, ...
        why: String,
    },
    /// A retained message arrived.
    Published {
        /// Which.
        news: News,
        /// Of its bytes.
        digest: Digest,
        /// The deployment's sequence if it passes step 4 under the trust already held, else `None`.
        sequence: Option<u64>,
    },
    /// Time passed.
    Tick,
    /// A person asked through the admin socket or on the command line.
    Asked {
        /// Whom to answer.
        ticket: Ticket,
        /// What is asked for.
        order: Order,
    },
    /// Steps 1 to 3 passed.
    TrustRefreshed {
        /// By this job.
        job: JobId,
        /// The new trusted state.
        trust: Arc<[u8]>,
        /// The deny-lists, those of names that were not refreshed as last seen.
        denied: Denied,
        /// Per name, the lowest number that may be installed.
        floors: BTreeMap<String, u64>,
    },
    /// Step 4 passed; the job waits for a [`Verdict`].
    DeploymentChecked {
        /// By this job.
        job: JobId,
        /// The deployment's.
        sequence: u64,
        /// What it names.
        models: Vec<(String, Digest)>,
    },
    /// A step from 5 to 9 began (5: passed).
    Entered {
        /// By this job.
        job: JobId,
        /// 5 to 9.
        step: u8,
        /// For this model; `None` for all of the job.
        model: Option<String>,
    },
    /// Step 6 passed for one model: its slot exists.
    Reserved {
        /// By this job.
        job: JobId,
        /// The model.
        model: String,
        /// The slot.
        candidate: Installed,
    },
    /// Step 9 passed for all models of the job; the job waits for a [`Verdict`], which is step 10.
    Proven {
        /// By this job.
        job: JobId,
        /// What it proved.
        proven: Proven,
    },
    /// The job is over. Comes exactly once for each job.
    Ended {
        /// Which.
        job: JobId,
        /// How.
        end: End,
    },
    /// A chosen version answers.
    Served {
        /// Of this model.
        model: String,
        /// This version.
        digest: Digest,
    },
    /// A chosen version could not be loaded into the serving path.
    ServeFailed {
        /// Of this model.
        model: String,
        /// This version.
        digest: Digest,
        /// Stable code.
        reason: String,
        /// For people.
        message: String,
    },
    /// The commit of the step before could not be written: that step was taken back, and what it would have
    /// answered was answered with a failure.
    CommitFailed {
        /// For people, with what is missing.
        why: String,
    },
}

/// Which retained message arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The channel's deployment.
    Deployment,
    /// The TUF timestamp.
    Timestamp,
}

/// What a person can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Install a sealed file.
    Sideload {
        /// The `.cask`.
        path: PathBuf,
    },
    /// Go back to the last good version.
    Rollback {
        /// The model; may be absent where only one is installed.
        model: Option<String>,
    },
}

/// What a job proved, ready for step 10.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The trusted state with the deployment's sequence and time raised.
    pub trust: Arc<[u8]>,
    /// The deployment's; `None` for a sideload.
    pub sequence: Option<u64>,
    /// Name and version of each model, those that were already active included.
    pub models: Vec<(String, Installed)>,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Step 10 was written.
    Done,
    /// There was nothing to do: no deployment, the current one, or the verdict said stop.
    Nothing,
    /// A check refused.
    Refused(Refusal),
    /// The network or a peer failed; trying again may help.
    Interrupted {
        /// For people.
        why: String,
    },
    /// The job was told to stop.
    Aborted,
}

/// A check's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 1 to 10, of DESIGN 7's order.
    pub step: u8,
    /// Stable code in kebab-case.
    pub reason: String,
    /// Where, what was found, what was expected, what to do next.
    pub message: String,
    /// The model, when the refusal is about one.
    pub model: Option<String>,
    /// Its manifest, when known.
    pub digest: Option<Digest>,
    /// The deployment's sequence, when known (from step 4 on it is also verified).
    pub sequence: Option<u64>,
}

/// What to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write the memory durably before anything after it. If that cannot be done, the whole step is taken back and
    /// the machine hears [`Event::CommitFailed`].
    Commit(Memory),
    /// Write the memory durably, if that can be done now. The step stands all the same: the next write has it, too.
    Save(Memory),
    /// Load these into the serving path, in place of what answers now: all of them, or none.
    Serve(Vec<Serving>),
    /// Stop answering for a model.
    Withdraw {
        /// Which.
        model: String,
        /// Whether the deny-list did it: requests are answered `denied`.
        denied: bool,
    },
    /// Begin an install job.
    Start {
        /// Its number.
        job: JobId,
        /// Where from.
        source: Source,
    },
    /// Tell a job to stop; it still ends with [`Event::Ended`].
    Abort {
        /// Which.
        job: JobId,
    },
    /// Answer a waiting job.
    Continue {
        /// Which.
        job: JobId,
        /// The answer.
        verdict: Verdict,
    },
    /// Answer a person.
    Answer {
        /// Whom.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
    /// Send the status to the fleet.
    Report,
    /// Remove slots that the memory does not name.
    Sweep,
    /// Tell the log.
    Log {
        /// How loud.
        level: Level,
        /// What.
        text: String,
    },
}

/// What is to answer under one model name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// The name.
    pub model: String,
    /// The version that answers.
    pub active: Installed,
    /// The version behind it.
    pub last_good: Option<Installed>,
}

/// Where an install job takes its bytes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The fleet.
    Network,
    /// A sealed file.
    File(PathBuf),
}

/// What a waiting job may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Install what was named.
    Install,
    /// Step 10 was written.
    Committed,
    /// End with [`End::Nothing`].
    Stop,
    /// Step 10 could not be written, for this reason.
    NotWritten(String),
}

/// The answer to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These are active now.
    Active(Vec<(String, Installed)>),
    /// A check refused.
    Refused(Refusal),
    /// It cannot be done.
    Impossible {
        /// What to do about it is in here, too.
        why: String,
    },
}

/// How loud a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Part of normal work.
    Info,
    /// Somebody should look.
    Warn,
}
