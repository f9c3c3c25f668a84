//! The steps of a program.

use runtime_kernels::{
    Add, Affine, AveragePool, Convolution, GlobalAveragePool, Linear, Lookup, Permutation, Requantization, Window,
    sigmoid, softmax,
};
use runtime_tensor::Tensor;

use super::{BufferId, DynamicStep, FloatStep, Memory, StoredStep, Workers};

/// One input of a concatenation.
#[derive(Debug)]
pub(crate) struct ConcatPart {
    pub(crate) input: BufferId,
    /// Bytes of one row.
    pub(crate) width: usize,
    /// From the part's quantization to the output's; `None` when they are the same.
    pub(crate) lookup: Option<Lookup>,
}

/// One step. Everything that can be known before running is in it.
#[derive(Debug)]
pub(crate) enum Step {
    /// A float input of the model becomes bytes.
    QuantizeInput {
        input: usize,
        affine: Affine,
        output: BufferId,
    },
    /// A byte input of the model, as it is.
    ImportInput {
        input: usize,
        signed: bool,
        output: BufferId,
    },
    /// A float input of the model, as it is.
    ImportFloats {
        input: usize,
        output: BufferId,
    },
    Quantize {
        input: BufferId,
        affine: Affine,
        output: BufferId,
    },
    Dequantize {
        input: BufferId,
        affine: Affine,
        output: BufferId,
    },
    Permute {
        input: BufferId,
        permutation: Permutation,
        output: BufferId,
    },
    PermuteFloats {
        input: BufferId,
        permutation: Permutation,
        output: BufferId,
    },
    Convolve {
        convolution: Box<Convolution>,
        input: BufferId,
        output: BufferId,
    },
    Dense {
        linear: Box<Linear>,
        requantization: Requantization,
        rows: usize,
        input: BufferId,
        output: BufferId,
    },
    DenseToFloats {
        linear: Box<Linear>,
        multipliers: Vec<f32>,
        rows: usize,
        input: BufferId,
        output: BufferId,
    },
    Add {
        add: Add,
        a: BufferId,
        b: BufferId,
        output: BufferId,
    },
    Lookup {
        lookup: Box<Lookup>,
        input: BufferId,
        output: BufferId,
    },
    MaxPool {
        window: Window,
        channels: usize,
        input: BufferId,
        output: BufferId,
    },
    AveragePool {
        pool: Box<AveragePool>,
        input: BufferId,
        output: BufferId,
    },
    GlobalAveragePool {
        pool: Box<GlobalAveragePool>,
        input: BufferId,
        output: BufferId,
    },
    Concat {
        parts: Vec<ConcatPart>,
        stride: usize,
        output: BufferId,
    },
    Softmax {
        width: usize,
        input: BufferId,
        output: BufferId,
    },
    Sigmoid {
        input: BufferId,
        output: BufferId,
    },
    /// Quantized rows and functions of bytes.
    Stored(StoredStep),
    /// Float arithmetic.
    Float(FloatStep),
    /// Over what is quantized at run time.
    Dynamic(DynamicStep),
}

impl Step {
    /// Buffers read and the one written, for the planner.
    pub(crate) fn buffers(&self) -> (Vec<BufferId>, BufferId) {
        match self {
            Self::QuantizeInput { output, .. }
            | Self::ImportInput { output, .. }
            | Self::ImportFloats { output, .. } => (vec![], *output),
            Self::Add { a, b, output, .. } => (vec![*a, *b], *output),
            Self::Stored(step) => step.buffers(),
            Self::Float(step) => step.buffers(),
            Self::Dynamic(step) => step.buffers(),
            Self::Concat { parts, output, .. } => (parts.iter().map(|part| part.input).collect(), *output),
            Self::Quantize { input, output, .. }
            | Self::Dequantize { input, output, .. }
            | Self::Permute { input, output, .. }
            | Self::PermuteFloats { input, output, .. }
            | Self::Convolve { input, output, .. }
            | Self::Dense { input, output, .. }
            | Self::DenseToFloats { input, output, .. }
            | Self::Lookup { input, output, .. }
            | Self::MaxPool { input, output, .. }
            | Self::AveragePool { input, output, .. }
            | Self::GlobalAveragePool { input, output, .. }
            | Self::Softmax { input, output, .. }
            | Self::Sigmoid { input, output } => (vec![*input], *output),
        }
    }

    /// Multiply-accumulates of one sample.
    pub(crate) fn products(&self) -> usize {
        match self {
            Self::Convolve { convolution, .. } => convolution.products(),
            Self::Stored(step) => step.products(),
            Self::Float(step) => step.products(),
            Self::Dynamic(step) => step.products(),
            Self::Dense { linear, rows, .. } | Self::DenseToFloats { linear, rows, .. } => linear.products(*rows),
            _ => 0,
        }
    }

    /// Bytes of weights and tables that the step holds.
    pub(crate) fn weight_bytes(&self) -> usize {
        match self {
            Self::Convolve { convolution, .. } => convolution.bytes(),
            Self::Dense { linear, requantization, .. } => linear.bytes() + requantization.bytes(),
            Self::DenseToFloats { linear, multipliers, .. } => linear.bytes() + multipliers.len() * 4,
            Self::Lookup { .. } => 256,
            Self::Stored(step) => step.weight_bytes(),
            Self::Float(step) => step.weight_bytes(),
            Self::Dynamic(step) => step.weight_bytes(),
            Self::Concat { parts, .. } => parts.iter().filter(|part| part.lookup.is_some()).count() * 256,
            _ => 0,
        }
    }

    /// Runs the step for one sample.
    pub(crate) fn run(&self, with: &mut Workers<'_>, inputs: &[&Tensor], sample: (usize, usize), memory: &mut Memory) {
        let table = with.table;
        match self {
            Self::QuantizeInput { input, affine, output } => {
                // The session has checked that the input is f32.
                let values = inputs[*input].as_f32().unwrap_or_default();
                with.each(part(values, sample), memory.write(*output), |from, to| table.quantize(from, affine, to));
            }
            Self::ImportInput { input, signed, output } => {
                let flip = if *signed { 0x80 } else { 0 };
                let bytes = part(inputs[*input].bytes(), sample);
                memory.write(*output).iter_mut().zip(bytes).for_each(|(to, from)| *to = from ^ flip);
            }
            Self::ImportFloats { input, output } => {
                let values = inputs[*input].as_f32().unwrap_or_default();
                memory.write_floats(*output).copy_from_slice(part(values, sample));
            }
            Self::Quantize { input, affine, output } => {
                let (from, to) = memory.floats_to_bytes(*input, *output);
                with.each(from, to, |from, to| table.quantize(from, affine, to));
            }
            Self::Dequantize { input, affine, output } => {
                let (from, to) = memory.read_write_floats(*input, *output);
                with.each(from, to, |from, to| table.dequantize(from, affine, to));
            }
            Self::PermuteFloats { input, permutation, output } => {
                let (from, to) = memory.floats_to_floats(*input, *output);
                permutation.run_floats(from, to);
            }
            Self::Softmax { width, input, output } => {
                let (from, to) = memory.floats_to_floats(*input, *output);
                to.copy_from_slice(from);
                softmax(to, *width);
            }
            Self::Sigmoid { input, output } => {
                let (from, to) = memory.floats_to_floats(*input, *output);
                to.iter_mut().zip(from).for_each(|(to, from)| *to = sigmoid(*from));
            }
            Self::DenseToFloats { linear, multipliers, rows, input, output } => {
                let (from, data) = memory.read_write_floats(*input, *output);
                with.linear_to_floats(linear, from, *rows, multipliers, data);
            }
            Self::Stored(step) => step.run(with, memory),
            Self::Float(step) => step.run(with, memory),
            Self::Dynamic(step) => step.run(with, memory),
            Self::Concat { parts, stride, output } => concat(parts, *stride, *output, with, memory),
            bytes_to_bytes => bytes_to_bytes.run_bytes(with, memory),
        }
    }

    /// The steps that read bytes and write bytes.
    fn run_bytes(&self, with: &mut Workers<'_>, memory: &mut Memory) {
        let table = with.table;
        match self {
            Self::Permute { input, permutation, output } => {
                let ([from], to) = memory.read_write([*input], *output);
                table.permute(permutation, from, to);
            }
            Self::Convolve { convolution, input, output } => {
                let ([from], to) = memory.read_write([*input], *output);
                with.convolve(convolution, from, to);
            }
            Self::Dense { linear, requantization, rows, input, output } => {
                let ([from], data) = memory.read_write([*input], *output);
                with.linear(linear, from, *rows, requantization, data);
            }
            Self::Add { add, a, b, output } => {
                let ([a, b], to) = memory.read_write([*a, *b], *output);
                with.add(add, a, b, to);
            }
            Self::Lookup { lookup, input, output } => {
                let ([from], to) = memory.read_write([*input], *output);
                with.each(from, to, |from, to| table.lookup(lookup, from, to));
            }
            Self::MaxPool { window, channels, input, output } => {
                let ([from], to) = memory.read_write([*input], *output);
                with.max_pool(window, *channels, from, to);
            }
            Self::AveragePool { pool, input, output } => {
                let ([from], to) = memory.read_write([*input], *output);
                with.average_pool(pool, from, to);
            }
            Self::GlobalAveragePool { pool, input, output } => {
                let ([from], to) = memory.read_write([*input], *output);
                table.global_average_pool(pool, from, &mut with.scratches[0], to);
            }
            // `run` has taken every other step.
            _ => {}
        }
    }
}

/// The elements of one sample of many.
fn part<T>(all: &[T], (sample, samples): (usize, usize)) -> &[T] {
    let length = all.len() / samples.max(1);
    &all[sample * length..(sample + 1) * length]
}

fn concat(parts: &[ConcatPart], stride: usize, output: BufferId, with: &mut Workers<'_>, memory: &mut Memory) {
    let mut first = 0;
    for ConcatPart { input, width, lookup } in parts {
        let ([from], to) = memory.read_write([*input], output);
        with.concat(from, *width, (to, stride, first), lookup.as_ref());
        first += width;
    }
}
