//! Softmax and layer normalization of quantized rows.

use runtime_graph::Node;
use runtime_kernels::{Affine, LayerNorm, StoredSoftmax};

use super::float::refused;
use super::meaning::{Meaning, Pending, Work};
use super::quantized::stored;
use super::reader::{Reader, Reason};
use super::tables::Tabled;
use crate::program::{Element, Step, StoredStep, ValueId, plain};

/// How far the real numbers of bytes may lie from a straight line, as a share of all that they span.
const BEND_MAX: f32 = 1e-5;

impl Reader<'_> {
    pub(crate) fn softmax(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let shape = self.output_shape(node)?;
        let meaning = self.input_meaning(node, 0)?;
        let rank = shape.len() as i64;
        // Before operator set 13 everything from the axis on was one axis.
        let joint = self.opset < 13;
        let axis = node.int("axis", if joint { 1 } else { -1 });
        let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).unwrap_or(usize::MAX);
        if axis >= shape.len() || (axis == 0 && self.batch.symbol.is_some()) {
            return Err(format!("axis {axis} of a result of shape {shape:?}"));
        }
        let width = if joint { shape[axis..].iter().product() } else { shape[axis] };
        if let Some((input, scale)) = self.tabled(&meaning).and_then(|tabled| straight(&tabled)) {
            let input = self.rows_along(input, axis, joint)?;
            return Ok(Meaning::Pending(Pending::new(Work::Softmax { input, scale, width }, shape).into()));
        }
        let input = self.floats_of(&meaning)?;
        let input = self.rows_along(input, axis, joint)?;
        if self.approximate || matches!(meaning, Meaning::FloatInput(_)) {
            return Ok(Meaning::Float(self.float_softmax(input, width)));
        }
        let value = self.like(input, Element::Float);
        let (input, output) = (self.builder.buffer(input), self.builder.buffer(value));
        self.builder.add_step(Step::Softmax { width, input, output });
        Ok(Meaning::Float(value))
    }

    /// `value` with rows along `axis` (`joint`: along it and all that follow) without gaps; the rows may lie in any
    /// order.
    fn rows_along(&mut self, value: ValueId, axis: usize, joint: bool) -> Result<ValueId, Reason> {
        let (rank, order) = (self.builder.value(value).shape.len(), &self.builder.value(value).order);
        if !joint && order.last() == Some(&axis) {
            return Ok(value);
        }
        let mut order = plain(rank);
        if !joint {
            order.remove(axis);
            order.push(axis);
        }
        self.builder.in_order(value, &order)
    }

    pub(crate) fn quantized_softmax(
        &mut self,
        (input, scale, width): (ValueId, f32, usize),
        y: &Affine,
        bounds: [u8; 2],
    ) -> Result<ValueId, Reason> {
        let softmax = Box::new(StoredSoftmax::new(width, scale, Some((y, bounds))).map_err(refused)?);
        let value = self.like(input, stored(y));
        let (input, output) = (self.builder.buffer(input), self.builder.buffer(value));
        self.builder.add_step(Step::Stored(StoredStep::Softmax { softmax, input, output }));
        Ok(value)
    }

    /// Softmax that is never quantized.
    pub(crate) fn softmax_to_floats(
        &mut self,
        (input, scale, width): (ValueId, f32, usize),
    ) -> Result<ValueId, Reason> {
        let softmax = Box::new(StoredSoftmax::new(width, scale, None).map_err(refused)?);
        let value = self.like(input, Element::Float);
        let (input, output) = (self.builder.buffer(input), self.builder.buffer(value));
        self.builder.add_step(Step::Stored(StoredStep::SoftmaxToFloats { softmax, input, output }));
        Ok(value)
    }

    /// Layer normalization of quantized rows.
    pub(crate) fn layer_norm(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let shape = self.output_shape(node)?;
        let axis = node.int("axis", -1);
        let last = shape.len().checked_sub(1).ok_or("its input has no axes")?;
        if axis != -1 && axis != last as i64 {
            return Err(format!("axis {axis} has no kernel; the last has"));
        }
        let Meaning::Real(input, x) = self.input_meaning(node, 0)? else {
            return Err(format!("its input {} is not quantized", node.inputs[0]));
        };
        let row = |reader: &Self, position: usize| -> Result<Vec<f32>, Reason> {
            let Some(tensor) = reader.float_constant(node, position)? else { return Ok(Vec::new()) };
            let values = tensor.as_f32().map_err(|error| format!("failed to {error}"))?;
            Ok(values.to_vec())
        };
        let (scale, bias) = (row(self, 1)?, row(self, 2)?);
        if scale.len() != shape[last] || !(bias.is_empty() || bias.len() == shape[last]) {
            return Err(format!("{} scales and {} biases for rows of {}", scale.len(), bias.len(), shape[last]));
        }
        let input = self.rows_along(input, last, false)?;
        let work = Work::LayerNorm { input, x, scale, bias, epsilon: node.float("epsilon", 1e-5) };
        Ok(Meaning::Pending(Pending::new(work, shape).into()))
    }

    pub(crate) fn quantized_layer_norm(&mut self, input: ValueId, norm: LayerNorm, y: &Affine) -> ValueId {
        let value = self.like(input, stored(y));
        let (norm, input, output) = (Box::new(norm), self.builder.buffer(input), self.builder.buffer(value));
        self.builder.add_step(Step::Stored(StoredStep::LayerNorm { norm, input, output }));
        value
    }

    /// Layer normalization that is never quantized.
    pub(crate) fn layer_norm_to_floats(&mut self, input: ValueId, norm: LayerNorm) -> ValueId {
        let value = self.like(input, Element::Float);
        let (norm, input, output) = (Box::new(norm), self.builder.buffer(input), self.builder.buffer(value));
        self.builder.add_step(Step::Stored(StoredStep::LayerNormToFloats { norm, input, output }));
        value
    }
}

/// The distance of neighbouring bytes' real numbers; `None` when it is not the same for all of them.
fn straight(tabled: &Tabled) -> Option<(ValueId, f32)> {
    let values = &tabled.values;
    let (first, span) = (values[0], values[255] - values[0]);
    let near = |(byte, value): (usize, &f32)| (value - (first + span * (byte as f32 / 255.0))).abs() <= BEND_MAX * span;
    let fits = span > 0.0 && values.iter().enumerate().all(near);
    fits.then_some((tabled.input, span / 255.0))
}
