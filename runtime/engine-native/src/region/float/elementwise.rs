//! Float operators that work element by element.

use runtime_graph::Node;
use runtime_kernels::{Binary, Broadcast, FloatFunction, Scaling};

use super::linear::row_of;
use super::{refused, spread_steps};
use crate::program::{Element, FloatStep, Step, ValueId, plain};
use crate::region::reader::{NO_KERNEL, Reader, Reason};

impl Reader<'_> {
    /// Relu, Clip: bounds in the step that made the value, or a step of their own.
    pub(crate) fn float_clip(&mut self, node: &Node, low: f32, high: f32) -> Result<ValueId, Reason> {
        if let Some(value) = self.fusible_input(node, 0) {
            let buffer = self.builder.buffer(value);
            let end = match self.builder.filling(buffer) {
                Some(Step::Float(FloatStep::Convolve { convolution, .. })) => Some(convolution.end_mut()),
                Some(Step::Float(FloatStep::Dense { linear, .. })) => Some(linear.end_mut()),
                Some(Step::Dynamic(step)) => step.scaling_mut().map(Scaling::end_mut),
                _ => None,
            };
            if let Some(end) = end {
                end.bound(low, high);
                self.fusible(node, value);
                return Ok(value);
            }
        }
        let input = self.float_input(node, 0)?;
        Ok(self.clipped(input, low, high))
    }

    pub(crate) fn clipped(&mut self, input: ValueId, low: f32, high: f32) -> ValueId {
        self.function_of(FloatFunction::Clip { low, high }, input)
    }

    pub(crate) fn float_function(&mut self, node: &Node) -> Result<ValueId, Reason> {
        let function = match node.operator.as_str() {
            "Sigmoid" => FloatFunction::Sigmoid,
            "Tanh" => FloatFunction::Tanh,
            "LeakyRelu" => FloatFunction::LeakyRelu { slope: node.float("alpha", 0.01) },
            "HardSigmoid" => {
                FloatFunction::HardSigmoid { alpha: node.float("alpha", 0.2), beta: node.float("beta", 0.5) }
            }
            "HardSwish" => FloatFunction::HardSwish,
            "Erf" => FloatFunction::Erf,
            "Gelu" if node.text("approximate") == Some("tanh") => FloatFunction::GeluTanh,
            "Gelu" => FloatFunction::Gelu,
            "Exp" => FloatFunction::Exp,
            "Sqrt" => FloatFunction::Sqrt,
            "Reciprocal" => FloatFunction::Reciprocal,
            "Abs" => FloatFunction::Abs,
            "Neg" => FloatFunction::Linear { scale: -1.0, offset: 0.0 },
            _ => return Err(NO_KERNEL.into()),
        };
        self.output_shape(node)?;
        let input = self.float_input(node, 0)?;
        Ok(self.function_of(function, input))
    }

    pub(crate) fn function_of(&mut self, function: FloatFunction, input: ValueId) -> ValueId {
        let like = self.builder.value(input);
        let (shape, order) = (like.shape.clone(), like.order.clone());
        let input = self.builder.buffer(input);
        self.float_value(&shape, order, |output| FloatStep::Function { function, input, output })
    }

    /// Powers that are some other operation.
    pub(crate) fn float_power(&mut self, node: &Node) -> Result<ValueId, Reason> {
        let exponent =
            self.constant(node, 1)?.filter(|tensor| tensor.len() == 1).and_then(|tensor| tensor.value_f64(0));
        let function = match exponent {
            Some(2.0) => FloatFunction::Square,
            Some(0.5) => FloatFunction::Sqrt,
            Some(-1.0) => FloatFunction::Reciprocal,
            _ => return Err("powers other than 2, 0.5 and -1 have no kernels".into()),
        };
        self.output_shape(node)?;
        let input = self.float_input(node, 0)?;
        Ok(self.function_of(function, input))
    }

    pub(crate) fn float_binary(&mut self, node: &Node) -> Result<ValueId, Reason> {
        let shape = self.output_shape(node)?;
        if node.inputs.len() != 2 {
            return Err(format!("it has {} inputs, expected 2", node.inputs.len()));
        }
        let operation = match node.operator.as_str() {
            "Add" | "Sum" => Binary::Add,
            "Sub" => Binary::Sub,
            "Mul" => Binary::Mul,
            "Div" => Binary::Div,
            "Max" => Binary::Max,
            _ => Binary::Min,
        };
        if let Some(value) = self.fused_binary(node, operation, &shape)? {
            self.fusible(node, value);
            return Ok(value);
        }
        let (a, b) = (self.float_input(node, 0)?, self.float_input(node, 1)?);
        self.binary_of(operation, a, b, &shape)
    }

    /// A sum or a factor that goes into the step that made one of the sides.
    fn fused_binary(&mut self, node: &Node, operation: Binary, shape: &[usize]) -> Result<Option<ValueId>, Reason> {
        for (mine, other) in [(0, 1), (1, 0)] {
            let Some(value) = self.fusible_input(node, mine) else { continue };
            if self.builder.value(value).shape != shape {
                continue;
            }
            let constant = node.input(other).is_some_and(|name| self.graph.initializers.contains_key(name));
            let fused = match operation {
                Binary::Add if constant => {
                    self.dynamic_bias(node, value, other)? || self.fused_bias(node, value, other)?
                }
                Binary::Add => self.fused_sum(node, value, other)?,
                Binary::Mul | Binary::Div if constant && mine == 0 => self.fused_factor(node, value, operation)?,
                _ => false,
            };
            if fused {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    fn fused_bias(&mut self, node: &Node, value: ValueId, other: usize) -> Result<bool, Reason> {
        let Some(bias) = self.float_constant(node, other)? else { return Ok(false) };
        let buffer = self.builder.buffer(value);
        match self.builder.filling(buffer) {
            Some(Step::Float(FloatStep::Dense { linear, added: None, .. })) if !linear.end().is_bounded() => {
                let Ok(row) = row_of(&bias, linear.columns()) else { return Ok(false) };
                linear.add_bias(&row).map_err(refused)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn fused_sum(&mut self, node: &Node, value: ValueId, other: usize) -> Result<bool, Reason> {
        let buffer = self.builder.buffer(value);
        let takes = match self.builder.filling(buffer) {
            Some(Step::Float(FloatStep::Convolve { convolution, added: None, .. })) => !convolution.end().is_bounded(),
            Some(Step::Float(FloatStep::Dense { linear, added: None, .. })) => !linear.end().is_bounded(),
            _ => false,
        };
        if !takes {
            return Ok(false);
        }
        let more = self.float_input(node, other)?;
        let (shape, order) = (self.builder.value(value).shape.clone(), self.builder.value(value).order.clone());
        if self.builder.value(more).shape != shape || self.builder.buffer(more) == buffer {
            return Ok(false);
        }
        let more = self.builder.in_order(more, &order)?;
        let more = self.builder.buffer(more);
        // What is added may be made after the step was.
        match self.builder.last_filling(buffer) {
            Some(Step::Float(FloatStep::Convolve { added, .. } | FloatStep::Dense { added, .. })) => {
                *added = Some(more);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn fused_factor(&mut self, node: &Node, value: ValueId, operation: Binary) -> Result<bool, Reason> {
        let Some(factor) = self.float_constant(node, 1)? else { return Ok(false) };
        let [factor] = *super::linear::floats(&factor)? else { return Ok(false) };
        let buffer = self.builder.buffer(value);
        match self.builder.filling(buffer) {
            Some(Step::Float(FloatStep::Product { product, .. })) => {
                product.scale(if operation == Binary::Div { 1.0 / factor } else { factor });
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// `operation` of two values that are spread over each other.
    pub(crate) fn binary_of(
        &mut self,
        operation: Binary,
        a: ValueId,
        b: ValueId,
        shape: &[usize],
    ) -> Result<ValueId, Reason> {
        // The side that has every element says how the result lies.
        let like = [a, b].into_iter().find(|&side| self.builder.value(side).shape == shape);
        let order = like.map_or_else(|| plain(shape.len()), |side| self.builder.value(side).order.clone());
        let mut steps = Vec::new();
        for side in [a, b] {
            let own = &self.builder.value(side).shape;
            let spread = spread_steps(own, &self.builder.axis_steps(side), shape)?;
            steps.push(order.iter().map(|&axis| spread[axis]).collect::<Vec<usize>>());
        }
        let sizes: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
        let broadcast = Box::new(Broadcast::new(&sizes, [&steps[0], &steps[1]]).map_err(refused)?);
        let (a, b) = (self.builder.buffer(a), self.builder.buffer(b));
        Ok(self.float_value(shape, order, |output| FloatStep::Binary { shape: broadcast, operation, a, b, output }))
    }

    /// Softmax by polynomials.
    pub(crate) fn float_softmax(&mut self, input: ValueId, width: usize) -> ValueId {
        let value = self.like(input, Element::Float);
        let (input, output) = (self.builder.buffer(input), self.builder.buffer(value));
        self.builder.add_step(Step::Float(FloatStep::Softmax { width, input, output }));
        value
    }
}
