//! The steps of a program over tensors that are quantized by their own range in every run.

use runtime_kernels::{Affine, DynamicConvolution, DynamicLinear, Scaling};

use super::{BufferId, Memory, Workers};

/// The quantization that a tensor has in this run.
pub(crate) type RangeId = usize;

/// One such step.
#[derive(Debug)]
pub(crate) enum DynamicStep {
    /// Floats become bytes by their own range, which becomes known with it.
    Quantize { input: BufferId, range: RangeId, output: BufferId },
    /// Bytes become their distances from the zero point, as floats.
    Centre { input: BufferId, range: RangeId, output: BufferId },
    /// Windows over bytes.
    Convolve { convolution: Box<DynamicConvolution>, range: RangeId, input: BufferId, output: BufferId },
    /// Rows of bytes times weights.
    Dense { linear: Box<DynamicLinear>, range: RangeId, rows: usize, input: BufferId, output: BufferId },
    /// Sums of such distances become real numbers.
    Scale { scaling: Box<Scaling>, range: RangeId, input: BufferId, output: BufferId },
}

impl DynamicStep {
    /// The buffer read and the one written, for the planner.
    pub(crate) fn buffers(&self) -> (Vec<BufferId>, BufferId) {
        match self {
            Self::Quantize { input, output, .. }
            | Self::Centre { input, output, .. }
            | Self::Convolve { input, output, .. }
            | Self::Dense { input, output, .. }
            | Self::Scale { input, output, .. } => (vec![*input], *output),
        }
    }

    /// What follows the sums, where this step writes results.
    pub(crate) fn scaling_mut(&mut self) -> Option<&mut Scaling> {
        match self {
            Self::Convolve { convolution, .. } => Some(convolution.scaling_mut()),
            Self::Dense { linear, .. } => Some(linear.scaling_mut()),
            Self::Scale { scaling, .. } => Some(scaling),
            Self::Quantize { .. } | Self::Centre { .. } => None,
        }
    }

    /// Bytes of weights that the step holds.
    pub(crate) fn weight_bytes(&self) -> usize {
        match self {
            Self::Convolve { convolution, .. } => convolution.bytes(),
            Self::Dense { linear, .. } => linear.bytes(),
            Self::Scale { scaling, .. } => scaling.bytes(),
            Self::Quantize { .. } | Self::Centre { .. } => 0,
        }
    }

    /// Products of one run.
    pub(crate) fn products(&self) -> usize {
        match self {
            Self::Convolve { convolution, .. } => convolution.products(),
            Self::Dense { linear, rows, .. } => rows * linear.depth() * linear.columns(),
            Self::Quantize { .. } | Self::Centre { .. } | Self::Scale { .. } => 0,
        }
    }

    /// Runs the step for one sample.
    pub(crate) fn run(&self, with: &mut Workers<'_>, memory: &mut Memory) {
        let table = with.table;
        match self {
            Self::Quantize { input, range, output } => {
                let (from, to) = memory.floats_to_bytes(*input, *output);
                let affine = table.dynamic_affine(from);
                table.quantize(from, &affine, to);
                memory.set_range(*range, affine);
            }
            Self::Centre { input, range, output } => {
                let differences = Affine { scale: 1.0, ..memory.range(*range) };
                let (from, to) = memory.read_write_floats(*input, *output);
                table.dequantize(from, &differences, to);
            }
            Self::Convolve { convolution, range, input, output } => {
                let x = memory.range(*range);
                let (from, to) = memory.read_write_floats(*input, *output);
                with.convolve_dynamic(convolution, from, &x, to);
            }
            Self::Dense { linear, range, rows, input, output } => {
                let x = memory.range(*range);
                let (from, to) = memory.read_write_floats(*input, *output);
                with.linear_dynamic(linear, from, &x, *rows, to);
            }
            Self::Scale { scaling, range, input, output } => {
                let x = memory.range(*range);
                let (from, to) = memory.floats_to_floats(*input, *output);
                scaling.run(table, &x, from, &mut with.scratches[0], to);
            }
        }
    }
}

impl Workers<'_> {
    fn convolve_dynamic(&mut self, convolution: &DynamicConvolution, input: &[u8], x: &Affine, output: &mut [f32]) {
        let line = convolution.line_length().max(1);
        let part = self.part(output.len() / line, convolution.products());
        self.team.share(self.scratches, output, part * line, |scratch, number, output| {
            convolution.run_lines(input, x, number * part, scratch, output);
        });
    }

    fn linear_dynamic(&mut self, linear: &DynamicLinear, input: &[u8], x: &Affine, rows: usize, output: &mut [f32]) {
        let (depth, columns) = (linear.depth(), linear.columns().max(1));
        let part = self.part(rows, rows * depth * columns);
        self.team.share(self.scratches, output, part * columns, |scratch, number, output| {
            let rows = output.len() / columns;
            let input = &input[number * part * depth..][..rows * depth];
            linear.run(input, x, rows, scratch, output);
        });
    }
}
