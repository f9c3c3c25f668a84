//! Windows over an image.

use super::{ScaledWeights, Scaling};
use crate::grouped::{self, Grouped};
use crate::{Affine, ConvolutionShape, KernelError, Output, Scratch, Table, Window};

/// A convolution over an input that is quantized at run time. One whose channels have one filter each is a
/// [`FloatConvolution`](crate::FloatConvolution) of integers instead: see [`DynamicConvolution::takes`].
#[derive(Debug)]
pub struct DynamicConvolution {
    window: Window,
    shape: ConvolutionShape,
    grouped: Grouped,
    scaling: Scaling,
    table: &'static Table,
}

impl DynamicConvolution {
    /// Whether channels meet in it. Where they do not, sums are short, and floats that are integers hold them exactly.
    pub fn takes(shape: &ConvolutionShape) -> bool {
        !shape.is_depthwise()
    }

    /// `weights` are in ONNX's order: output channel, input channel of the group, kernel row, kernel column. Columns
    /// are output channels.
    pub fn new(
        table: &'static Table,
        window: Window,
        shape: ConvolutionShape,
        weights: &ScaledWeights<'_>,
    ) -> Result<Self, KernelError> {
        grouped::check(&window, &shape, weights.values.len(), Some(weights.scales.len()))?;
        let depth = weights.values.len().checked_div(shape.output_channels).unwrap_or(0);
        let scaling = Scaling::new(weights, depth)?;
        let grouped = Grouped::new(table, &window, &shape, weights.values, &[], 0, 0)?;
        Ok(Self { window, shape, grouped, scaling, table })
    }

    /// What follows the sums.
    pub fn scaling_mut(&mut self) -> &mut Scaling {
        &mut self.scaling
    }

    /// Elements of one line of the output.
    pub fn line_length(&self) -> usize {
        self.window.output[1] * self.shape.output_channels
    }

    /// Products of one image.
    pub fn products(&self) -> usize {
        let ConvolutionShape { input_channels, output_channels, groups } = self.shape;
        self.window.output_pixels() * output_channels * self.window.taps() * input_channels / groups.max(1)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.grouped.bytes() + self.scaling.bytes()
    }

    /// Convolves the lines that `output` has, `first` being the number of its first one, counted through all images
    /// of `input`, which `x` quantized.
    pub fn run_lines(&self, input: &[u8], x: &Affine, first: usize, scratch: &mut Scratch, output: &mut [f32]) {
        let image_bytes = self.window.input_pixels() * self.shape.input_channels;
        let stride = self.shape.output_channels;
        self.scaling.at(x, scratch, |scaled, scratch| {
            self.window.for_each_image(first, self.line_length(), output, |image, lines, here| {
                let input = &input[image * image_bytes..(image + 1) * image_bytes];
                let zero_point = x.zero_point.clamp(0, 255) as u8;
                self.grouped.run(&self.window, input, zero_point, lines, scratch, |block, scratch| {
                    let data = &mut here[block.at + block.channel..];
                    let (table, packed, rows) = (self.table, block.packed, &block.rows);
                    let scaled = scaled.part(block.channel, packed.columns);
                    scaled.with_row_sums(table, rows, packed.piece, scratch, |scaled, scratch| {
                        let to = Output::Scaled { data, stride, scaled, table };
                        (table.dense.run)(packed, rows, scratch, to);
                    });
                });
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::WeightOrder;
    use crate::table::every_available;

    struct Case {
        window: Window,
        shape: ConvolutionShape,
        weights: Vec<i8>,
        offsets: Vec<i32>,
        scales: Vec<f32>,
        bias: Vec<f32>,
        input: Vec<u8>,
        x: Affine,
    }

    impl Case {
        /// The definition: every product in turn.
        fn expected(&self) -> Vec<f32> {
            let ConvolutionShape { input_channels, output_channels, groups } = self.shape;
            let (inputs, outputs, taps) = (input_channels / groups, output_channels / groups, self.window.taps());
            let mut output = Vec::new();
            for image in self.input.chunks_exact(self.window.input_pixels() * input_channels) {
                for pixel in 0..self.window.output_pixels() {
                    for channel in 0..output_channels {
                        let mut sum = 0;
                        let position = [pixel / self.window.output[1], pixel % self.window.output[1]];
                        self.window.for_each_tap(position, |tap, place| {
                            for input in 0..inputs {
                                let x = image[place * input_channels + channel / outputs * inputs + input];
                                let weight = i32::from(self.weights[(channel * inputs + input) * taps + tap]);
                                let offset = self.offsets.get(channel).unwrap_or(&0);
                                sum += (i32::from(x) - self.x.zero_point) * (weight + offset);
                            }
                        });
                        output.push(sum as f32 * (self.x.scale * self.scales[channel]) + self.bias[channel]);
                    }
                }
            }
            output
        }
    }

    proptest! {
        #[test]
        fn every_grouping_gives_the_same_floats(
            groups in 1usize..5, inputs in 1usize..6, outputs in 1usize..40, height in 1usize..7, width in 1usize..17,
            kernel in 1usize..4, stride in 1usize..3, dilation in 1usize..3, pad in 0usize..3, images in 1usize..3,
            zero_point in 0i32..=255, seed in any::<u64>(), has_offsets in any::<bool>()
        ) {
            let mut state = seed;
            let mut next = || { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); (state >> 40) as u8 };
            let size = |size: usize| (size + 2 * pad).saturating_sub((kernel - 1) * dilation + 1) / stride + 1;
            let window = Window {
                input: [height, width], kernel: [kernel, kernel], stride: [stride, stride],
                dilation: [dilation, dilation], pad: [pad, pad], output: [size(height), size(width)],
            };
            let shape = ConvolutionShape { input_channels: groups * inputs, output_channels: groups * outputs, groups };
            let case = Case {
                weights: (0..shape.output_channels * inputs * kernel * kernel).map(|_| next() as i8).collect(),
                scales: (0..shape.output_channels).map(|_| 0.001 + f32::from(next()) * 1e-4).collect(),
                bias: (0..shape.output_channels).map(|_| f32::from(next()) - 100.0).collect(),
                input: (0..images * height * width * shape.input_channels).map(|_| next()).collect(),
                offsets: (0..if has_offsets { shape.output_channels } else { 0 })
                    .map(|_| 128 - i32::from(next()))
                    .collect(),
                x: Affine { scale: 0.02, zero_point, signed: false },
                window, shape,
            };
            let expected = case.expected();
            for table in every_available() {
                let weights =
                    ScaledWeights { values: &case.weights, order: WeightOrder::Columns, offsets: &case.offsets, scales: &case.scales };
                let mut convolution =
                    DynamicConvolution::new(table, case.window.clone(), shape, &weights).unwrap();
                convolution.scaling_mut().add_bias(&case.bias).unwrap();
                let (mut whole, mut scratch) = (vec![f32::NAN; expected.len()], Scratch::new());
                convolution.run_lines(&case.input, &case.x, 0, &mut scratch, &mut whole);
                prop_assert_eq!(&whole, &expected, "{}", table.isa.name());
                let mut parts = vec![f32::NAN; expected.len()];
                for (number, part) in parts.chunks_mut(convolution.line_length() * 2).enumerate() {
                    convolution.run_lines(&case.input, &case.x, 2 * number, &mut scratch, part);
                }
                prop_assert_eq!(&parts, &expected, "{} in parts", table.isa.name());
            }
        }
    }
}
