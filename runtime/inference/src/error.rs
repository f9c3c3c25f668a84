//! Why a request has no answer.

use runtime_engine::EngineError;

/// Why a request was not answered. Reads after "failed to".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InferError {
    /// No model of this name is known here.
    #[error("find model {model:?}: this device serves {known}")]
    UnknownModel {
        /// The name asked for.
        model: String,
        /// The names served, for people.
        known: String,
    },
    /// The model is known, the version asked for is not the active one.
    #[error("find version {asked} of model {model:?}: the active version is {active}")]
    UnknownVersion {
        /// The name asked for.
        model: String,
        /// The number asked for.
        asked: u64,
        /// The active number.
        active: u64,
    },
    /// A tensor of the request does not fit the model.
    #[error("accept tensor {tensor:?}: found {found}, expected {expected}")]
    BadInput {
        /// The input or output concerned.
        tensor: String,
        /// What the request has.
        found: String,
        /// What the model takes.
        expected: String,
    },
    /// The model's queue is full.
    #[error("queue the request: {queued} requests wait for model {model:?} already; try again later")]
    Busy {
        /// The model.
        model: String,
        /// Requests in the queue.
        queued: usize,
    },
    /// The deadline passed first.
    #[error("answer before the deadline")]
    Deadline,
    /// Everything that could answer is on the signed deny-list.
    #[error("answer with model {model:?}: its artifact is on the signed deny-list")]
    Denied {
        /// The model.
        model: String,
    },
    /// Nothing is active under this name.
    #[error("answer with model {model:?}: {reason}")]
    NoModel {
        /// The model.
        model: String,
        /// Why nothing is active.
        reason: String,
    },
    /// Every rung that the request allows was tried and failed.
    #[error("answer with model {model:?}: no rung answered: {reasons}")]
    Failed {
        /// The model.
        model: String,
        /// Each rung with its error.
        reasons: String,
    },
    /// This process ends.
    #[error("answer: the device is shutting down")]
    Closed,
}

impl InferError {
    /// A short code for replies, logs and statistics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownModel { .. } => "unknown-model",
            Self::UnknownVersion { .. } => "unknown-version",
            Self::BadInput { .. } => "bad-input",
            Self::Busy { .. } => "busy",
            Self::Deadline => "deadline",
            Self::Denied { .. } => "denied",
            Self::NoModel { .. } => "no-model",
            Self::Failed { .. } => "failed",
            Self::Closed => "closed",
        }
    }

    /// Whether the same request may succeed later: what HTTP says with 503.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. } | Self::Denied { .. } | Self::NoModel { .. } | Self::Failed { .. } | Self::Closed
        )
    }

    /// The error of a request that an engine refused before it ran; `None` for every other engine error.
    pub(crate) fn from_refusal(error: &EngineError) -> Option<Self> {
        match error {
            EngineError::BadInput { tensor, found, expected } => {
                Some(Self::BadInput { tensor: tensor.clone(), found: found.clone(), expected: expected.clone() })
            }
            EngineError::Deadline => Some(Self::Deadline),
            _ => None,
        }
    }
}
