//! Sliding windows: their attributes, and the pools.

use runtime_graph::Node;
use runtime_kernels::Window;

use super::meaning::{Meaning, Pending, Work};
use super::reader::{Reader, Reason};
use crate::program::{Step, ValueId, channels_last};

impl Reader<'_> {
    /// The window of `node` over an input of `input` shape (batch, channels, space), giving `output` shape.
    pub(crate) fn window(node: &Node, input: &[usize], kernel: &[usize], output: &[usize]) -> Result<Window, Reason> {
        let (from, to) = (space(input)?, space(output)?);
        let rank = input.len() - 2;
        let kernel = two(kernel, rank, "kernel_shape")?;
        let stride = two(&attribute(node, "strides", rank, 1)?, rank, "strides")?;
        let dilation = two(&attribute(node, "dilations", rank, 1)?, rank, "dilations")?;
        let pad = match node.text("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" => {
                let pads = attribute(node, "pads", 2 * rank, 0)?;
                two_or(&pads[..rank], rank, 0)
            }
            "VALID" => [0, 0],
            same @ ("SAME_UPPER" | "SAME_LOWER") => std::array::from_fn(|axis| {
                let reach = (to[axis].saturating_sub(1)).saturating_mul(stride[axis]);
                let taps = (kernel[axis].saturating_sub(1)).saturating_mul(dilation[axis]) + 1;
                let total = reach.saturating_add(taps).saturating_sub(from[axis]);
                if same == "SAME_UPPER" { total / 2 } else { total.div_ceil(2) }
            }),
            other => return Err(format!("auto_pad {other:?} is not known")),
        };
        let window = Window { input: from, kernel, stride, dilation, pad, output: to };
        window.check().map_err(|error| format!("failed to {error}"))?;
        Ok(window)
    }

    /// The stored bytes of input 0, channels last, with their quantization.
    pub(crate) fn image(&mut self, node: &Node) -> Result<(ValueId, runtime_kernels::Affine), Reason> {
        match self.input_meaning(node, 0)? {
            Meaning::Real(value, affine) => Ok((self.channels_last(value)?, affine)),
            Meaning::Pending(_) => Err(format!("its input {} is not quantized after it was computed", node.inputs[0])),
            _ => Err(format!("its input {} is float; quantize it", node.inputs[0])),
        }
    }

    pub(crate) fn channels_last(&mut self, value: ValueId) -> Result<ValueId, Reason> {
        let rank = self.builder.value(value).shape.len();
        self.builder.in_order(value, &channels_last(rank))
    }

    pub(crate) fn max_pool(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let meaning = self.input_meaning(node, 0)?;
        let (input, affine) = match meaning {
            Meaning::Stored(value) => (self.channels_last(value)?, None),
            _ => {
                let (value, affine) = self.image(node)?;
                (value, Some(affine))
            }
        };
        if node.int("storage_order", 0) != 0 {
            return Err("storage_order 1 is not supported".into());
        }
        let shape = self.builder.value(input).shape.clone();
        let output_shape = self.output_shape(node)?;
        let window = if node.is("GlobalMaxPool") {
            whole(&shape)?
        } else {
            Self::window(node, &shape, &kernel_shape(node)?, &output_shape)?
        };
        let element = self.builder.value(input).element;
        let value = self.builder.add_value(element, &output_shape, channels_last(output_shape.len()));
        let (input, output) = (self.builder.buffer(input), self.builder.buffer(value));
        self.builder.add_step(Step::MaxPool { window, channels: shape[1], input, output });
        // The largest byte stands for the largest real number: scales are positive.
        Ok(affine.map_or(Meaning::Stored(value), |affine| Meaning::Real(value, affine)))
    }

    pub(crate) fn average_pool(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let (input, x) = self.image(node)?;
        let shape = self.builder.value(input).shape.clone();
        let output_shape = self.output_shape(node)?;
        let count_padding = node.int("count_include_pad", 0) != 0;
        if count_padding && node.int("ceil_mode", 0) != 0 {
            return Err("count_include_pad together with ceil_mode has no agreed meaning".into());
        }
        let window = Self::window(node, &shape, &kernel_shape(node)?, &output_shape)?;
        let work = Work::AveragePool { input, x, window, channels: shape[1], count_padding };
        Ok(Meaning::Pending(Pending::new(work, output_shape).into()))
    }

    pub(crate) fn global_average_pool(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let (input, x) = self.image(node)?;
        let shape = &self.builder.value(input).shape;
        let [height, width] = space(shape)?;
        let work = Work::GlobalAveragePool { input, x, pixels: height * width, channels: shape[1] };
        Ok(Meaning::Pending(Pending::new(work, self.output_shape(node)?).into()))
    }
}

/// Height and width of a tensor of one or two axes of space; a missing height is 1.
pub(crate) fn space(shape: &[usize]) -> Result<[usize; 2], Reason> {
    match *shape {
        [_, _, width] => Ok([1, width]),
        [_, _, height, width] => Ok([height, width]),
        _ => Err(format!("shape {shape:?} has not one or two axes of space")),
    }
}

pub(crate) fn whole(shape: &[usize]) -> Result<Window, Reason> {
    let space = space(shape)?;
    let window = Window { input: space, kernel: space, stride: [1, 1], dilation: [1, 1], pad: [0, 0], output: [1, 1] };
    window.check().map_err(|error| format!("failed to {error}"))?;
    Ok(window)
}

pub(crate) fn kernel_shape(node: &Node) -> Result<Vec<usize>, Reason> {
    let kernel = node.ints("kernel_shape").ok_or("it has no kernel_shape")?;
    kernel.iter().map(|&size| usize::try_from(size).map_err(|_| format!("kernel size {size} is negative"))).collect()
}

fn attribute(node: &Node, name: &str, length: usize, default: usize) -> Result<Vec<usize>, Reason> {
    let Some(values) = node.ints(name).filter(|values| !values.is_empty()) else { return Ok(vec![default; length]) };
    if values.len() != length {
        return Err(format!("{name} has {} numbers, expected {length}", values.len()));
    }
    values.iter().map(|&value| usize::try_from(value).map_err(|_| format!("{name} {value} is negative"))).collect()
}

fn two(values: &[usize], rank: usize, name: &str) -> Result<[usize; 2], Reason> {
    if values.len() == rank { Ok(two_or(values, rank, 1)) } else { Err(format!("{name} {values:?} for {rank} axes")) }
}

/// Values of one or two axes of space as height and width.
fn two_or(values: &[usize], rank: usize, missing: usize) -> [usize; 2] {
    if rank == 1 { [missing, values[0]] } else { [values[0], values[1]] }
}
