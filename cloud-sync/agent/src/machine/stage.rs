//! How far a model's newest version has come on this device, as a table.

/// Where a model stands. The active version answers in every stage but [`Stage::Idle`], [`Stage::Denied`] and the
/// first [`Stage::Activating`] after a start; the others describe the version that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Nothing is installed under this name.
    Idle,
    /// A deployment that names it passed step 4.
    DeploymentAccepted,
    /// Its manifest passed step 5.
    ManifestChecked,
    /// Space is being reserved (step 6).
    Reserving,
    /// Chunks are being fetched and checked (step 7).
    Downloading,
    /// Whole files are being checked (step 8).
    Verifying,
    /// It is loaded, answers its golden set and is measured (step 9).
    Proving,
    /// It is chosen and being loaded into the serving path (step 10 was written).
    Activating,
    /// It answers.
    Active,
    /// The attempt was interrupted and is tried again.
    Waiting,
    /// The attempt ended with a refusal; what was active stays active.
    Refused,
    /// A rollback or sideload made on the device outranks the deployment.
    Held,
    /// The signed deny-list left nothing to answer with.
    Denied,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Stage; 13] = [
        Stage::Idle,
        Stage::DeploymentAccepted,
        Stage::ManifestChecked,
        Stage::Reserving,
        Stage::Downloading,
        Stage::Verifying,
        Stage::Proving,
        Stage::Activating,
        Stage::Active,
        Stage::Waiting,
        Stage::Refused,
        Stage::Held,
        Stage::Denied,
    ];

    /// The name in reports and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Idle => "idle",
            Stage::DeploymentAccepted => "deployment-accepted",
            Stage::ManifestChecked => "manifest-checked",
            Stage::Reserving => "reserving",
            Stage::Downloading => "downloading",
            Stage::Verifying => "verifying",
            Stage::Proving => "proving",
            Stage::Activating => "activating",
            Stage::Active => "active",
            Stage::Waiting => "waiting",
            Stage::Refused => "refused",
            Stage::Held => "held",
            Stage::Denied => "denied",
        }
    }

    /// Whether an install job is at work on it.
    pub fn in_progress(self) -> bool {
        matches!(
            self,
            Stage::DeploymentAccepted
                | Stage::ManifestChecked
                | Stage::Reserving
                | Stage::Downloading
                | Stage::Verifying
                | Stage::Proving
        )
    }
}

/// What moves a model from one stage to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// A deployment, or a person with a file, names the model.
    Named,
    /// Step 5 passed.
    ManifestPassed,
    /// Step 6 began.
    SpaceAsked,
    /// Step 7 began.
    ChunksAsked,
    /// Step 8 began.
    FilesAsked,
    /// Step 9 began.
    ProofAsked,
    /// Step 10 was written, or a start, a rollback or the deny-list chose another version.
    Chosen,
    /// The chosen version answers.
    Served,
    /// A check refused.
    Refused,
    /// The network, or another thing that passes, stopped the job.
    Interrupted,
    /// The job was given up for a better one; something is active.
    BackToActive,
    /// The job was given up for a better one, or nothing that could be served is left.
    BackToIdle,
    /// A local decision outranks the deployment.
    Held,
    /// The deny-list took the last version.
    Denied,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Signal; 14] = [
        Signal::Named,
        Signal::ManifestPassed,
        Signal::SpaceAsked,
        Signal::ChunksAsked,
        Signal::FilesAsked,
        Signal::ProofAsked,
        Signal::Chosen,
        Signal::Served,
        Signal::Refused,
        Signal::Interrupted,
        Signal::BackToActive,
        Signal::BackToIdle,
        Signal::Held,
        Signal::Denied,
    ];
}

/// The stages between which an install job moves a model, in order.
const IN_PROGRESS: [Stage; 6] = [
    Stage::DeploymentAccepted,
    Stage::ManifestChecked,
    Stage::Reserving,
    Stage::Downloading,
    Stage::Verifying,
    Stage::Proving,
];

/// The table: in stage `.0`, signal `.1` leads to stage `.2`. What is not here does not happen.
///
/// Signals that mean the same in every stage stand in `FROM_ANYWHERE`.
pub const TRANSITIONS: &[(Stage, Signal, Stage)] = &[
    // A new attempt begins from rest only: one job at a time.
    (Stage::Idle, Signal::Named, Stage::DeploymentAccepted),
    (Stage::Active, Signal::Named, Stage::DeploymentAccepted),
    (Stage::Activating, Signal::Named, Stage::DeploymentAccepted),
    (Stage::Waiting, Signal::Named, Stage::DeploymentAccepted),
    (Stage::Refused, Signal::Named, Stage::DeploymentAccepted),
    (Stage::Held, Signal::Named, Stage::DeploymentAccepted),
    (Stage::Denied, Signal::Named, Stage::DeploymentAccepted),
    // DESIGN 7's order.
    (Stage::DeploymentAccepted, Signal::ManifestPassed, Stage::ManifestChecked),
    (Stage::ManifestChecked, Signal::SpaceAsked, Stage::Reserving),
    (Stage::Reserving, Signal::ChunksAsked, Stage::Downloading),
    (Stage::Downloading, Signal::FilesAsked, Stage::Verifying),
    (Stage::Verifying, Signal::ProofAsked, Stage::Proving),
    (Stage::Proving, Signal::Chosen, Stage::Activating),
    // A model that is already active in the version named needs no proof; its group may need one.
    (Stage::DeploymentAccepted, Signal::Chosen, Stage::Activating),
    (Stage::ManifestChecked, Signal::Chosen, Stage::Activating),
    // A start, a rollback, a fall to the last good one.
    (Stage::Idle, Signal::Chosen, Stage::Activating),
    (Stage::Active, Signal::Chosen, Stage::Activating),
    (Stage::Activating, Signal::Chosen, Stage::Activating),
    (Stage::Waiting, Signal::Chosen, Stage::Activating),
    (Stage::Refused, Signal::Chosen, Stage::Activating),
    (Stage::Held, Signal::Chosen, Stage::Activating),
    (Stage::Denied, Signal::Chosen, Stage::Activating),
    (Stage::Activating, Signal::Served, Stage::Active),
    // A refusal is also of a whole deployment, before its models are at work.
    (Stage::Idle, Signal::Refused, Stage::Refused),
    (Stage::Active, Signal::Refused, Stage::Refused),
    (Stage::Activating, Signal::Refused, Stage::Refused),
    (Stage::Waiting, Signal::Refused, Stage::Refused),
    (Stage::Refused, Signal::Refused, Stage::Refused),
    (Stage::Held, Signal::Refused, Stage::Refused),
    // Only what no job is at work on can be held back.
    (Stage::Idle, Signal::Held, Stage::Held),
    (Stage::Active, Signal::Held, Stage::Held),
    (Stage::Activating, Signal::Held, Stage::Held),
    (Stage::Waiting, Signal::Held, Stage::Held),
    (Stage::Refused, Signal::Held, Stage::Held),
    (Stage::Held, Signal::Held, Stage::Held),
    (Stage::Activating, Signal::BackToIdle, Stage::Idle),
];

/// Signals with one meaning wherever a job stands.
const FROM_PROGRESS: [(Signal, Stage); 4] = [
    (Signal::Refused, Stage::Refused),
    (Signal::Interrupted, Stage::Waiting),
    (Signal::BackToActive, Stage::Active),
    (Signal::BackToIdle, Stage::Idle),
];

/// Signals with one meaning in every stage.
const FROM_ANYWHERE: [(Signal, Stage); 1] = [(Signal::Denied, Stage::Denied)];

/// The stage that `signal` leads to, or `None` where the table has no such row.
pub(super) fn next(stage: Stage, signal: Signal) -> Option<Stage> {
    if let Some((_, to)) = FROM_ANYWHERE.iter().find(|(row, _)| *row == signal) {
        return Some(*to);
    }
    if IN_PROGRESS.contains(&stage)
        && let Some((_, to)) = FROM_PROGRESS.iter().find(|(row, _)| *row == signal)
    {
        return Some(*to);
    }
    TRANSITIONS.iter().find(|(from, row, _)| *from == stage && *row == signal).map(|(_, _, to)| *to)
}
