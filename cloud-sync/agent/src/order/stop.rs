//! Why the order of checks ended early.

use cloud_sync_store::StoreError;
use runtime_artifact::ArtifactError;
use runtime_console::human_bytes;
use runtime_disk::DiskError;
use runtime_inference::ProofFailure;
use runtime_trust::Digest;

use crate::machine::{End, Refusal};

/// The order of checks ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A check refused.
    Refused(Refusal),
    /// Something that passes.
    Interrupted(String),
    /// There is nothing to do.
    Nothing,
    /// The job was told to stop.
    Aborted,
}

impl Stop {
    pub(crate) fn into_end(self) -> End {
        match self {
            Stop::Refused(refusal) => End::Refused(refusal),
            Stop::Interrupted(why) => End::Interrupted { why },
            Stop::Nothing => End::Nothing,
            Stop::Aborted => End::Aborted,
        }
    }

    /// A refusal in `step` by nothing more than a code and a sentence.
    pub(crate) fn refused(step: u8, reason: &str, message: impl Into<String>) -> Stop {
        Stop::Refused(Refusal {
            step,
            reason: reason.to_owned(),
            message: message.into(),
            model: None,
            digest: None,
            sequence: None,
        })
    }

    /// Names what the refusal is about, where it does not say so itself.
    pub(crate) fn about(self, model: Option<&str>, digest: Option<Digest>, sequence: Option<u64>) -> Stop {
        match self {
            Stop::Refused(mut refusal) => {
                refusal.model = refusal.model.or_else(|| model.map(str::to_owned));
                refusal.digest = refusal.digest.or(digest);
                refusal.sequence = refusal.sequence.or(sequence);
                Stop::Refused(refusal)
            }
            other => other,
        }
    }
}

/// Trust's refusals know their step.
impl From<runtime_trust::Refusal> for Stop {
    fn from(refusal: runtime_trust::Refusal) -> Stop {
        Stop::refused(refusal.step(), refusal.reason(), format!("failed to {refusal}"))
    }
}

/// The step of space; also for a disk that fills up later.
const STEP_SPACE: u8 = 6;

/// An artifact's error in `step`.
pub(crate) fn artifact(step: u8, error: ArtifactError) -> Stop {
    match error {
        ArtifactError::Disk(error) => disk(error),
        ArtifactError::Trust(refusal) => refusal.into(),
        refused @ ArtifactError::Refused { .. } => {
            Stop::refused(step, refused.reason(), format!("failed to {refused}"))
        }
    }
}

/// The store's error in `step`.
pub(crate) fn store(step: u8, error: StoreError) -> Stop {
    match error {
        StoreError::NoRoom { missing_bytes } => no_room(missing_bytes),
        StoreError::Refused(error) => artifact(step, error),
        StoreError::Disk(error) => disk(error),
        other => Stop::refused(step, other.reason(), format!("failed to {other}")),
    }
}

pub(crate) fn no_room(missing_bytes: u64) -> Stop {
    Stop::refused(
        STEP_SPACE,
        "no-room",
        format!(
            "failed to find room for the artifact: {missing_bytes} bytes ({}) are missing; free some, or raise \
             install.space_bytes_max; what is active goes on",
            human_bytes(missing_bytes)
        ),
    )
}

fn disk(error: DiskError) -> Stop {
    match error {
        DiskError::NoSpace { missing_bytes, .. } => no_room(missing_bytes),
        other => Stop::Interrupted(format!("failed to {other}")),
    }
}

/// The proof's failure is always step 9.
pub(crate) fn proof(failure: &ProofFailure) -> Stop {
    Stop::refused(9, failure.reason(), format!("failed to {failure}"))
}
