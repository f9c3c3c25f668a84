//! Float convolutions of every grouping.

use std::ops::Range;

use super::dense::{FloatWeight, PackedFloats};
use super::depthwise::{FloatDepthwiseRun, PackedFloatDepthwise};
use super::tiles::{self, FloatOutput};
use crate::error::expect_length;
use crate::reading::Reading;
use crate::rows::Rows;
use crate::{ConvolutionShape, KernelError, Scratch, Table, WeightOrder, Window};

/// Bytes of input that one pass over the weights takes: they stay in the second-level cache.
const BLOCK_BYTES: usize = 256 << 10;

/// What is fused behind the sums of a layer, after whatever is added to them: bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloatEnd {
    pub(crate) low: f32,
    pub(crate) high: f32,
}

impl Default for FloatEnd {
    /// No bounds.
    fn default() -> Self {
        Self { low: f32::NEG_INFINITY, high: f32::INFINITY }
    }
}

impl FloatEnd {
    /// Holds the result between two more bounds, of which the first is not above the second.
    pub fn bound(&mut self, low: f32, high: f32) {
        *self = Self { low: self.low.max(low).min(high), high: self.high.min(high).max(low) };
    }

    /// Whether there are bounds.
    pub fn is_bounded(&self) -> bool {
        self.low > f32::NEG_INFINITY || self.high < f32::INFINITY
    }
}

/// A float convolution that is ready to run.
#[derive(Debug)]
pub struct FloatConvolution {
    window: Window,
    shape: ConvolutionShape,
    work: Work,
    end: FloatEnd,
    table: &'static Table,
}

#[derive(Debug)]
enum Work {
    /// One matrix a group.
    Dense(Vec<PackedFloats>, Reading),
    Depthwise(PackedFloatDepthwise),
}

impl FloatConvolution {
    /// Packs a convolution.
    ///
    /// `weights` are in ONNX's order: output channel, input channel of the group, kernel row, kernel column.
    /// `bias` is one an output channel, or empty.
    pub fn new<W: FloatWeight>(
        table: &'static Table,
        window: Window,
        shape: ConvolutionShape,
        weights: &[W],
        bias: &[f32],
    ) -> Result<Self, KernelError> {
        window.check()?;
        let groups = shape.groups.max(1);
        let (inputs, outputs) = (shape.input_channels / groups, shape.output_channels / groups);
        expect_length("the number of input channels", shape.input_channels, inputs * groups)?;
        expect_length("the number of output channels", shape.output_channels, outputs * groups)?;
        let taps = window.taps();
        let depth = taps.saturating_mul(inputs);
        expect_length("the number of weights", weights.len(), depth.saturating_mul(shape.output_channels))?;
        if !bias.is_empty() {
            expect_length("the length of the bias", bias.len(), shape.output_channels)?;
        }
        let work = if shape.is_depthwise() {
            Work::Depthwise(PackedFloatDepthwise::new(table, weights, taps, bias))
        } else {
            let piece = if Reading::taps_together(&window, groups) { window.kernel[1] * inputs } else { inputs };
            let group = |group: usize| {
                let columns = group * outputs..(group + 1) * outputs;
                let own = &weights[columns.start * depth..columns.end * depth];
                let bias = if bias.is_empty() { bias } else { &bias[columns] };
                PackedFloats::new(table, own, WeightOrder::Filters(taps), (depth, piece, outputs), bias)
            };
            let reading = Reading::new(&window, shape.input_channels, groups);
            Work::Dense((0..groups).map(group).collect::<Result<_, _>>()?, reading)
        };
        Ok(Self { window, shape: ConvolutionShape { groups, ..shape }, work, end: FloatEnd::default(), table })
    }

    /// What is fused behind the sums.
    pub fn end(&self) -> FloatEnd {
        self.end
    }

    /// The same, to be changed.
    pub fn end_mut(&mut self) -> &mut FloatEnd {
        &mut self.end
    }

    /// Elements of one input image.
    pub fn input_length(&self) -> usize {
        self.window.input_pixels() * self.shape.input_channels
    }

    /// Elements of one output image.
    pub fn output_length(&self) -> usize {
        self.window.output_pixels() * self.shape.output_channels
    }

    /// Bytes held in memory.
    pub fn bytes(&self) -> usize {
        match &self.work {
            Work::Dense(groups, _) => groups.iter().map(PackedFloats::bytes).sum(),
            Work::Depthwise(packed) => packed.bytes(),
        }
    }

    /// Products of one image.
    pub fn products(&self) -> usize {
        let ConvolutionShape { input_channels, output_channels, groups } = self.shape;
        self.window.output_pixels() * output_channels * self.window.taps() * input_channels / groups
    }

    /// Whether every channel has one filter of its own; then a product takes about three times as long.
    pub fn is_depthwise(&self) -> bool {
        matches!(self.work, Work::Depthwise(_))
    }

    /// Lines of one output image.
    pub fn lines(&self) -> usize {
        self.window.output[0]
    }

    /// Convolves whole images, as many as `input` has. `added`, as large as the output, is added to the sums.
    pub fn run(&self, input: &[f32], added: Option<&[f32]>, scratch: &mut Scratch, output: &mut [f32]) {
        let length = self.output_length().max(1);
        let images = input.chunks_exact(self.input_length().max(1)).zip(output.chunks_exact_mut(length));
        for (number, (input, output)) in images.enumerate() {
            let added = added.map(|added| &added[number * length..]);
            self.run_lines(input, added, 0..self.window.output[0], scratch, output);
        }
    }

    /// Convolves lines `lines` of one image's output, which are all that `output` and `added` have.
    pub fn run_lines(
        &self,
        input: &[f32],
        added: Option<&[f32]>,
        lines: Range<usize>,
        scratch: &mut Scratch,
        output: &mut [f32],
    ) {
        match &self.work {
            Work::Depthwise(packed) => {
                let run =
                    FloatDepthwiseRun { packed, window: &self.window, lines, input, added, end: self.end, output };
                (self.table.float.depthwise)(run);
            }
            Work::Dense(groups, reading) => {
                let line = self.window.output[1] * self.shape.output_channels;
                let own = self.window.stride[0] * self.window.input[1] * self.shape.input_channels * 4;
                let block = (BLOCK_BYTES / own.max(1)).max(1);
                for first in lines.clone().step_by(block) {
                    let here = first..(first + block).min(lines.end);
                    let at = (first - lines.start) * line;
                    let over = groups.first().map_or(0, |packed| packed.piece);
                    let patches = &mut scratch.float_patches;
                    let rows = reading.rows(&self.window, over, 0.0, input, here, patches);
                    self.run_groups(groups, rows, added.map(|added| &added[at..]), &mut output[at..]);
                }
            }
        }
    }

    fn run_groups(&self, groups: &[PackedFloats], rows: Rows<'_, f32>, added: Option<&[f32]>, output: &mut [f32]) {
        let stride = self.shape.output_channels;
        let (inputs, outputs) = (self.shape.input_channels / groups.len().max(1), stride / groups.len().max(1));
        for (group, packed) in groups.iter().enumerate() {
            let rows = Rows { input: &rows.input[group * inputs..], ..rows };
            let mut output = FloatOutput {
                data: &mut output[group * outputs..],
                stride,
                added: added.map(|added| &added[group * outputs..]),
                low: self.end.low,
                high: self.end.high,
            };
            let kernel = &self.table.float;
            tiles::run((&kernel.shape, kernel.tile), packed.panels(), &rows, &mut output);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::floats::lanes::tests::{assert_close, random};
    use crate::table::every_available;

    struct Case {
        window: Window,
        shape: ConvolutionShape,
        images: usize,
        weights: Vec<f32>,
        bias: Vec<f32>,
        input: Vec<f32>,
        added: Option<Vec<f32>>,
    }

    impl Case {
        fn new(window: Window, shape: ConvolutionShape, images: usize, seed: u64) -> Self {
            let mut next = random(seed);
            let mut many = |count: usize| (0..count).map(|_| next()).collect::<Vec<f32>>();
            Self {
                weights: many(shape.output_channels * shape.input_channels / shape.groups * window.taps()),
                bias: many(shape.output_channels),
                input: many(images * window.input_pixels() * shape.input_channels),
                added: seed.is_multiple_of(2).then(|| many(images * window.output_pixels() * shape.output_channels)),
                window,
                shape,
                images,
            }
        }

        /// Every product in turn, in f64, held between -1 and 6.
        fn expected(&self) -> Vec<f64> {
            let ConvolutionShape { input_channels, output_channels, groups } = self.shape;
            let (inputs, outputs, taps) = (input_channels / groups, output_channels / groups, self.window.taps());
            let mut output = Vec::new();
            for image in self.input.chunks_exact(self.window.input_pixels() * input_channels) {
                for pixel in 0..self.window.output_pixels() {
                    for channel in 0..output_channels {
                        let mut sum = f64::from(self.bias[channel]);
                        let position = [pixel / self.window.output[1], pixel % self.window.output[1]];
                        self.window.for_each_tap(position, |tap, place| {
                            for input in 0..inputs {
                                let x = image[place * input_channels + channel / outputs * inputs + input];
                                sum += f64::from(x) * f64::from(self.weights[(channel * inputs + input) * taps + tap]);
                            }
                        });
                        sum += self.added.as_ref().map_or(0.0, |added| f64::from(added[output.len()]));
                        output.push(sum.clamp(-1.0, 6.0));
                    }
                }
            }
            output
        }

        /// Holds every instruction set to it, whole and two lines at a time.
        fn check(&self) {
            let expected = self.expected();
            for table in every_available() {
                let name = table.isa.name();
                let mut convolution =
                    FloatConvolution::new(table, self.window.clone(), self.shape, &self.weights, &self.bias).unwrap();
                convolution.end_mut().bound(-1.0, 6.0);
                let length = convolution.output_length();
                let (mut whole, mut scratch) = (vec![f32::NAN; length * self.images], Scratch::new());
                convolution.run(&self.input, self.added.as_deref(), &mut scratch, &mut whole);
                assert_close(&whole, &expected, name);
                let mut parts = vec![f32::NAN; length];
                let line = length / convolution.lines();
                for (number, part) in parts.chunks_mut(line * 2).enumerate() {
                    let lines = 2 * number..2 * number + part.len() / line;
                    let added = self.added.as_ref().map(|added| &added[2 * number * line..]);
                    convolution.run_lines(&self.input[..convolution.input_length()], added, lines, &mut scratch, part);
                }
                assert_close(&parts, &expected[..length], name);
            }
        }
    }

    fn window(input: [usize; 2], kernel: usize, stride: usize, dilation: usize, pad: usize) -> Window {
        let size = |size: usize| (size + 2 * pad).saturating_sub((kernel - 1) * dilation + 1) / stride + 1;
        Window {
            input,
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [dilation; 2],
            pad: [pad; 2],
            output: input.map(size),
        }
    }

    proptest! {
        #[test]
        fn every_grouping_is_the_sum_of_its_products(
            groups in 1usize..5, inputs in 1usize..6, outputs in 1usize..40, height in 1usize..7, width in 1usize..17,
            kernel in 1usize..4, stride in 1usize..3, dilation in 1usize..3, pad in 0usize..3, images in 1usize..3,
            seed in any::<u64>()
        ) {
            let shape = ConvolutionShape { input_channels: groups * inputs, output_channels: groups * outputs, groups };
            Case::new(window([height, width], kernel, stride, dilation, pad), shape, images, seed).check();
        }

        #[test]
        fn every_depthwise_window_is_the_sum_of_its_products(
            channels in 2usize..70, height in 1usize..7, width in 1usize..23, kernel in 1usize..6, stride in 1usize..4,
            dilation in 1usize..3, pad in 0usize..3, seed in any::<u64>()
        ) {
            let shape = ConvolutionShape { input_channels: channels, output_channels: channels, groups: channels };
            Case::new(window([height, width], kernel, stride, dilation, pad), shape, 1, seed).check();
        }
    }
}
