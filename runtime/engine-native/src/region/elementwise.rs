//! Operators that work element by element, and Softmax.

use runtime_graph::Node;
use runtime_kernels::Affine;
use runtime_tensor::ElementType;

use super::meaning::{Function, Meaning, Pending, RealConstant, Work};
use super::quantized::integers;
use super::reader::{Reader, Reason};
use crate::program::{Element, Step, ValueId};

impl Reader<'_> {
    /// Relu, Clip: bounds on a result that is still to be quantized, or on quantized bytes.
    pub(crate) fn clip(&mut self, node: &Node, low: f32, high: f32) -> Result<Meaning, Reason> {
        match self.input_meaning(node, 0)? {
            Meaning::Pending(pending) => Ok(Meaning::Pending(pending.bounded(low, high).into())),
            Meaning::Real(input, x) => {
                let work = Work::Function { input, x, function: Function::Identity };
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

    pub(crate) fn function(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let function = match node.operator.as_str() {
            "Sigmoid" => Function::Sigmoid,
            "Tanh" => Function::Tanh,
            "LeakyRelu" => Function::LeakyRelu { slope: node.float("alpha", 0.01) },
            "HardSigmoid" => Function::HardSigmoid { alpha: node.float("alpha", 0.2), beta: node.float("beta", 0.5) },
            "HardSwish" => Function::HardSwish,
            other => return Err(format!("{other} is no function of one number")),
        };
        let meaning = self.input_meaning(node, 0)?;
        match meaning {
            Meaning::Real(input, x) => {
                let work = Work::Function { input, x, function };
                Ok(Meaning::Pending(Pending::new(work, self.output_shape(node)?).into()))
            }
            Meaning::Float(_) | Meaning::FloatInput(_) | Meaning::Pending(_) if function == Function::Sigmoid => {
                if self.approximate || matches!(meaning, Meaning::FloatInput(_)) {
                    return self.float_node(node);
                }
                let input = self.floats_of(&meaning)?;
                Ok(Meaning::Float(self.sigmoid(input)))
            }
            _ => Err(format!("its input {} is float; quantize it", node.inputs[0])),
        }
    }

    pub(crate) fn sigmoid(&mut self, input: ValueId) -> ValueId {
        let value = self.like(input, Element::Float);
        let (input, output) = (self.builder.buffer(input), self.builder.buffer(value));
        self.builder.add_step(Step::Sigmoid { input, output });
        value
    }

    pub(crate) fn softmax(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let shape = self.output_shape(node)?;
        let meaning = self.input_meaning(node, 0)?;
        let input = self.floats_of(&meaning)?;
        let rank = shape.len() as i64;
        // Before operator set 13 everything from the axis on was one axis.
        let joint = self.opset < 13;
        let axis = node.int("axis", if joint { 1 } else { -1 });
        let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).unwrap_or(usize::MAX);
        if axis >= shape.len() || (axis == 0 && self.batch.symbol.is_some()) {
            return Err(format!("axis {axis} of a result of shape {shape:?}"));
        }
        let mut order: Vec<usize> = (0..shape.len()).collect();
        if !joint {
            order.remove(axis);
            order.push(axis);
        }
        let width = if joint { shape[axis..].iter().product() } else { shape[axis] };
        let input = self.builder.in_order(input, &order)?;
        if self.approximate || matches!(meaning, Meaning::FloatInput(_)) {
            return Ok(Meaning::Float(self.float_softmax(input, width)));
        }
        let value = self.like(input, Element::Float);
        let (input, output) = (self.builder.buffer(input), self.builder.buffer(value));
        self.builder.add_step(Step::Softmax { width, input, output });
        Ok(Meaning::Float(value))
    }

    pub(crate) fn add(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let shape = self.output_shape(node)?;
        let mut sides = Vec::new();
        for position in 0..2 {
            sides.push(match self.input_meaning(node, position)? {
                Meaning::Real(value, affine) if self.builder.value(value).shape == shape => (value, affine),
                Meaning::Real(value, _) => {
                    let found = &self.builder.value(value).shape;
                    return Err(format!("it spreads {found:?} over {shape:?}; only constants are spread"));
                }
                Meaning::RealConstant(constant) => self.spread_constant(&constant, &shape)?,
                _ => return Err(format!("its input {} is not quantized", node.inputs[position])),
            });
        }
        let work = Work::Add { a: sides[0], b: sides[1] };
        Ok(Meaning::Pending(Pending::new(work, shape).into()))
    }

    /// A quantized constant, repeated to `shape` by ONNX's rules.
    fn spread_constant(&mut self, constant: &RealConstant, shape: &[usize]) -> Result<(ValueId, Affine), Reason> {
        let RealConstant { tensor, scales, zero_points, .. } = constant;
        let ([scale], [zero_point]) = (&scales[..], &zero_points[..]) else {
            return Err("its constant has several scales; one is supported".into());
        };
        let signed = match tensor.element() {
            ElementType::I8 => true,
            ElementType::U8 => false,
            other => return Err(format!("its constant is {other}; u8 and i8 are supported")),
        };
        let affine = Affine::new(*scale, *zero_point, signed).map_err(|error| format!("failed to {error}"))?;
        let own = tensor.shape();
        let missing = shape.len().checked_sub(own.len()).ok_or("its constant has more axes than the other input")?;
        let fits = own.iter().zip(&shape[missing..]).all(|(own, size)| own == size || *own == 1);
        if !fits {
            return Err(format!("its constant of shape {own:?} does not spread over {shape:?}"));
        }
        let values = integers(tensor)?;
        let step = |axis: usize| if own[axis] == 1 { 0 } else { own[axis + 1..].iter().product::<usize>() };
        let mut bytes = Vec::with_capacity(shape.iter().product());
        for mut index in 0..shape.iter().product::<usize>() {
            let mut from = 0;
            for axis in (0..shape.len()).rev() {
                let position = index % shape[axis];
                index /= shape[axis];
                if axis >= missing {
                    from += position * step(axis - missing);
                }
            }
            // Of an 8-bit type, so the stored form fits a byte.
            bytes.push((values[from] + affine.offset()) as u8);
        }
        Ok((self.builder.add_constant(signed, shape, bytes), affine))
    }
}
