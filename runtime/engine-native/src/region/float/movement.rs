//! Floats side by side and cut apart.

use runtime_graph::Node;

use crate::program::{FloatPart, FloatStep, ValueId};
use crate::region::meaning::Meaning;
use crate::region::reader::{Reader, Reason};

impl Reader<'_> {
    pub(crate) fn float_concat(&mut self, node: &Node) -> Result<ValueId, Reason> {
        let shape = self.output_shape(node)?;
        let axis = axis_of(node.int("axis", 0), shape.len())?;
        let parts = (0..node.inputs.len()).map(|position| self.float_input(node, position));
        let parts: Vec<ValueId> = parts.collect::<Result<_, _>>()?;
        self.concat_of(&parts, axis, &shape)
    }

    pub(crate) fn concat_of(&mut self, parts: &[ValueId], axis: usize, shape: &[usize]) -> Result<ValueId, Reason> {
        let Some(&first) = parts.first() else { return Err("it has no inputs".into()) };
        let order = self.builder.value(first).order.clone();
        let place = order.iter().position(|&other| other == axis).ok_or("its axis is none of its input's")?;
        let row = |shape: &[usize]| order[place..].iter().map(|&axis| shape[axis]).product::<usize>();
        let mut ready = Vec::new();
        for &value in parts {
            let value = self.builder.in_order(value, &order)?;
            ready.push(FloatPart { input: self.builder.buffer(value), width: row(&self.builder.value(value).shape) });
        }
        let stride = row(shape);
        if ready.iter().map(|part| part.width).sum::<usize>() != stride {
            return Err(format!("its inputs do not add up to a result of shape {shape:?}"));
        }
        Ok(self.float_value(shape, order.clone(), |output| FloatStep::Concat { parts: ready, stride, output }))
    }

    /// Elements `first..first + length` of one axis.
    fn cut(&mut self, value: ValueId, axis: usize, first: usize, length: usize) -> ValueId {
        let (mut shape, order) = (self.builder.value(value).shape.clone(), self.builder.value(value).order.clone());
        if first == 0 && shape[axis] == length {
            return value;
        }
        let inner: usize = order.iter().rev().take_while(|&&other| other != axis).map(|&axis| shape[axis]).product();
        let (stride, first, width) = (shape[axis] * inner, first * inner, length * inner);
        shape[axis] = length;
        let input = self.builder.buffer(value);
        self.float_value(&shape, order, |output| FloatStep::Cut { stride, first, width, input, output })
    }

    pub(crate) fn float_slice(&mut self, node: &Node) -> Result<ValueId, Reason> {
        let shape = self.output_shape(node)?;
        let numbers = |position: usize, name: &str| -> Result<Option<Vec<i64>>, Reason> {
            if let Some(values) = node.ints(name) {
                return Ok(Some(values.to_vec()));
            }
            let tensor = self.constant(node, position)?;
            let integer = |tensor: &runtime_tensor::Tensor| {
                (0..tensor.len()).map(|index| tensor.value_f64(index).map(|value| value as i64)).collect()
            };
            Ok(tensor.and_then(integer))
        };
        let starts = numbers(1, "starts")?.ok_or("it has no starts")?;
        let axes = numbers(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        if numbers(4, "steps")?.is_some_and(|steps| steps.iter().any(|&step| step != 1)) {
            return Err("steps other than 1 have no kernel".into());
        }
        let mut value = self.float_input(node, 0)?;
        for (&start, &axis) in starts.iter().zip(&axes) {
            let axis = axis_of(axis, shape.len())?;
            let size = self.builder.value(value).shape[axis] as i64;
            let start = (if start < 0 { start.saturating_add(size) } else { start }).clamp(0, size);
            if start + shape[axis] as i64 > size {
                return Err(format!("start {start} for a result of shape {shape:?}"));
            }
            value = self.cut(value, axis, start as usize, shape[axis]);
        }
        if self.builder.value(value).shape != shape { Err(format!("its result is no {shape:?}")) } else { Ok(value) }
    }

    /// Split: the meanings of all outputs.
    pub(crate) fn float_split(&mut self, node: &Node) -> Result<Vec<Meaning>, Reason> {
        let mut value = self.float_input(node, 0)?;
        let rank = self.builder.value(value).shape.len();
        let axis = axis_of(node.int("axis", 0), rank)?;
        let order = self.builder.value(value).order.clone();
        value = self.builder.in_order(value, &order)?;
        let mut first = 0;
        let mut parts = Vec::new();
        for output in &node.outputs {
            let length = self.batch.shape(output)?.get(axis).copied().ok_or("an output has another number of axes")?;
            if first + length > self.builder.value(value).shape[axis] {
                return Err("its outputs are longer than its input".into());
            }
            parts.push(Meaning::Float(self.cut(value, axis, first, length)));
            first += length;
        }
        Ok(parts)
    }
}

fn axis_of(axis: i64, rank: usize) -> Result<usize, Reason> {
    let place = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).unwrap_or(usize::MAX);
    if place < rank { Ok(place) } else { Err(format!("axis {axis} of {rank} axes")) }
}
