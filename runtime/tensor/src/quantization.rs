//! How a tensor's integers stand for real numbers.

use std::collections::BTreeMap;

use crate::ElementType;

/// real = (integer - zero point) * scale, with one pair for the tensor or one a slice along `axis`.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizationParameters {
    /// The integer type.
    pub element: ElementType,
    /// One scale, or one a slice along `axis`; positive and finite.
    pub scales: Vec<f32>,
    /// As many zero points as scales, each in the range of `element`.
    pub zero_points: Vec<i32>,
    /// The axis along which scales differ; `None` for one scale.
    pub axis: Option<usize>,
}

/// A model's quantization: the name of each quantized tensor and its parameters.
///
/// Made by `distill/quantize` from calibration, obeyed by quantization-aware training.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuantizationPlan {
    /// Tensor name in the float model, and its parameters.
    pub tensors: BTreeMap<String, QuantizationParameters>,
}
