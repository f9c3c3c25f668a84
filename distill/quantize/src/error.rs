//! What can go wrong.
/// Why a model could not be calibrated or quantized. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// The graph said no.
    #[error(transparent)]
    Graph(#[from] runtime_graph::GraphError),
    /// The engine that runs the float model and quantized ones said no.
    #[error("calibrate: failed to run the model: {0}")]
    Engine(#[from] runtime_engine::EngineError),
    /// The source of calibration samples failed.
    #[error("calibrate: failed to read batch {batch}: {reason}")]
    Samples {
        /// Batch, from 0.
        batch: u64,
        /// The source's words.
        reason: String,
    },
    /// There were no samples.
    #[error("calibrate: there are no samples; give at least one batch")]
    NoSamples,
    /// A value is no number.
    #[error(
        "calibrate: tensor {tensor:?} holds NaN or infinity in batch {batch}; look at the samples and at the float model"
    )]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Batch, from 0.
        batch: u64,
    },
    /// The plan lacks a tensor or does not fit it.
    #[error("quantize tensor {tensor:?}: {reason}")]
    Plan {
        /// The tensor.
        tensor: String,
        /// What was found and expected.
        reason: String,
    },
    /// Nothing in the model can be quantized.
    #[error("quantize the model: {reason}")]
    NothingToDo {
        /// Why, and what to do.
        reason: String,
    },
    /// The caller's measure of a quantized model failed.
    #[error("measure a quantized model: {reason}")]
    Measure {
        /// The measure's words.
        reason: String,
    },
    /// A tensor could not be read or made.
    #[error("quantize: failed to {0}")]
    Tensor(#[from] runtime_tensor::TensorError),
}
