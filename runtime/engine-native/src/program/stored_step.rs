//! The steps of a program on quantized rows and on functions of bytes.

use runtime_kernels::{Broadcast, LayerNorm, NearestResize, Pairwise, Product, StoredSoftmax};

use super::{BufferId, Memory, Workers};

/// Products with packed weights that take as long as one whose matrix is packed for it.
const PRODUCT_COST: usize = 3;
/// Bytes of rows below which normalizing them is faster on one thread.
const ROW_BYTES_MIN: usize = 16 << 10;

/// One step. Everything that can be known before running is in it.
#[derive(Debug)]
pub(crate) enum StoredStep {
    Product {
        product: Box<Product>,
        a: BufferId,
        b: BufferId,
        output: BufferId,
    },
    Pairwise {
        pairwise: Box<Pairwise>,
        shape: Box<Broadcast>,
        a: BufferId,
        b: BufferId,
        output: BufferId,
    },
    Softmax {
        softmax: Box<StoredSoftmax>,
        input: BufferId,
        output: BufferId,
    },
    SoftmaxToFloats {
        softmax: Box<StoredSoftmax>,
        input: BufferId,
        output: BufferId,
    },
    LayerNorm {
        norm: Box<LayerNorm>,
        input: BufferId,
        output: BufferId,
    },
    LayerNormToFloats {
        norm: Box<LayerNorm>,
        input: BufferId,
        output: BufferId,
    },
    /// A float for each byte.
    LookupFloats {
        values: Box<[f32; 256]>,
        input: BufferId,
        output: BufferId,
    },
    Resize {
        resize: Box<NearestResize>,
        input: BufferId,
        output: BufferId,
    },
}

impl StoredStep {
    /// Buffers read and the one written, for the planner.
    pub(crate) fn buffers(&self) -> (Vec<BufferId>, BufferId) {
        match self {
            Self::Product { a, b, output, .. } | Self::Pairwise { a, b, output, .. } => (vec![*a, *b], *output),
            Self::Softmax { input, output, .. }
            | Self::SoftmaxToFloats { input, output, .. }
            | Self::LayerNorm { input, output, .. }
            | Self::LayerNormToFloats { input, output, .. }
            | Self::LookupFloats { input, output, .. }
            | Self::Resize { input, output, .. } => (vec![*input], *output),
        }
    }

    /// About as many products of bytes take as long as one run.
    pub(crate) fn products(&self) -> usize {
        match self {
            Self::Product { product, .. } => product.products() * PRODUCT_COST,
            _ => 0,
        }
    }

    /// Bytes of tables that the step holds.
    pub(crate) fn weight_bytes(&self) -> usize {
        match self {
            Self::Product { product, .. } => product.bytes(),
            Self::Pairwise { .. } | Self::Resize { .. } => 0,
            Self::Softmax { softmax, .. } | Self::SoftmaxToFloats { softmax, .. } => softmax.bytes(),
            Self::LayerNorm { norm, .. } | Self::LayerNormToFloats { norm, .. } => norm.bytes(),
            Self::LookupFloats { .. } => 256 * 4,
        }
    }

    /// Runs the step for one sample.
    pub(crate) fn run(&self, with: &mut Workers<'_>, memory: &mut Memory) {
        let table = with.table;
        match self {
            Self::Product { product, a, b, output } => {
                let ([a, b], to) = memory.read_write([*a, *b], *output);
                let (parts, length) = product.parts();
                // One part a thread: each packs the matrices that it needs.
                let whole = with.part(parts, self.products()) >= parts;
                let part = if whole { parts } else { parts.div_ceil(with.team.size()) };
                with.team.share(with.scratches, to, (part * length).max(1), |scratch, number, to| {
                    let first = number * part;
                    product.run_parts(first..(first + part).min(parts), [a, b], scratch, to);
                });
            }
            Self::Pairwise { pairwise, shape, a, b, output } => {
                let (sides, to) = memory.read_write([*a, *b], *output);
                table.pairwise(pairwise, shape, sides, to);
            }
            Self::Softmax { softmax, input, output } => {
                let ([from], to) = memory.read_write([*input], *output);
                let part = part(with, to.len(), softmax.width());
                with.team.share(with.scratches, to, part, |scratch, number, to| {
                    table.stored_softmax(softmax, &from[number * part..][..to.len()], scratch, to);
                });
            }
            Self::SoftmaxToFloats { softmax, input, output } => {
                let (from, to) = memory.read_write_floats(*input, *output);
                table.stored_softmax_floats(softmax, from, to);
            }
            Self::LayerNorm { norm, input, output } => {
                let ([from], to) = memory.read_write([*input], *output);
                let part = part(with, to.len(), norm.width());
                with.team.share(with.scratches, to, part, |_, number, to| {
                    table.stored_layer_norm(norm, &from[number * part..][..to.len()], to);
                });
            }
            Self::LayerNormToFloats { norm, input, output } => {
                let (from, to) = memory.read_write_floats(*input, *output);
                table.stored_layer_norm_floats(norm, from, to);
            }
            Self::LookupFloats { values, input, output } => {
                let (from, to) = memory.read_write_floats(*input, *output);
                to.iter_mut().zip(from).for_each(|(to, &byte)| *to = values[usize::from(byte)]);
            }
            Self::Resize { resize, input, output } => {
                let ([from], to) = memory.read_write([*input], *output);
                resize.run(from, to);
            }
        }
    }
}

/// Bytes of whole rows that one part of `length` has.
fn part(with: &Workers<'_>, length: usize, width: usize) -> usize {
    let width = width.max(1);
    if with.team.size() == 1 || length < ROW_BYTES_MIN {
        return length.max(1);
    }
    (length / width).div_ceil(with.team.size()).max(1) * width
}
