//! Convolutions of every grouping, on the kernels of one table.

use std::ops::Range;

use crate::dense::with_shifts;
use crate::depthwise::{DepthwiseRun, PackedDepthwise};
use crate::error::expect_length;
use crate::grouped::{self, Grouped};
use crate::{DepthwiseWeights, KernelError, Output, Requantization, Scratch, Table, Window};

/// Shape of a convolution's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvolutionShape {
    /// Channels of the input.
    pub input_channels: usize,
    /// Channels of the output.
    pub output_channels: usize,
    /// Groups; both channel counts are multiples of it.
    pub groups: usize,
}

impl ConvolutionShape {
    /// Whether there are as many groups as channels: one filter each, and kernels of their own.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.input_channels == self.groups && self.output_channels == self.groups
    }
}

/// The quantization of a convolution's output.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputScale {
    /// Scale of the input.
    pub x_scale: f32,
    /// Scale of the weights, one an output channel.
    pub weight_scales: Vec<f32>,
    /// What the model's weights are more than those given: 128 less the zero point of unsigned ones. 0 where every
    /// channel has one filter of its own.
    pub weight_offset: i32,
    /// Scale of the output.
    pub y_scale: f32,
    /// Zero point of the output as stored.
    pub zero_point: i32,
    /// Smallest and largest stored output: a fused activation.
    pub bounds: [u8; 2],
}

/// A convolution that is ready to run.
#[derive(Debug)]
pub struct Convolution {
    window: Window,
    shape: ConvolutionShape,
    zero_point: u8,
    offset: i32,
    work: Work,
    table: &'static Table,
}

#[derive(Debug)]
enum Work {
    /// With one scale a group.
    Grouped(Grouped, Vec<Requantization>),
    Depthwise(PackedDepthwise, Requantization),
}

impl Convolution {
    /// Packs a convolution.
    ///
    /// `weights` are in ONNX's order: output channel, input channel of the group, kernel row, kernel column.
    /// `bias` is one an output channel, or empty; `zero_point` is the input's as stored.
    pub fn new(
        table: &'static Table,
        window: Window,
        shape: ConvolutionShape,
        weights: &[i8],
        bias: &[i32],
        zero_point: i32,
        scale: &OutputScale,
    ) -> Result<Self, KernelError> {
        grouped::check(&window, &shape, weights.len(), if bias.is_empty() { None } else { Some(bias.len()) })?;
        let groups = shape.groups.max(1);
        let OutputScale { x_scale, weight_scales, weight_offset, y_scale, zero_point: y_zero_point, bounds } = scale;
        let requantization =
            Requantization::new(*x_scale, weight_scales, *y_scale, *y_zero_point, bounds[0], bounds[1])?;
        requantization.expect_columns(shape.output_channels)?;
        let work = if shape.is_depthwise() {
            let found = weight_offset.unsigned_abs() as usize;
            expect_length("the offset of weights of one filter a channel", found, 0)?;
            let (taps, width) = (window.taps(), window.kernel[1]);
            let weights = DepthwiseWeights { weights, channels: groups, taps, width, bias, zero_point };
            Work::Depthwise((table.depthwise.pack)(&weights)?, requantization)
        } else {
            let outputs = shape.output_channels / groups;
            let scales = (0..groups).map(|group| requantization.part(group * outputs..(group + 1) * outputs));
            let grouped = Grouped::new(table, &window, &shape, weights, bias, zero_point, *weight_offset)?;
            Work::Grouped(grouped, scales.collect())
        };
        // In range: the packing checked it.
        let (shape, zero_point) = (ConvolutionShape { groups, ..shape }, zero_point as u8);
        Ok(Self { window, shape, zero_point, offset: *weight_offset, work, table })
    }

    /// Bytes of one input image.
    pub fn input_bytes(&self) -> usize {
        self.window.input_pixels() * self.shape.input_channels
    }

    /// Bytes of one output image.
    pub fn output_bytes(&self) -> usize {
        self.window.output_pixels() * self.shape.output_channels
    }

    /// Bytes held in memory.
    pub fn bytes(&self) -> usize {
        match &self.work {
            Work::Grouped(grouped, scales) => grouped.bytes() + scales.iter().map(Requantization::bytes).sum::<usize>(),
            Work::Depthwise(depthwise, scale) => depthwise.bytes() + scale.bytes(),
        }
    }

    /// Convolves whole images, as many as `output` has.
    pub fn run(&self, input: &[u8], scratch: &mut Scratch, output: &mut [u8]) {
        self.run_lines(input, 0, scratch, output);
    }

    /// Products of one image.
    pub fn products(&self) -> usize {
        let ConvolutionShape { input_channels, output_channels, groups } = self.shape;
        self.window.output_pixels() * output_channels * self.window.taps() * input_channels / groups
    }

    /// Bytes of one line of the output.
    pub fn line_bytes(&self) -> usize {
        self.window.output[1] * self.shape.output_channels
    }

    /// Convolves the lines that `output` has, `first` being the number of its first one, counted through all images.
    pub fn run_lines(&self, input: &[u8], first: usize, scratch: &mut Scratch, output: &mut [u8]) {
        let bytes = self.input_bytes();
        self.window.for_each_image(first, self.line_bytes(), output, |image, lines, here| {
            self.run_in_image(&input[image * bytes..(image + 1) * bytes], lines, scratch, here);
        });
    }

    /// Lines `lines` of one image, which are all that `output` has.
    fn run_in_image(&self, input: &[u8], lines: Range<usize>, scratch: &mut Scratch, output: &mut [u8]) {
        match &self.work {
            Work::Depthwise(packed, requantization) => {
                let run = DepthwiseRun { window: &self.window, lines, input, output, requantization };
                (self.table.depthwise.run)(packed, run, scratch);
            }
            Work::Grouped(grouped, scales) => {
                let (stride, outputs) = (self.shape.output_channels, self.shape.output_channels / scales.len().max(1));
                grouped.run(&self.window, input, self.zero_point, lines, scratch, |block, scratch| {
                    let requantization = &scales[block.channel / outputs.max(1)];
                    let data = &mut output[block.at + block.channel..];
                    let (table, packed, rows) = (self.table, block.packed, &block.rows);
                    if self.offset == 0 {
                        let to = Output::Bytes { data, stride, requantization };
                        return (table.dense.run)(packed, rows, scratch, to);
                    }
                    with_shifts(table, self.offset, rows, packed.piece, scratch, |shifts, scratch| {
                        let to = Output::Shifted { data, stride, requantization, shifts, table };
                        (table.dense.run)(packed, rows, scratch, to);
                    });
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::every_available;

    struct Case {
        window: Window,
        shape: ConvolutionShape,
        weights: Vec<i8>,
        bias: Vec<i32>,
        input: Vec<u8>,
        zero_point: i32,
        scale: OutputScale,
    }

    /// The definition: every product in turn, in i64.
    fn expected(case: &Case) -> Vec<u8> {
        let ConvolutionShape { input_channels, output_channels, groups } = case.shape;
        let (inputs, outputs, taps) = (input_channels / groups, output_channels / groups, case.window.taps());
        let OutputScale { x_scale, weight_scales, weight_offset, y_scale, zero_point, bounds } = &case.scale;
        let requantization =
            Requantization::new(*x_scale, weight_scales, *y_scale, *zero_point, bounds[0], bounds[1]).unwrap();
        let mut output = Vec::new();
        for image in case.input.chunks_exact(case.window.input_pixels() * input_channels) {
            for pixel in 0..case.window.output_pixels() {
                for channel in 0..output_channels {
                    let mut sum = i64::from(case.bias[channel]);
                    let position = [pixel / case.window.output[1], pixel % case.window.output[1]];
                    case.window.for_each_tap(position, |tap, place| {
                        for input in 0..inputs {
                            let x = image[place * input_channels + channel / outputs * inputs + input];
                            let weight =
                                i32::from(case.weights[(channel * inputs + input) * taps + tap]) + weight_offset;
                            sum += (i64::from(x) - i64::from(case.zero_point)) * i64::from(weight);
                        }
                    });
                    output.push(requantization.apply(i32::try_from(sum).unwrap(), channel));
                }
            }
        }
        output
    }

    proptest! {
        #[test]
        fn every_grouping_is_the_sum_of_its_products(
            groups in 1usize..5, inputs in 1usize..6, outputs in 1usize..20, height in 1usize..7, width in 1usize..17,
            kernel in 1usize..4, stride in 1usize..3, dilation in 1usize..3, pad in 0usize..3, images in 1usize..3,
            zero_point in 0i32..=255, seed in any::<u64>(), weight_offset in prop_oneof![Just(0), -127i32..=128]
        ) {
            let mut state = seed;
            let mut next = || { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); (state >> 40) as u8 };
            let size = |size: usize| (size + 2 * pad).saturating_sub((kernel - 1) * dilation + 1) / stride + 1;
            let window = Window {
                input: [height, width], kernel: [kernel, kernel], stride: [stride, stride],
                dilation: [dilation, dilation], pad: [pad, pad], output: [size(height), size(width)],
            };
            let shape = ConvolutionShape { input_channels: groups * inputs, output_channels: groups * outputs, groups };
            let weight_offset = if shape.is_depthwise() { 0 } else { weight_offset };
            let case = Case {
                weights: (0..shape.output_channels * inputs * kernel * kernel).map(|_| next() as i8).collect(),
                bias: (0..shape.output_channels).map(|_| i32::from(next()) * 20 - 2_000).collect(),
                input: (0..images * height * width * shape.input_channels).map(|_| next()).collect(),
                scale: OutputScale {
                    x_scale: 0.02,
                    weight_scales: (0..shape.output_channels).map(|_| 0.001 + f32::from(next()) * 1e-4).collect(),
                    weight_offset,
                    y_scale: 0.05, zero_point: 99, bounds: [20, 240],
                },
                window, shape, zero_point,
            };
            prop_assert_eq!(differing(&case, images), None);
        }

        #[test]
        fn every_depthwise_window_is_the_sum_of_its_products(
            channels in 2usize..150, height in 1usize..7, width in 1usize..9, kernel in 1usize..6, stride in 1usize..3,
            dilation in 1usize..3, pad in 0usize..3, zero_point in 0i32..=255, seed in any::<u64>()
        ) {
            let mut state = seed;
            let mut next = || { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); (state >> 40) as u8 };
            let size = |size: usize| (size + 2 * pad).saturating_sub((kernel - 1) * dilation + 1) / stride + 1;
            let window = Window {
                input: [height, width], kernel: [kernel, kernel], stride: [stride, stride],
                dilation: [dilation, dilation], pad: [pad, pad], output: [size(height), size(width)],
            };
            let case = Case {
                weights: (0..channels * kernel * kernel).map(|_| next() as i8).collect(),
                bias: (0..channels).map(|_| i32::from(next()) * 20 - 2_000).collect(),
                input: (0..height * width * channels).map(|_| next()).collect(),
                scale: OutputScale {
                    x_scale: 0.02,
                    weight_scales: (0..channels).map(|_| 0.001 + f32::from(next()) * 1e-4).collect(),
                    weight_offset: 0,
                    y_scale: 0.05, zero_point: 99, bounds: [20, 240],
                },
                window, zero_point,
                shape: ConvolutionShape { input_channels: channels, output_channels: channels, groups: channels },
            };
            prop_assert_eq!(differing(&case, 1), None);
        }
    }

    /// The first instruction set whose answer is not the definition's, whole or line by line.
    fn differing(case: &Case, images: usize) -> Option<&'static str> {
        let expected = expected(case);
        let differs = |table: &&'static Table| {
            let convolution = Convolution::new(
                table,
                case.window.clone(),
                case.shape,
                &case.weights,
                &case.bias,
                case.zero_point,
                &case.scale,
            );
            let convolution = convolution.unwrap();
            let bytes = convolution.output_bytes();
            let (mut whole, mut scratch) = (vec![0; bytes * images], Scratch::new());
            convolution.run(&case.input, &mut scratch, &mut whole);
            let mut parts = vec![0; bytes * images];
            for (number, part) in parts.chunks_mut(convolution.line_bytes() * 2).enumerate() {
                convolution.run_lines(&case.input, 2 * number, &mut scratch, part);
            }
            whole != expected || parts != expected
        };
        every_available().find(differs).map(|table| table.isa.name())
    }
}
