//! What can go wrong in an engine.

use runtime_tensor::TensorError;

/// Why a model was not loaded or a request not answered. Reads after "failed to".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The model is valid, but this engine cannot run it as asked.
    #[error("run this model with engine {engine}: {reason}")]
    Unsupported {
        /// The engine's name.
        engine: String,
        /// Which node, operator or option, and what is supported instead.
        reason: String,
    },
    /// The bytes are no valid model.
    #[error("read the model: {reason}")]
    BadModel {
        /// Where the model is wrong and how.
        reason: String,
    },
    /// A request's tensors do not fit the model.
    #[error("accept tensor {tensor:?}: found {found}, expected {expected}")]
    BadInput {
        /// The input or output concerned.
        tensor: String,
        /// What the request has.
        found: String,
        /// What the model takes.
        expected: String,
    },
    /// The deadline passed before the answer was ready.
    #[error("answer before the deadline")]
    Deadline,
    /// The device asked for is not in this machine, or its driver is not.
    #[error("use device {device:?}: {reason}")]
    NoDevice {
        /// The device's name.
        device: String,
        /// What was looked for and what was found.
        reason: String,
    },
    /// A library that the engine loads at run time is missing or does not fit.
    #[error(
        "load the library {library} for engine {engine}: found {found}, expected {expected}; install one that fits, or \
         name its path"
    )]
    NoLibrary {
        /// The engine's name.
        engine: String,
        /// The path or name tried.
        library: String,
        /// What is there: nothing and why, or another version.
        found: String,
        /// The version needed.
        expected: String,
    },
    /// A fault of the engine itself, a panic that it caught included.
    #[error("run engine {engine}: {reason}; this is a fault of the engine, not of the request")]
    Internal {
        /// The engine's name.
        engine: String,
        /// What happened.
        reason: String,
    },
}

impl EngineError {
    /// A short code for logs and statistics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } => "unsupported",
            Self::BadModel { .. } => "bad-model",
            Self::BadInput { .. } => "bad-input",
            Self::Deadline => "deadline",
            Self::NoDevice { .. } => "no-device",
            Self::NoLibrary { .. } => "no-library",
            Self::Internal { .. } => "internal",
        }
    }
}

impl From<TensorError> for EngineError {
    fn from(error: TensorError) -> Self {
        match error {
            TensorError::SpecElement { tensor, found, expected } => {
                Self::BadInput { tensor, found: found.to_string(), expected: expected.to_string() }
            }
            TensorError::SpecShape { tensor, found, expected } => {
                Self::BadInput { tensor, found: format!("shape {found:?}"), expected: format!("shape {expected}") }
            }
            TensorError::SpecSymbol { tensor, symbol, found, expected } => Self::BadInput {
                tensor,
                found: format!("{symbol} = {found}"),
                expected: format!("{symbol} = {expected}, as in an earlier tensor"),
            },
            other => Self::Internal { engine: "tensor".into(), reason: other.to_string() },
        }
    }
}
