//! Convolutions of every grouping, on the kernels of one table.

use crate::depthwise::DepthwiseRun;
use crate::error::expect_length;
use crate::scratch::room;
use crate::{
    DenseWeights, DepthwiseWeights, KernelError, Output, PackedDense, PackedDepthwise, Requantization, Scratch, Table,
    Window,
};

/// Bytes of patches gathered at once.
const PATCH_BYTES: usize = 32 << 10;

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

/// The quantization of a convolution's output.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputScale {
    /// Scale of the input.
    pub x_scale: f32,
    /// Scale of the weights, one an output channel.
    pub weight_scales: Vec<f32>,
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
    work: Work,
    table: &'static Table,
}

#[derive(Debug)]
enum Work {
    /// One dense kernel a group.
    Dense(Vec<(PackedDense, Requantization)>),
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
        let OutputScale { x_scale, weight_scales, y_scale, zero_point: y_zero_point, bounds } = scale;
        let requantization =
            Requantization::new(*x_scale, weight_scales, *y_scale, *y_zero_point, bounds[0], bounds[1])?;
        requantization.expect_columns(shape.output_channels)?;
        let work = if inputs == 1 && outputs == 1 && groups > 1 {
            let weights = DepthwiseWeights { weights, channels: groups, taps, bias, zero_point };
            Work::Depthwise((table.depthwise.pack)(&weights)?, requantization)
        } else {
            let group = |group: usize| {
                let columns = group * outputs..(group + 1) * outputs;
                let own = channels_last(&weights[columns.start * depth..columns.end * depth], inputs, taps);
                let bias = if bias.is_empty() { bias } else { &bias[columns.clone()] };
                let dense = DenseWeights { weights: &own, depth, columns: outputs, bias, zero_point };
                Ok(((table.dense.pack)(&dense)?, requantization.part(columns)))
            };
            Work::Dense((0..groups).map(group).collect::<Result<_, _>>()?)
        };
        // In range: the packing checked it.
        Ok(Self { window, shape: ConvolutionShape { groups, ..shape }, zero_point: zero_point as u8, work, table })
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
            Work::Dense(groups) => {
                groups.iter().map(|(dense, scale)| dense.bytes() + scale.multipliers.len() * 4).sum()
            }
            Work::Depthwise(depthwise, scale) => depthwise.bytes() + scale.multipliers.len() * 4,
        }
    }

    /// Convolves whole images, as many as `input` has.
    pub fn run(&self, input: &[u8], scratch: &mut Scratch, output: &mut [u8]) {
        let images =
            input.chunks_exact(self.input_bytes().max(1)).zip(output.chunks_exact_mut(self.output_bytes().max(1)));
        for (input, output) in images {
            match &self.work {
                Work::Depthwise(packed, requantization) => {
                    let run = DepthwiseRun { window: &self.window, input, output, requantization };
                    (self.table.depthwise.run)(packed, run, scratch);
                }
                Work::Dense(groups) => self.run_dense(groups, input, scratch, output),
            }
        }
    }

    fn run_dense(
        &self,
        groups: &[(PackedDense, Requantization)],
        input: &[u8],
        scratch: &mut Scratch,
        output: &mut [u8],
    ) {
        let stride = self.shape.output_channels;
        let pixels = self.window.output_pixels();
        if let ([(packed, requantization)], true) = (groups, self.window.is_pointwise()) {
            (self.table.dense.run)(
                packed,
                input,
                pixels,
                scratch,
                Output::Bytes { data: output, stride, requantization },
            );
            return;
        }
        let (inputs, outputs) = (self.shape.input_channels / groups.len(), stride / groups.len());
        let depth = inputs * self.window.taps();
        let block = (PATCH_BYTES / depth.max(1)).clamp(1, pixels.max(1));
        // Taken out for the time of the run: the dense kernel has the rest of the scratch.
        let mut patches = std::mem::take(&mut scratch.patches);
        let gathered = room(&mut patches, block * depth);
        for (group, (packed, requantization)) in groups.iter().enumerate() {
            let part = group * inputs..(group + 1) * inputs;
            for first in (0..pixels).step_by(block) {
                let rows = block.min(pixels - first);
                let here = first..first + rows;
                self.window.gather(input, self.shape.input_channels, part.clone(), here, self.zero_point, gathered);
                let data = &mut output[first * stride + group * outputs..];
                let to = Output::Bytes { data, stride, requantization };
                (self.table.dense.run)(packed, &gathered[..rows * depth], rows, scratch, to);
            }
        }
        scratch.patches = patches;
    }
}

/// From output channel, input channel, tap to output channel, tap, input channel.
fn channels_last(weights: &[i8], inputs: usize, taps: usize) -> Vec<i8> {
    let mut ordered = Vec::with_capacity(weights.len());
    for filter in weights.chunks_exact((inputs * taps).max(1)) {
        for tap in 0..taps {
            ordered.extend((0..inputs).map(|channel| filter[channel * taps + tap]));
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::fastest;

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
        let OutputScale { x_scale, weight_scales, y_scale, zero_point, bounds } = &case.scale;
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
                            let weight = case.weights[(channel * inputs + input) * taps + tap];
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
            groups in 1usize..5, inputs in 1usize..4, outputs in 1usize..4, height in 1usize..7, width in 1usize..7,
            kernel in 1usize..4, stride in 1usize..3, dilation in 1usize..3, pad in 0usize..3, images in 1usize..3,
            zero_point in 0i32..=255, seed in any::<u64>()
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
                bias: (0..shape.output_channels).map(|_| i32::from(next()) * 20 - 2_000).collect(),
                input: (0..images * height * width * shape.input_channels).map(|_| next()).collect(),
                scale: OutputScale {
                    x_scale: 0.02,
                    weight_scales: (0..shape.output_channels).map(|_| 0.001 + f32::from(next()) * 1e-4).collect(),
                    y_scale: 0.05, zero_point: 99, bounds: [20, 240],
                },
                window, shape, zero_point,
            };
            let convolution = Convolution::new(
                fastest(), case.window.clone(), shape, &case.weights, &case.bias, zero_point, &case.scale).unwrap();
            let mut output = vec![0; convolution.output_bytes() * images];
            convolution.run(&case.input, &mut Scratch::new(), &mut output);
            prop_assert_eq!(output, expected(&case));
        }
    }
}
