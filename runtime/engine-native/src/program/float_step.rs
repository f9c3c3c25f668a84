//! The steps of a program that do float arithmetic, or move floats as only float operators do.

use runtime_kernels::{
    AcrossChannels, Binary, Broadcast, FloatConvolution, FloatFunction, FloatLinear, FloatPool, FloatProduct, Window,
};

use super::float_workers::{PRODUCT_COST, convolution_cost, linear_cost};
use super::{BufferId, Memory, Workers};

/// One input of a concatenation of floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FloatPart {
    pub(crate) input: BufferId,
    /// Elements of one row.
    pub(crate) width: usize,
}

/// One float step. Everything that can be known before running is in it.
#[derive(Debug)]
pub(crate) enum FloatStep {
    Convolve {
        convolution: Box<FloatConvolution>,
        input: BufferId,
        added: Option<BufferId>,
        output: BufferId,
    },
    Dense {
        linear: Box<FloatLinear>,
        rows: usize,
        input: BufferId,
        added: Option<BufferId>,
        output: BufferId,
    },
    Product {
        product: Box<FloatProduct>,
        a: BufferId,
        b: BufferId,
        output: BufferId,
    },
    Binary {
        shape: Box<Broadcast>,
        operation: Binary,
        a: BufferId,
        b: BufferId,
        output: BufferId,
    },
    Function {
        function: FloatFunction,
        input: BufferId,
        output: BufferId,
    },
    Softmax {
        width: usize,
        input: BufferId,
        output: BufferId,
    },
    LayerNorm {
        scale: Vec<f32>,
        bias: Vec<f32>,
        epsilon: f32,
        input: BufferId,
        output: BufferId,
    },
    AcrossChannels {
        norm: AcrossChannels,
        input: BufferId,
        output: BufferId,
    },
    Pool {
        pool: Box<FloatPool>,
        input: BufferId,
        output: BufferId,
    },
    Concat {
        parts: Vec<FloatPart>,
        stride: usize,
        output: BufferId,
    },
    /// From rows of `stride` elements those from `first` on, as many as fill the output's rows of `width`.
    Cut {
        stride: usize,
        first: usize,
        width: usize,
        input: BufferId,
        output: BufferId,
    },
    /// An image of `channels` between `value`s: `place` says where it lies, its output being the padded image.
    Pad {
        place: Box<Window>,
        channels: usize,
        value: f32,
        input: BufferId,
        output: BufferId,
    },
}

impl FloatStep {
    /// Buffers read and the one written, for the planner.
    pub(crate) fn buffers(&self) -> (Vec<BufferId>, BufferId) {
        match self {
            Self::Convolve { input, added, output, .. } | Self::Dense { input, added, output, .. } => {
                (std::iter::once(*input).chain(*added).collect(), *output)
            }
            Self::Product { a, b, output, .. } | Self::Binary { a, b, output, .. } => (vec![*a, *b], *output),
            Self::Concat { parts, output, .. } => (parts.iter().map(|part| part.input).collect(), *output),
            Self::Function { input, output, .. }
            | Self::Softmax { input, output, .. }
            | Self::LayerNorm { input, output, .. }
            | Self::AcrossChannels { input, output, .. }
            | Self::Pool { input, output, .. }
            | Self::Cut { input, output, .. }
            | Self::Pad { input, output, .. } => (vec![*input], *output),
        }
    }

    /// Whether it gives the same floats on every CPU: all but sums of products do, being one sequence of IEEE operations
    /// that is written once and compiled for each. Sums of products are taken in another order, and with fused
    /// operations, by each instruction set.
    pub(crate) fn is_exact(&self) -> bool {
        !matches!(self, Self::Convolve { .. } | Self::Dense { .. } | Self::Product { .. })
    }

    /// Bytes of weights that the step holds.
    pub(crate) fn weight_bytes(&self) -> usize {
        match self {
            Self::Convolve { convolution, .. } => convolution.bytes(),
            Self::Dense { linear, .. } => linear.bytes(),
            Self::LayerNorm { scale, bias, .. } => (scale.len() + bias.len()) * 4,
            _ => 0,
        }
    }

    /// About as many products of bytes take as long as one run.
    pub(crate) fn products(&self) -> usize {
        match self {
            Self::Convolve { convolution, .. } => convolution_cost(convolution),
            Self::Dense { linear, rows, .. } => linear_cost(linear, *rows),
            Self::Product { product, .. } if product.is_plain() => product.products() * PRODUCT_COST,
            _ => 0,
        }
    }

    /// Runs the step for one sample.
    pub(crate) fn run(&self, with: &mut Workers<'_>, memory: &mut Memory) {
        let table = with.table;
        match self {
            Self::Convolve { convolution, input, added, output } => {
                let ([from, more], to) = memory.read_floats([*input, added.unwrap_or(*input)], *output);
                with.convolve_floats(convolution, from, added.map(|_| more), to);
            }
            Self::Dense { linear, rows, input, added, output } => {
                let ([from, more], to) = memory.read_floats([*input, added.unwrap_or(*input)], *output);
                with.linear_floats(linear, from, *rows, added.map(|_| more), to);
            }
            Self::Product { product, a, b, output } => {
                let (sides, to) = memory.read_floats([*a, *b], *output);
                with.product(product, sides, to);
            }
            Self::Binary { shape, operation, a, b, output } => {
                let (sides, to) = memory.read_floats([*a, *b], *output);
                table.float_binary(shape, *operation, sides, to);
            }
            Self::Function { function, input, output } => {
                let (from, to) = memory.floats_to_floats(*input, *output);
                with.function(*function, from, to);
            }
            Self::Softmax { width, input, output } => {
                let (from, to) = memory.floats_to_floats(*input, *output);
                with.each_row(*width, from, to, |from, to| table.float_softmax(from, *width, to));
            }
            Self::LayerNorm { scale, bias, epsilon, input, output } => {
                let (from, to) = memory.floats_to_floats(*input, *output);
                with.each_row(scale.len(), from, to, |from, to| table.layer_norm(from, scale, bias, *epsilon, to));
            }
            Self::AcrossChannels { norm, input, output } => {
                let (from, to) = memory.floats_to_floats(*input, *output);
                with.across_channels(norm, from, to);
            }
            Self::Pool { pool, input, output } => {
                let (from, to) = memory.floats_to_floats(*input, *output);
                with.float_pool(pool, from, to);
            }
            Self::Concat { parts, stride, output } => {
                let mut first = 0;
                for FloatPart { input, width } in parts {
                    let (from, to) = memory.floats_to_floats(*input, *output);
                    let rows = to.chunks_exact_mut((*stride).max(1)).zip(from.chunks_exact((*width).max(1)));
                    rows.for_each(|(to, from)| to[first..first + width].copy_from_slice(from));
                    first += width;
                }
            }
            Self::Cut { stride, first, width, input, output } => {
                let (from, to) = memory.floats_to_floats(*input, *output);
                let rows = to.chunks_exact_mut((*width).max(1)).zip(from.chunks_exact((*stride).max(1)));
                rows.for_each(|(to, from)| to.copy_from_slice(&from[*first..first + width]));
            }
            Self::Pad { place, channels, value, input, output } => {
                let (from, to) = memory.floats_to_floats(*input, *output);
                pad(place, *channels, *value, from, to);
            }
        }
    }
}

fn pad(place: &Window, channels: usize, value: f32, input: &[f32], output: &mut [f32]) {
    output.fill(value);
    let [lines, columns] = place.input;
    let line = columns * channels;
    let images =
        input.chunks_exact(lines * line).zip(output.chunks_exact_mut(place.output[0] * place.output[1] * channels));
    for (image, output) in images {
        for (number, from) in image.chunks_exact(line).enumerate() {
            let at = ((number + place.pad[0]) * place.output[1] + place.pad[1]) * channels;
            output[at..at + line].copy_from_slice(from);
        }
    }
}
