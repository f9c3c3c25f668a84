//! Add, Sub, Mul, Div, Max and Min of quantized tensors.

use runtime_graph::Node;
use runtime_kernels::{Add, Affine, Binary, Broadcast, Lookup, Pairwise};
use runtime_tensor::ElementType;

use super::float::{real_numbers, refused, spread_steps};
use super::meaning::{Meaning, Pending, RealConstant, Work};
use super::quantized::{integers, stored};
use super::reader::{Reader, Reason};
use super::tables::Tabled;
use crate::program::{Step, StoredStep, ValueId, plain};

/// A quantized side of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    pub(crate) bytes: SideBytes,
    pub(crate) affine: Affine,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum SideBytes {
    Value(ValueId),
    /// One constant for every element.
    One(u8),
}

/// An input of an operation.
enum Operand {
    /// A function of one byte, and its quantization if it has one.
    Tabled(Tabled, Option<Affine>),
    /// One constant number, and its byte if it is quantized.
    Number(f32, Option<(u8, Affine)>),
    /// Several constants, quantized alike.
    Constants(ValueId, Affine),
}

impl Operand {
    /// The side of an operation of quantized tensors; `None` when it is not quantized.
    fn side(&self) -> Option<Side> {
        match self {
            Self::Tabled(tabled, affine) => affine.map(|affine| Side { bytes: SideBytes::Value(tabled.input), affine }),
            Self::Number(_, stored) => stored.map(|(byte, affine)| Side { bytes: SideBytes::One(byte), affine }),
            Self::Constants(value, affine) => Some(Side { bytes: SideBytes::Value(*value), affine: *affine }),
        }
    }
}

impl Reader<'_> {
    pub(crate) fn pairwise(&mut self, node: &Node) -> Result<Meaning, Reason> {
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
        let (a, b) = (self.operand(node, 0)?, self.operand(node, 1)?);
        if let (Some(a), Some(b)) = (a.side(), b.side()) {
            let spreads = [a, b].into_iter().all(|side| match side.bytes {
                SideBytes::Value(value) => {
                    let own = &self.builder.value(value).shape;
                    spread_steps(own, &vec![0; own.len()], &shape).is_ok()
                }
                SideBytes::One(_) => true,
            });
            if !spreads {
                return Err(format!("its inputs do not spread over {shape:?}"));
            }
            return Ok(Meaning::Pending(Pending::new(Work::Pair { operation, a, b }, shape).into()));
        }
        let work = arithmetic(operation);
        let tabled = match (a, b) {
            (Operand::Tabled(a, _), Operand::Number(b, _)) => a.map(|a| work(a, b)),
            (Operand::Number(a, _), Operand::Tabled(b, _)) => b.map(|b| work(a, b)),
            (Operand::Tabled(a, _), Operand::Tabled(b, _)) if self.same_origin(a.input, b.input) => {
                self.joined(&a, &b, work)
            }
            _ => return Err("its inputs are not both quantized".into()),
        };
        if self.builder.value(tabled.input).shape != shape {
            return Err(format!("it spreads a function of one byte over {shape:?}"));
        }
        Ok(Meaning::Pending(Pending::new(Work::Table(tabled), shape).into()))
    }

    fn operand(&mut self, node: &Node, position: usize) -> Result<Operand, Reason> {
        let name = node.input(position).ok_or_else(|| format!("it has no input {position}"))?;
        if let Some(tensor) = self.graph.initializers.get(name) {
            return match tensor.as_f32() {
                Ok(&[number]) if tensor.shape().len() <= 1 => Ok(Operand::Number(number, None)),
                _ => Err(format!("its constant {name} is not quantized")),
            };
        }
        match self.meaning(name)? {
            Meaning::RealConstant(constant) => self.constant_operand(&constant),
            meaning => {
                let affine = if let Meaning::Real(_, affine) = meaning { Some(affine) } else { None };
                let tabled = self.tabled(&meaning).ok_or_else(|| format!("its input {name} is not quantized"))?;
                Ok(Operand::Tabled(tabled, affine))
            }
        }
    }

    fn constant_operand(&mut self, constant: &RealConstant) -> Result<Operand, Reason> {
        let RealConstant { tensor, scales, zero_points, .. } = constant;
        let ([scale], [zero_point]) = (&scales[..], &zero_points[..]) else {
            return Err("its constant has several scales; one is supported".into());
        };
        let signed = match tensor.element() {
            ElementType::I8 => true,
            ElementType::U8 => false,
            other => return Err(format!("its constant is {other}; u8 and i8 are supported")),
        };
        let affine = Affine::new(*scale, *zero_point, signed).map_err(refused)?;
        // Of an 8-bit type, so the stored form fits a byte.
        let bytes: Vec<u8> =
            integers(&tensor.tensor(self.file)?)?.into_iter().map(|value| (value + affine.offset()) as u8).collect();
        if let ([byte], true) = (&bytes[..], tensor.shape().len() <= 1) {
            let real = real_numbers(constant, self.file)?;
            let number = real.as_f32().map_err(|error| format!("failed to {error}"))?.first().copied();
            return Ok(Operand::Number(number.unwrap_or(0.0), Some((*byte, affine))));
        }
        Ok(Operand::Constants(self.builder.add_constant(signed, tensor.shape(), bytes), affine))
    }

    /// `work` of two functions of the same byte, as a function of that byte.
    fn joined(&mut self, a: &Tabled, b: &Tabled, work: fn(f32, f32) -> f32) -> Tabled {
        let ((base, a_before), (_, b_before)) = (self.origin(a.input), self.origin(b.input));
        let real = |byte: usize| work(a.values[usize::from(a_before[byte])], b.values[usize::from(b_before[byte])]);
        let element = self.builder.value(a.input).element;
        let input = self.builder.seen_as(a.input, base, element);
        Tabled { input, values: std::rc::Rc::new(std::array::from_fn(real)) }
    }

    /// A real result of two quantized sides as a function of one byte; `None` when it is none, or when it would have
    /// to be made from something else than the bytes of one side.
    pub(crate) fn pair_values(&self, operation: Binary, a: Side, b: Side) -> Option<Tabled> {
        let work = arithmetic(operation);
        let number = |side: Side, byte: u8| side.affine.dequantize(byte);
        let values = |input: ValueId, real: &dyn Fn(u8) -> f32| Tabled {
            input,
            values: std::rc::Rc::new(std::array::from_fn(|byte| real(byte as u8))),
        };
        match (a.bytes, b.bytes) {
            (SideBytes::Value(value), SideBytes::One(byte)) => {
                Some(values(value, &|x| work(number(a, x), number(b, byte))))
            }
            (SideBytes::One(byte), SideBytes::Value(value)) => {
                Some(values(value, &|x| work(number(a, byte), number(b, x))))
            }
            (SideBytes::Value(one), SideBytes::Value(other)) if one == other => {
                Some(values(one, &|x| work(number(a, x), number(b, x))))
            }
            _ => None,
        }
    }

    /// The stored bytes of an operation of two quantized sides.
    pub(crate) fn quantized_pair(
        &mut self,
        (operation, a, b): (Binary, Side, Side),
        y: &Affine,
        bounds: [u8; 2],
        shape: &[usize],
    ) -> Result<ValueId, Reason> {
        let pairwise = Pairwise::new(operation, [&a.affine, &b.affine, y], bounds).map_err(refused)?;
        if let Some((like, tables)) =
            self.pair_tables(a, b).filter(|(like, _)| self.builder.value(*like).shape == shape)
        {
            let every = Broadcast::new(&[256], [&[1], &[1]]).map_err(refused)?;
            let mut results = [0; 256];
            self.table.pairwise(&pairwise, &every, [&tables[0], &tables[1]], &mut results);
            // The tables are made from the origin already.
            let (origin, element) = (self.origin(like).0, self.builder.value(like).element);
            let input = self.builder.seen_as(like, origin, element);
            return Ok(self.looked_up(input, &Lookup::of(results), y));
        }
        let [a_value, b_value] = [a, b].map(|side| match side.bytes {
            SideBytes::Value(value) => value,
            SideBytes::One(byte) => self.builder.add_constant(side.affine.signed, &[], vec![byte]),
        });
        let full = |value: &ValueId| self.builder.value(*value).shape == shape;
        let like = [a_value, b_value].into_iter().find(full);
        let order = like.map_or_else(|| plain(shape.len()), |like| self.builder.value(like).order.clone());
        let both_full = full(&a_value) && full(&b_value);
        let (a_value, b_value) =
            if both_full { (a_value, self.builder.in_order(b_value, &order)?) } else { (a_value, b_value) };
        let value = self.builder.add_value(stored(y), shape, order.clone());
        let output = self.builder.buffer(value);
        let [a_buffer, b_buffer] = [a_value, b_value].map(|side| self.builder.buffer(side));
        if both_full && operation == Binary::Add {
            let add = Add::new(&a.affine, &b.affine, y, bounds).map_err(refused)?;
            self.builder.add_step(Step::Add { add, a: a_buffer, b: b_buffer, output });
            return Ok(value);
        }
        let sizes: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
        let steps = |side: ValueId| -> Result<Vec<usize>, Reason> {
            let own = self.builder.value(side);
            let spread = spread_steps(&own.shape, &self.builder.axis_steps(side), shape)?;
            Ok(order.iter().map(|&axis| spread[axis]).collect())
        };
        let shape = Broadcast::new(&sizes, [&steps(a_value)?, &steps(b_value)?]).map_err(refused)?;
        let (pairwise, shape) = (Box::new(pairwise), Box::new(shape));
        let step = StoredStep::Pairwise { pairwise, shape, a: a_buffer, b: b_buffer, output };
        self.builder.add_step(Step::Stored(step));
        Ok(value)
    }

    /// Both sides as functions of the same byte, and a value that lies as the result does.
    fn pair_tables(&self, a: Side, b: Side) -> Option<(ValueId, [[u8; 256]; 2])> {
        let table = |side: Side| match side.bytes {
            SideBytes::Value(value) => self.origin(value).1,
            SideBytes::One(byte) => [byte; 256],
        };
        let like = match (a.bytes, b.bytes) {
            (SideBytes::Value(one), SideBytes::Value(other)) => self.same_origin(one, other).then_some(one)?,
            (SideBytes::Value(value), _) | (_, SideBytes::Value(value)) => value,
            _ => return None,
        };
        Some((like, [table(a), table(b)]))
    }

    /// An operation of two quantized sides that is never quantized.
    pub(crate) fn float_pair(
        &mut self,
        (operation, a, b): (Binary, Side, Side),
        shape: &[usize],
    ) -> Result<ValueId, Reason> {
        let [a, b] = [a, b].map(|side| match side.bytes {
            SideBytes::Value(value) => self.dequantized(value, &side.affine),
            SideBytes::One(byte) => self.builder.add_floats(&[], vec![side.affine.dequantize(byte)]),
        });
        self.binary_of(operation, a, b, shape)
    }
}

/// The operation of two numbers.
fn arithmetic(operation: Binary) -> fn(f32, f32) -> f32 {
    match operation {
        Binary::Add => |a, b| a + b,
        Binary::Sub => |a, b| a - b,
        Binary::Mul => |a, b| a * b,
        Binary::Div => |a, b| a / b,
        Binary::Max => |a, b| if a < b { b } else { a },
        Binary::Min => |a, b| if a > b { b } else { a },
    }
}
