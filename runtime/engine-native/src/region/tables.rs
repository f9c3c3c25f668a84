//! Functions of one quantized tensor: a table of 256 results, however many operators stand behind each other.
//!
//! A function of a byte stays one while it is quantized and dequantized again, and so does an operation of two functions
//! of the same byte. Every table is made from the first byte that is no function of another; the steps of tables that
//! nobody reads then fall away.

use std::rc::Rc;

use runtime_graph::Node;
use runtime_kernels::{Affine, Lookup, sigmoid};

use super::meaning::{Meaning, Pending, Work};
use super::quantized::stored;
use super::reader::{Reader, Reason};
use crate::program::{BufferId, Element, Step, StoredStep, ValueId};

/// A real tensor each of whose elements is a function of one stored byte.
#[derive(Clone, Debug)]
pub(crate) struct Tabled {
    /// The stored bytes.
    pub(crate) input: ValueId,
    /// The real number for each byte.
    pub(crate) values: Rc<[f32; 256]>,
}

impl Tabled {
    pub(crate) fn map(&self, function: impl Fn(f32) -> f32) -> Self {
        Self { input: self.input, values: Rc::new(self.values.map(function)) }
    }
}

/// Bytes that are a function of those of another buffer, element by element.
#[derive(Clone, Debug)]
pub(crate) struct Derived {
    pub(crate) base: BufferId,
    pub(crate) table: [u8; 256],
}

impl Reader<'_> {
    /// `meaning` as a function of one stored byte; `None` when it is none.
    pub(crate) fn tabled(&self, meaning: &Meaning) -> Option<Tabled> {
        match meaning {
            Meaning::Real(input, affine) => Some(Tabled { input: *input, values: Rc::new(real_values(affine)) }),
            Meaning::Pending(pending) => {
                let tabled = match pending.work.as_ref() {
                    Work::Table(tabled) => tabled.clone(),
                    Work::Pair { operation, a, b } => self.pair_values(*operation, *a, *b)?,
                    _ => return None,
                };
                let (low, high) = (pending.low, pending.high);
                Some(if pending.is_bounded() { tabled.map(|value| held(value, low, high)) } else { tabled })
            }
            _ => None,
        }
    }

    /// An operator that works element by element, on a function of one byte.
    pub(crate) fn function(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let meaning = self.input_meaning(node, 0)?;
        let shape = self.output_shape(node)?;
        if let Some(tabled) = self.tabled(&meaning) {
            let function = self.real_function(node)?;
            return Ok(Meaning::Pending(Pending::new(Work::Table(tabled.map(function)), shape).into()));
        }
        if node.operator == "Sigmoid" {
            if self.approximate || matches!(meaning, Meaning::FloatInput(_)) {
                return self.float_node(node);
            }
            let input = self.floats_of(&meaning)?;
            return Ok(Meaning::Float(self.sigmoid(input)));
        }
        Err(format!("its input {} is float; quantize it", node.inputs[0]))
    }

    /// The function of `node`: plain arithmetic or `libm`, so that its table is the same everywhere.
    fn real_function(&self, node: &Node) -> Result<Box<dyn Fn(f32) -> f32>, Reason> {
        let number = |name: &str, default: f32| node.float(name, default);
        Ok(match node.operator.as_str() {
            "Sigmoid" => Box::new(sigmoid),
            "Tanh" => Box::new(libm::tanhf),
            "Erf" => Box::new(libm::erff),
            "Exp" => Box::new(libm::expf),
            "Log" => Box::new(libm::logf),
            "Sqrt" => Box::new(f32::sqrt),
            "Reciprocal" => Box::new(|x| 1.0 / x),
            "Abs" => Box::new(f32::abs),
            "Neg" => Box::new(|x| -x),
            "Softplus" => Box::new(|x| libm::log1pf(libm::expf(x))),
            "Gelu" if node.text("approximate") == Some("tanh") => Box::new(|x| {
                let inner = 0.797_884_6 * (x + 0.044_715 * x * x * x);
                0.5 * x * (1.0 + libm::tanhf(inner))
            }),
            "Gelu" => Box::new(|x| 0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2))),
            "HardSwish" => Box::new(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
            "LeakyRelu" => {
                let slope = number("alpha", 0.01);
                Box::new(move |x| if x < 0.0 { slope * x } else { x })
            }
            "Elu" => {
                let alpha = number("alpha", 1.0);
                Box::new(move |x| if x < 0.0 { alpha * libm::expm1f(x) } else { x })
            }
            "HardSigmoid" => {
                let (alpha, beta) = (number("alpha", 0.2), number("beta", 0.5));
                Box::new(move |x| (alpha * x + beta).clamp(0.0, 1.0))
            }
            "Pow" => {
                let exponent = self.constant(node, 1)?.filter(|tensor| tensor.len() == 1);
                let exponent =
                    exponent.and_then(|tensor| tensor.value_f64(0)).ok_or("its exponent is not one number")?;
                Box::new(move |x| libm::pow(f64::from(x), exponent) as f32)
            }
            other => return Err(format!("{other} is no function of one number")),
        })
    }

    /// The stored bytes of the real tensor (`input`, `x`) under another quantization.
    pub(crate) fn requantized(&mut self, input: ValueId, x: &Affine, y: &Affine) -> ValueId {
        self.looked_up(input, &Lookup::requantizing(x, y), y)
    }

    /// `lookup` of every byte of `input`, made from what `input` is a function of; no step when nothing changes.
    pub(crate) fn looked_up(&mut self, input: ValueId, lookup: &Lookup, y: &Affine) -> ValueId {
        let (base, before) = self.origin(input);
        let lookup = Lookup::of(before.map(|byte| lookup.apply(byte)));
        if lookup.is_identity() {
            return self.builder.seen_as(input, base, stored(y));
        }
        let value = self.like(input, stored(y));
        let output = self.builder.buffer(value);
        self.derived.insert(output, Derived { base, table: *lookup.results() });
        self.builder.add_step(Step::Lookup { lookup: Box::new(lookup), input: base, output });
        value
    }

    /// The buffer of which the bytes of `value` are a function, and the function.
    pub(crate) fn origin(&self, value: ValueId) -> (BufferId, [u8; 256]) {
        let buffer = self.builder.buffer(value);
        match self.derived.get(&buffer) {
            Some(derived) => (derived.base, derived.table),
            None => (buffer, std::array::from_fn(|byte| byte as u8)),
        }
    }

    /// Whether element i of both is a function of the same byte, for every i.
    pub(crate) fn same_origin(&self, a: ValueId, b: ValueId) -> bool {
        let (one, other) = (self.builder.value(a), self.builder.value(b));
        one.shape == other.shape && one.order == other.order && self.origin(a).0 == self.origin(b).0
    }

    /// The floats of a function of one byte.
    pub(crate) fn floats_of_table(&mut self, tabled: &Tabled) -> ValueId {
        let value = self.like(tabled.input, Element::Float);
        let (base, before) = self.origin(tabled.input);
        let values = Box::new(before.map(|byte| tabled.values[usize::from(byte)]));
        let output = self.builder.buffer(value);
        self.builder.add_step(Step::Stored(StoredStep::LookupFloats { values, input: base, output }));
        value
    }
}

/// The real number of every byte.
pub(crate) fn real_values(affine: &Affine) -> [f32; 256] {
    std::array::from_fn(|byte| affine.dequantize(byte as u8))
}

/// `value` between two bounds; what is no number stays so.
fn held(value: f32, low: f32, high: f32) -> f32 {
    let value = if value < low { low } else { value };
    if value > high { high } else { value }
}
