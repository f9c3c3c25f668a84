//! Relu and Clip, and Sigmoid of floats.

use std::rc::Rc;

use runtime_graph::Node;

use super::meaning::{Meaning, Pending, Work};
use super::reader::{Reader, Reason};
use super::tables::{Tabled, real_values};
use crate::program::{Element, Step, ValueId};

impl Reader<'_> {
    /// Relu, Clip: bounds on a result that is still to be quantized, or on quantized bytes.
    pub(crate) fn clip(&mut self, node: &Node, low: f32, high: f32) -> Result<Meaning, Reason> {
        match self.input_meaning(node, 0)? {
            Meaning::Pending(pending) => Ok(Meaning::Pending(pending.bounded(low, high).into())),
            Meaning::Real(input, affine) => {
                let work = Work::Table(Tabled { input, values: Rc::new(real_values(&affine)) });
                Ok(Meaning::Pending(Pending::new(work, self.output_shape(node)?).bounded(low, high).into()))
            }
            _ => Err(format!("its input {} is float; quantize it", node.inputs[0])),
        }
    }

    /// The bounds of Clip, from attributes (before operator set 11) or constant inputs.
    pub(crate) fn clip_bounds(&self, node: &Node) -> Result<(f32, f32), Reason> {
        let bound = |position: usize, name: &str, default: f32| {
            let Some(tensor) = self.constant(node, position)? else { return Ok(node.float(name, default)) };
            match tensor.to_f32_vec().as_deref() {
                Ok([value]) if !value.is_nan() => Ok(*value),
                _ => Err(format!("its {name} is not one number")),
            }
        };
        let (low, high) = (bound(1, "min", f32::NEG_INFINITY)?, bound(2, "max", f32::INFINITY)?);
        if low <= high { Ok((low, high)) } else { Err(format!("its min {low} is over its max {high}")) }
    }

    pub(crate) fn sigmoid(&mut self, input: ValueId) -> ValueId {
        let value = self.like(input, Element::Float);
        let (input, output) = (self.builder.buffer(input), self.builder.buffer(value));
        self.builder.add_step(Step::Sigmoid { input, output });
        value
    }
}
