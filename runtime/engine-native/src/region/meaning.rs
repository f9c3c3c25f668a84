//! What a name of the graph stands for.

use std::rc::Rc;

use runtime_kernels::{Affine, Binary, ConvolutionShape, Window};
use runtime_tensor::Tensor;

use super::dynamic::Dynamic;
use super::elements::Elements;
use super::pairwise::Side;
use super::tables::Tabled;
use super::weights::{Bias, Weights};
use crate::program::ValueId;

/// What a value of the graph is, as far as the walk has come.
#[derive(Clone, Debug)]
pub(crate) enum Meaning {
    /// Stored bytes: the model has them as `u8` or `i8`.
    Stored(ValueId),
    /// A real tensor that stored bytes stand for.
    Real(ValueId, Affine),
    /// A float input of the model, at this position.
    FloatInput(usize),
    /// Floats in the arena.
    Float(ValueId),
    /// A float constant after its QuantizeLinear.
    StoredConstant(Rc<Tensor>),
    /// A real tensor that a constant's integers stand for.
    RealConstant(Rc<RealConstant>),
    /// Part of a dynamic quantization.
    Dynamic(Dynamic),
    /// A real result that still needs to hear how it is quantized.
    Pending(Rc<Pending>),
}

/// A dequantized initializer.
#[derive(Clone, Debug)]
pub(crate) struct RealConstant {
    pub(crate) tensor: Elements,
    pub(crate) scales: Vec<f32>,
    pub(crate) zero_points: Vec<i32>,
    /// The axis of the scales when there are several.
    pub(crate) axis: usize,
}

/// A result whose quantization comes later in the graph, and the real bounds that activations set it meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) work: Rc<Work>,
    pub(crate) low: f32,
    pub(crate) high: f32,
    /// Shape of the result.
    pub(crate) shape: Vec<usize>,
}

impl Pending {
    pub(crate) fn new(work: Work, shape: Vec<usize>) -> Self {
        Self { work: Rc::new(work), low: f32::NEG_INFINITY, high: f32::INFINITY, shape }
    }

    /// The same result, held between two more bounds.
    pub(crate) fn bounded(&self, low: f32, high: f32) -> Self {
        Self { low: self.low.max(low).min(high), high: self.high.min(high).max(low), ..self.clone() }
    }

    pub(crate) fn is_bounded(&self) -> bool {
        self.low > f32::NEG_INFINITY || self.high < f32::INFINITY
    }
}

/// What gives a pending result.
#[derive(Debug)]
pub(crate) enum Work {
    Convolution {
        input: ValueId,
        x: Affine,
        weights: Weights,
        bias: Bias,
        window: Window,
        channels: ConvolutionShape,
    },
    Dense {
        input: ValueId,
        x: Affine,
        weights: Weights,
        bias: Bias,
        rows: usize,
    },
    Pair {
        operation: Binary,
        a: Side,
        b: Side,
    },
    Product {
        a: (ValueId, Affine),
        b: (ValueId, Affine),
    },
    AveragePool {
        input: ValueId,
        x: Affine,
        window: Window,
        channels: usize,
        count_padding: bool,
    },
    GlobalAveragePool {
        input: ValueId,
        x: Affine,
        pixels: usize,
        channels: usize,
    },
    Concat {
        parts: Vec<(ValueId, Affine)>,
        axis: usize,
    },
    /// A mean over all but the last `channels` elements of each sample.
    Mean {
        input: ValueId,
        x: Affine,
        pixels: usize,
        channels: usize,
    },
    LayerNorm {
        input: ValueId,
        x: Affine,
        scale: Vec<f32>,
        bias: Vec<f32>,
        epsilon: f32,
    },
    /// Over rows of `width` bytes, neighbouring ones `scale` apart.
    Softmax {
        input: ValueId,
        scale: f32,
        width: usize,
    },
    Table(Tabled),
}
