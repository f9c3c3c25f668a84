//! What a caller chooses.

use runtime_tensor::ElementType;

/// How the range of a tensor is chosen from the values seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ObserverKind {
    /// From the smallest to the largest value.
    #[default]
    MinMax,
    /// Such that this share of all values lies inside: 0.9999 gives one in ten thousand away. From 0.5 to 1.
    Percentile(f64),
    /// The range whose quantization has the least squared error.
    SquaredError,
    /// The range whose integers say most about the distribution of values: least divergence.
    Entropy,
    /// The whole range at first; [`choose_ranges`](crate::choose_ranges) takes for each tensor what the observers
    /// above would choose and keeps the one with which the model's answers change least.
    Best,
}

/// Integer type of activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Unsigned, 0 to 255: what CPU kernels want, and what ONNX Runtime runs on integers everywhere.
    #[default]
    U8,
    /// Signed, -128 to 127. ONNX Runtime on x86-64 leaves some nodes of this form in float.
    I8,
}

impl Activation {
    /// The element type.
    pub fn element(self) -> ElementType {
        match self {
            Self::U8 => ElementType::U8,
            Self::I8 => ElementType::I8,
        }
    }

    /// Smallest and largest integer.
    pub fn bounds(self) -> (i32, i32) {
        match self {
            Self::U8 => (0, 255),
            Self::I8 => (-128, 127),
        }
    }
}

/// How to calibrate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CalibrationOptions {
    /// How ranges of activations are chosen.
    pub observer: ObserverKind,
    /// The options that the plan is made for.
    pub quantize: QuantizeOptions,
    /// Threads of the engine that runs the float model; 0 means 1.
    pub threads: usize,
}

/// How to quantize.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuantizeOptions {
    /// One weight scale an output channel instead of one for the whole tensor.
    pub per_channel: bool,
    /// Weights whose adjacent pairs cannot saturate a 16-bit sum with any activations: exact also where kernels
    /// add pairs in 16 bits (AVX2 without VNNI).
    pub pair_safe: bool,
    /// Bits of a weight, 2 to 8. Weights of fewer than 8 bits are stored as 8-bit integers of that range.
    pub weight_bits: u32,
    /// Integer type of activations.
    pub activation: Activation,
    /// Nodes to leave in float, by name or label.
    pub skip: Vec<String>,
}

impl Default for QuantizeOptions {
    fn default() -> Self {
        Self { per_channel: true, pair_safe: false, weight_bits: 8, activation: Activation::U8, skip: Vec::new() }
    }
}
