//! Calibration.
use runtime_engine::Engine;
use runtime_graph::Model;
use runtime_tensor::{NamedTensor, QuantizationPlan};
use crate::{CalibrationOptions, QuantizeError};
/// Runs the float model over the samples and chooses ranges.
pub fn calibrate(
    _model: &Model,
    _batches: &mut dyn Iterator<Item = Result<Vec<NamedTensor>, String>>,
    _engine: &dyn Engine,
    _options: &CalibrationOptions,
) -> Result<QuantizationPlan, QuantizeError> {
    Err(QuantizeError::NoSamples)
}
