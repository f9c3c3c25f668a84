//! Operators that only move elements: most of them move nothing at all.

use runtime_graph::Node;

use super::dynamic::Dynamic;
use super::meaning::{Meaning, Pending, Work};
use super::reader::{Reader, Reason};
use crate::program::{Element, Step, ValueId};

impl Reader<'_> {
    /// Reshape and its relatives, Transpose, Identity.
    pub(crate) fn movement(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let shape = self.output_shape(node)?;
        match self.input_meaning(node, 0)? {
            Meaning::Stored(value) => Ok(Meaning::Stored(self.moved(node, value, &shape)?)),
            Meaning::Real(value, affine) => Ok(Meaning::Real(self.moved(node, value, &shape)?, affine)),
            Meaning::Float(value) => Ok(Meaning::Float(self.moved(node, value, &shape)?)),
            Meaning::FloatInput(input) => {
                let value = self.imported(input);
                Ok(Meaning::Float(self.moved(node, value, &shape)?))
            }
            Meaning::Pending(pending) if node.operator == "Identity" || node.operator == "Dropout" => {
                Ok(Meaning::Pending(pending))
            }
            Meaning::Pending(_) => Err(format!("its input {} is not quantized after it was computed", node.inputs[0])),
            Meaning::Dynamic(Dynamic::Bytes(value, range)) => {
                Ok(Meaning::Dynamic(Dynamic::Bytes(self.moved(node, value, &shape)?, range)))
            }
            Meaning::Dynamic(_) => Err("it moves a part of a dynamic quantization".into()),
            Meaning::RealConstant(_) | Meaning::StoredConstant(_) => {
                Err("it moves a quantized constant; fold it when exporting".into())
            }
        }
    }

    /// A float input of the model in the arena.
    pub(crate) fn imported(&mut self, input: usize) -> ValueId {
        if let Some(&value) = self.imports.get(&input) {
            return value;
        }
        let shape = self.batch.input_shapes[input].clone();
        let order = (0..shape.len()).collect();
        let value = self.builder.add_value(Element::Float, &shape, order);
        let output = self.builder.buffer(value);
        self.builder.add_step(Step::ImportFloats { input, output });
        self.imports.insert(input, value);
        value
    }

    fn moved(&mut self, node: &Node, value: ValueId, shape: &[usize]) -> Result<ValueId, Reason> {
        match node.operator.as_str() {
            "Identity" | "Dropout" => Ok(value),
            "Transpose" => {
                let rank = self.builder.value(value).shape.len();
                let axes: Vec<usize> = match node.ints("perm") {
                    None => (0..rank).rev().collect(),
                    Some(axes) => axes.iter().map(|&axis| usize::try_from(axis).unwrap_or(usize::MAX)).collect(),
                };
                self.builder.transposed(value, &axes)
            }
            _ => self.builder.reshaped(value, shape),
        }
    }

    pub(crate) fn concat(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let shape = self.output_shape(node)?;
        let rank = shape.len() as i64;
        let axis = node.int("axis", 0);
        let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).unwrap_or(usize::MAX);
        if axis >= shape.len() {
            return Err(format!("axis {axis} of a result of shape {shape:?}"));
        }
        let mut parts = Vec::new();
        let mut stored = Vec::new();
        for position in 0..node.inputs.len() {
            match self.input_meaning(node, position)? {
                Meaning::Real(value, affine) => parts.push((value, affine)),
                Meaning::Stored(value) => stored.push(value),
                _ => return Err(format!("its input {} is float; quantize it", node.inputs[position])),
            }
        }
        if stored.is_empty() {
            return Ok(Meaning::Pending(Pending::new(Work::Concat { parts, axis }, shape).into()));
        }
        if !parts.is_empty() {
            return Err("some of its inputs are quantized and others are not".into());
        }
        let element = self.builder.value(stored[0]).element;
        let parts: Vec<_> = stored.into_iter().map(|value| (value, None)).collect();
        Ok(Meaning::Stored(self.concatenated(&parts, axis, element, &shape)?))
    }
}
