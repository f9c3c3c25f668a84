//! Operators in float arithmetic: what reads floats, and what the integer kernels do not take.
//!
//! A value of floats lies in the arena in whatever order of axes its operator makes, images channels last. Bounds, sums
//! and biases that come right behind a convolution or a product are put into its step.

mod elementwise;
mod linear;
mod movement;
mod normal;
mod windows;

pub(super) use linear::floats;

use runtime_graph::Node;
use runtime_kernels::KernelError;
use runtime_tensor::{ElementType, Tensor};

use super::elements::File;
use super::meaning::{Meaning, RealConstant};
use super::quantized::integers;
use super::reader::{Reader, Reason};
use crate::program::{Element, FloatStep, Step, ValueId, plain};

pub(crate) fn refused(error: KernelError) -> Reason {
    format!("failed to {error}")
}

/// How many of its inputs an operator takes as data; the others are weights or settings.
fn data_inputs(node: &Node) -> usize {
    match node.operator.as_str() {
        "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Sum" | "MatMul" => 2,
        "Concat" => node.inputs.len(),
        _ => 1,
    }
}

impl Reader<'_> {
    /// Whether `node` reads floats, and is none of those that take them as they are.
    pub(crate) fn reads_floats(&self, node: &Node) -> bool {
        let apart = ["QuantizeLinear", "DequantizeLinear", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"];
        let apart = apart.contains(&node.operator.as_str())
            || matches!(node.operator.as_str(), "Dropout" | "Transpose" | "Softmax" | "Sigmoid");
        let is_float = |name: &String| matches!(self.meaning(name), Ok(Meaning::Float(_) | Meaning::FloatInput(_)));
        !apart && node.inputs.iter().take(data_inputs(node)).any(is_float)
    }

    /// The meaning of a node in float arithmetic.
    pub(crate) fn float_node(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let value = match node.operator.as_str() {
            "Conv" => self.float_conv(node),
            "Gemm" => self.float_gemm(node),
            "MatMul" => self.float_mat_mul(node),
            "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Sum" => self.float_binary(node),
            "Relu" => self.float_clip(node, 0.0, f32::INFINITY),
            "Clip" => {
                let (low, high) = self.clip_bounds(node)?;
                self.float_clip(node, low, high)
            }
            "Pow" => self.float_power(node),
            "MaxPool" | "GlobalMaxPool" | "AveragePool" | "GlobalAveragePool" => self.float_pool(node),
            "ReduceMean" => self.float_mean(node),
            "Pad" => self.float_pad(node),
            "Concat" => self.float_concat(node),
            "Slice" => self.float_slice(node),
            "BatchNormalization" => self.float_batch_norm(node),
            "LRN" => self.float_across_channels(node),
            "LayerNormalization" => self.float_layer_norm(node),
            _ => self.float_function(node),
        };
        value.map(Meaning::Float)
    }

    /// Input `position` of `node` as floats in the arena, or as a constant.
    pub(crate) fn float_input(&mut self, node: &Node, position: usize) -> Result<ValueId, Reason> {
        let name = node.input(position).ok_or_else(|| format!("it has no input {position}"))?;
        if let Some(tensor) = self.graph.initializers.get(name) {
            let floats = tensor.as_f32().map_err(|error| format!("failed to {error}"))?;
            return Ok(self.builder.add_floats(tensor.shape(), floats.to_vec()));
        }
        let meaning = self.meaning(name)?;
        self.floats_of(&meaning)
    }

    /// The real numbers of a constant at input `position`; `None` when the input is absent, an error when it is none.
    pub(crate) fn float_constant(&self, node: &Node, position: usize) -> Result<Option<Tensor>, Reason> {
        let Some(name) = node.input(position) else { return Ok(None) };
        if let Some(tensor) = self.graph.initializers.get(name) {
            if tensor.element() != ElementType::F32 {
                return Err(format!("its constant {name} is {}; f32 is supported", tensor.element()));
            }
            return Ok(Some(tensor.clone()));
        }
        match self.meaning(name)? {
            Meaning::RealConstant(constant) => Ok(Some(real_numbers(&constant, self.file)?)),
            _ => Err(format!("its input {name} is not a constant")),
        }
    }

    /// Adds a step that writes a new value of `shape`.
    pub(crate) fn float_value(
        &mut self,
        shape: &[usize],
        order: Vec<usize>,
        step: impl FnOnce(usize) -> FloatStep,
    ) -> ValueId {
        let value = self.builder.add_value(Element::Float, shape, order);
        let step = step(self.builder.buffer(value));
        self.approximate |= !step.is_exact();
        self.builder.add_step(Step::Float(step));
        value
    }

    /// Lets what follows `node` be put into the step that made `value`.
    pub(crate) fn fusible(&mut self, node: &Node, value: ValueId) {
        if let Some(output) = node.output(0) {
            self.fusible.insert(output.to_owned(), value);
        }
    }

    /// The value of input `position` of `node`, if its step may be changed: nobody else reads it.
    pub(crate) fn fusible_input(&self, node: &Node, position: usize) -> Option<ValueId> {
        let name = node.input(position)?;
        let value = *self.fusible.get(name)?;
        (self.readers.get(name) == Some(&1)).then_some(value)
    }
}

/// The real numbers that a constant's integers stand for.
pub(crate) fn real_numbers(constant: &RealConstant, file: &File<'_>) -> Result<Tensor, Reason> {
    let RealConstant { tensor, scales, zero_points, axis } = constant;
    let tensor = &tensor.tensor(file)?;
    let inner: usize = tensor.shape().iter().skip(axis + 1).product();
    let real = |(index, value): (usize, i32)| {
        let slice = index / inner.max(1) % scales.len();
        (i64::from(value) - i64::from(zero_points[slice])) as f32 * scales[slice]
    };
    let values = integers(tensor)?.into_iter().enumerate().map(real).collect();
    Tensor::from_f32(tensor.shape().to_vec(), values).map_err(|error| format!("failed to {error}"))
}

/// The steps of a tensor of `own` shape, dense in the order `order` of `rank` axes of the shape that it is spread to,
/// and 0 on axes that it has not; `steps` are its own.
pub(crate) fn spread_steps(own: &[usize], steps: &[usize], shape: &[usize]) -> Result<Vec<usize>, Reason> {
    let missing = shape.len().checked_sub(own.len()).ok_or_else(|| format!("{own:?} has more axes than {shape:?}"))?;
    let step = |axis: usize| {
        let Some(mine) = axis.checked_sub(missing) else { return Ok(0) };
        match own[mine] {
            size if size == shape[axis] => Ok(if size == 1 { 0 } else { steps[mine] }),
            1 => Ok(0),
            size => Err(format!("size {size} does not spread over {shape:?}")),
        }
    };
    plain(shape.len()).into_iter().map(step).collect()
}
