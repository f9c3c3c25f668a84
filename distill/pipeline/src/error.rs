//! What can stop `distill`, and with which exit code.

use distill_quantize::QuantizeError;
use distill_train::TrainError;
use runtime_artifact::{ArtifactError, ErrorClass, PackError};
use runtime_console::{Classified, ExitCode};
use runtime_disk::DiskError;
use runtime_engine::EngineError;
use runtime_graph::GraphError;
use runtime_inference::{IsaError, ProofFailure};
use runtime_tensor::TensorError;
use runtime_trust::keyfile::KeyFileError;

/// The result of a step of the pipeline.
pub(crate) type Result<T> = std::result::Result<T, PipelineError>;

/// Why a command failed. Reads after `error:`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipelineError {
    /// Something in the recipe, the arguments or the data is wrong; the text is whole.
    #[error("{0}")]
    Input(String),
    /// Something that this build cannot do; the text is whole.
    #[error("{0}")]
    Unsupported(String),
    /// A device that was asked for is not there; the text is whole.
    #[error("{0}")]
    NoDevice(String),
    /// The same error with the place where it happened.
    #[error("{place}: {source}")]
    At { place: String, source: Box<PipelineError> },
    #[error("failed to {0}")]
    Train(#[from] TrainError),
    #[error("failed to {0}")]
    Graph(#[from] GraphError),
    #[error("failed to {0}")]
    Engine(#[from] EngineError),
    #[error("failed to {0}")]
    Quantize(#[from] QuantizeError),
    #[error("failed to {0}")]
    Artifact(#[from] ArtifactError),
    #[error("failed to {0}")]
    Pack(#[from] PackError),
    #[error("failed to {0}")]
    Disk(#[from] DiskError),
    #[error("failed to {0}")]
    Tensor(#[from] TensorError),
    #[error("{0}")]
    Key(#[from] KeyFileError),
    /// The sealed model did not pass the self-test that devices will run.
    #[error("the self-test on this machine: failed to {0}")]
    Proof(#[from] ProofFailure),
    /// An instruction set that cannot be forced.
    #[error("failed to {0}")]
    Isa(#[from] IsaError),
    #[error("{0}")]
    Console(#[from] runtime_console::Failure),
}

impl PipelineError {
    pub(crate) fn input(text: impl Into<String>) -> Self {
        PipelineError::Input(text.into())
    }

    /// Puts `place` in front of the message.
    pub(crate) fn at(self, place: impl std::fmt::Display) -> Self {
        PipelineError::At { place: place.to_string(), source: Box::new(self) }
    }
}

/// Adds the place to the error of any result that this crate understands.
pub(crate) trait At<T> {
    /// Puts `place` in front of the message of an error.
    fn at(self, place: impl std::fmt::Display) -> Result<T>;
}

impl<T, E: Into<PipelineError>> At<T> for std::result::Result<T, E> {
    fn at(self, place: impl std::fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().at(place))
    }
}

fn graph_code(error: &GraphError) -> ExitCode {
    match error {
        GraphError::Unsupported { .. } | GraphError::Element { .. } => ExitCode::Unsupported,
        GraphError::Disk(error) => disk_code(error),
        _ => ExitCode::Usage,
    }
}

fn disk_code(error: &DiskError) -> ExitCode {
    match error {
        DiskError::NoSpace { .. } | DiskError::InUse { .. } => ExitCode::NoRoom,
        _ => ExitCode::Usage,
    }
}

fn engine_code(error: &EngineError) -> ExitCode {
    match error {
        EngineError::Unsupported { .. } => ExitCode::Unsupported,
        EngineError::NoDevice { .. } | EngineError::NoLibrary { .. } => ExitCode::Unreachable,
        EngineError::Internal { .. } | EngineError::Deadline => ExitCode::Bug,
        EngineError::BadModel { .. } | EngineError::BadInput { .. } => ExitCode::Usage,
    }
}

fn artifact_code(error: &ArtifactError) -> ExitCode {
    match (error.class(), error) {
        (ErrorClass::NotTrusted, _) => ExitCode::NotTrusted,
        (ErrorClass::Unsupported, _) => ExitCode::Unsupported,
        (ErrorClass::Disk, ArtifactError::Disk(error)) => disk_code(error),
        (ErrorClass::Disk, _) => ExitCode::Usage,
    }
}

impl Classified for PipelineError {
    fn exit_code(&self) -> ExitCode {
        match self {
            PipelineError::Input(_) | PipelineError::Tensor(_) | PipelineError::Key(_) => ExitCode::Usage,
            PipelineError::Unsupported(_) => ExitCode::Unsupported,
            PipelineError::NoDevice(_) | PipelineError::Train(TrainError::NoDevice { .. }) => ExitCode::Unreachable,
            PipelineError::At { source, .. } => source.exit_code(),
            PipelineError::Train(TrainError::Unsupported { .. }) => ExitCode::Unsupported,
            PipelineError::Train(TrainError::Graph(error)) | PipelineError::Graph(error) => graph_code(error),
            PipelineError::Train(_) => ExitCode::Usage,
            PipelineError::Engine(error) => engine_code(error),
            PipelineError::Quantize(QuantizeError::Graph(error)) => graph_code(error),
            PipelineError::Quantize(QuantizeError::Engine(error)) => engine_code(error),
            PipelineError::Quantize(QuantizeError::NothingToDo { .. }) => ExitCode::Unsupported,
            PipelineError::Quantize(_) => ExitCode::Usage,
            PipelineError::Artifact(error) | PipelineError::Pack(PackError::Refused(error)) => artifact_code(error),
            PipelineError::Pack(PackError::Disk(error)) | PipelineError::Disk(error) => disk_code(error),
            PipelineError::Pack(_) => ExitCode::Usage,
            PipelineError::Proof(_) => ExitCode::SelfTestFailed,
            PipelineError::Isa(IsaError::Unknown { .. }) => ExitCode::Usage,
            PipelineError::Isa(IsaError::Missing { .. }) => ExitCode::Unreachable,
            PipelineError::Console(failure) => failure.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            PipelineError::At { source, .. } => source.hint(),
            PipelineError::Console(failure) => failure.hint().map(str::to_owned),
            PipelineError::Train(TrainError::Unsupported { .. }) => {
                Some(format!("operators that can be trained: {}", distill_train::OPERATORS.join(", ")))
            }
            PipelineError::NoDevice(_) | PipelineError::Train(TrainError::NoDevice { .. }) => {
                Some("use --device cpu, or --device auto to fall back by itself".to_owned())
            }
            PipelineError::Engine(EngineError::NoLibrary { .. }) => {
                Some("--ort-library, or CASK_ORT_LIBRARY, names the library".to_owned())
            }
            _ => None,
        }
    }
}
