//! Convolutions whose channels meet: rows times weights for each group, over windows of an image.

use std::ops::Range;

use crate::dense::{PackedDense, offset_bias};
use crate::error::expect_length;
use crate::reading::Reading;
use crate::rows::Rows;
use crate::{ConvolutionShape, DenseWeights, KernelError, Scratch, Table, WeightOrder, Window};

/// Bytes of input that one pass over the weights takes: they stay in the second-level cache.
const BLOCK_BYTES: usize = 64 << 10;

/// One dense kernel a group.
#[derive(Debug)]
pub(crate) struct Grouped {
    groups: Vec<PackedDense>,
    reading: Reading,
    /// Elements of the input, and of the output, from pixel to pixel.
    channels: [usize; 2],
}

/// A block of rows of one group.
pub(crate) struct Block<'a> {
    pub(crate) packed: &'a PackedDense,
    pub(crate) rows: Rows<'a>,
    /// The first of the group's channels in a pixel of the output.
    pub(crate) channel: usize,
    /// Elements of the output before the block's first pixel, from the first line that was asked for.
    pub(crate) at: usize,
}

/// Checks that weights, bias and channels fit each other.
pub(crate) fn check(
    window: &Window,
    shape: &ConvolutionShape,
    weights: usize,
    bias: Option<usize>,
) -> Result<(), KernelError> {
    window.check()?;
    let groups = shape.groups.max(1);
    let (inputs, outputs) = (shape.input_channels / groups, shape.output_channels / groups);
    expect_length("the number of input channels", shape.input_channels, inputs * groups)?;
    expect_length("the number of output channels", shape.output_channels, outputs * groups)?;
    let depth = window.taps().saturating_mul(inputs);
    expect_length("the number of weights", weights, depth.saturating_mul(shape.output_channels))?;
    match bias {
        Some(bias) => expect_length("the length of the bias", bias, shape.output_channels),
        None => Ok(()),
    }
}

impl Grouped {
    /// Packs weights in ONNX's order, which are `offset` less than the model's. `bias` is one an output channel, or empty.
    pub(crate) fn new(
        table: &'static Table,
        window: &Window,
        shape: &ConvolutionShape,
        weights: &[i8],
        bias: &[i32],
        zero_point: i32,
        offset: i32,
    ) -> Result<Self, KernelError> {
        let groups = shape.groups.max(1);
        let (inputs, outputs, taps) = (shape.input_channels / groups, shape.output_channels / groups, window.taps());
        let depth = taps * inputs;
        let piece = if Reading::taps_together(window, groups) { window.kernel[1] * inputs } else { inputs };
        let group = |group: usize| {
            let columns = group * outputs..(group + 1) * outputs;
            let weights = &weights[columns.start * depth..columns.end * depth];
            let bias = if bias.is_empty() { bias } else { &bias[columns] };
            let order = WeightOrder::Filters(taps);
            let dense = DenseWeights { weights, order, depth, piece, columns: outputs, bias, zero_point };
            let bias = offset_bias(&dense, offset)?;
            (table.dense.pack)(&DenseWeights { bias: &bias, ..dense })
        };
        let groups = (0..groups).map(group).collect::<Result<_, _>>()?;
        let reading = Reading::new(window, shape.input_channels, shape.groups.max(1));
        Ok(Self { groups, reading, channels: [shape.input_channels, shape.output_channels] })
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.groups.iter().map(PackedDense::bytes).sum()
    }

    /// Gives `run` the rows of lines `lines` of one image's output, a block of one group at a time. What lies outside
    /// of the image is `zero_point`.
    pub(crate) fn run(
        &self,
        window: &Window,
        input: &[u8],
        zero_point: u8,
        lines: Range<usize>,
        scratch: &mut Scratch,
        mut run: impl FnMut(Block<'_>, &mut Scratch),
    ) {
        let [inputs, outputs] = self.channels.map(|channels| channels / self.groups.len().max(1));
        let line = window.output[1] * self.channels[1];
        let own = window.stride[0] * window.input[1] * self.channels[0];
        let block = (BLOCK_BYTES / own.max(1)).max(1);
        // Taken out for the time of the run: the dense kernel has the rest of the scratch.
        let mut patches = std::mem::take(&mut scratch.patches);
        for first in lines.clone().step_by(block) {
            let here = first..(first + block).min(lines.end);
            // Groups may be packed differently, each as its weights allow.
            let over = self.groups.iter().map(PackedDense::piece_read).max().unwrap_or(0);
            let rows = self.reading.rows(window, over, zero_point, input, here, &mut patches);
            for (group, packed) in self.groups.iter().enumerate() {
                let rows = Rows { input: &rows.input[group * inputs..], ..rows };
                run(Block { packed, rows, channel: group * outputs, at: (first - lines.start) * line }, scratch);
            }
        }
        scratch.patches = patches;
    }
}
