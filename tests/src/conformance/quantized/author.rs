//! Writes small quantized models, and keeps the real numbers that their values stand for.

use runtime_graph::{Attribute, Graph, Model, Node};
use runtime_tensor::{Dimension, ElementType, NamedTensor, Tensor, TensorSpec};

use super::reference::Real;
use crate::conformance::{Expected, Nearest, Question};

/// The first operator set with LayerNormalization, and the last whose reductions have their axes as an attribute.
const OPSET: i64 = 17;
const MICROSOFT: &str = "com.microsoft";
/// Steps by which float engines may miss a sum; far over what `f32` loses, far under a step.
const SLACK: f64 = 2e-3;

/// How a quantized operator is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Dequantizations, a plain operator, a quantization.
    Qdq,
    /// One quantized operator.
    Operator,
}

/// What the model gives and takes at its border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Border {
    Float,
    Integer,
}

/// A quantized value of the model.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// Names of the integers, their scale and their zero point.
    pub(super) triple: [String; 3],
    /// Name of the dequantized value; empty in operator form.
    pub(super) real_name: String,
    pub(super) scales: Vec<f32>,
    pub(super) reals: Real,
}

/// Scale and zero point of the output.
#[derive(Clone, Debug)]
pub(super) struct OutputParameters {
    pub(super) names: [String; 2],
    stored: ElementType,
    scale: f32,
    zero_point: i64,
    reals: Real,
}

/// Numbers that a name begins: the same on every machine.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn of(name: &str) -> Self {
        let mix = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
    }

    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A whole number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + (self.next() % (high - low + 1) as u64) as i64
    }

    /// One of `choices`.
    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.between(0, choices.len() as i64 - 1) as usize]
    }
}

/// The integers of an element type.
pub(super) fn range(element: ElementType) -> (i64, i64) {
    if element == ElementType::I8 { (-128, 127) } else { (0, 255) }
}

pub(super) fn integers(element: ElementType, shape: &[usize], values: &[i64]) -> Tensor {
    let bytes: Vec<u8> = match element {
        ElementType::I32 => values.iter().flat_map(|&value| (value as i32).to_le_bytes()).collect(),
        // Two's complement: the low byte is the integer in either 8-bit type.
        _ => values.iter().map(|&value| value as u8).collect(),
    };
    Tensor::new(element, shape.to_vec(), &bytes).expect("a value for each element")
}

pub(super) fn floats(shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::from_f32(shape.to_vec(), values).expect("a value for each element")
}

pub(super) fn spec(name: &str, tensor: &Tensor) -> TensorSpec {
    let shape = tensor.shape().iter().map(|&size| Dimension::Fixed(size as u64)).collect();
    TensorSpec { name: name.into(), element: tensor.element(), shape }
}

/// One model in the making.
pub(super) struct Author {
    pub(super) form: Form,
    pub(super) border: Border,
    pub(super) random: Random,
    pub(super) graph: Graph,
    pub(super) inputs: Vec<NamedTensor>,
}

impl Author {
    pub(super) fn new(name: &str, form: Form, border: Border) -> Self {
        let graph = Graph { name: "g".into(), ..Graph::default() };
        Self { form, border, random: Random::of(name), graph, inputs: Vec::new() }
    }

    pub(super) fn constant(&mut self, wish: &str, tensor: Tensor) -> String {
        self.graph.add_initializer(wish, tensor)
    }

    /// Adds a node of one output and returns the output's name.
    pub(super) fn node(&mut self, operator: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> String {
        let output = self.graph.fresh_name(&format!("{}_out", operator.to_lowercase()));
        let mut node = Node::new(operator, inputs, &[&output]);
        node.attributes.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.graph.nodes.push(node);
        output
    }

    /// As [`node`](Self::node), of ONNX Runtime's operator set.
    pub(super) fn microsoft(&mut self, operator: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> String {
        let output = self.node(operator, inputs, attributes);
        if let Some(node) = self.graph.nodes.last_mut() {
            node.domain = MICROSOFT.into();
        }
        output
    }

    fn odd_zero_point(&mut self, element: ElementType) -> i64 {
        let (low, _) = range(element);
        low + 2 * self.random.between(20, 100) + 1
    }

    fn scale(&mut self) -> f32 {
        self.random.between(100, 1000) as f32 / 20_000.0
    }

    /// An input of random integers, both ends of the range among them.
    pub(super) fn input(&mut self, shape: &[usize], element: ElementType) -> Value {
        let (scale, zero_point) = (self.scale(), self.odd_zero_point(element));
        self.input_of(shape, element, scale, zero_point)
    }

    pub(super) fn input_of(&mut self, shape: &[usize], element: ElementType, scale: f32, zero_point: i64) -> Value {
        let (low, high) = range(element);
        let count: usize = shape.iter().product();
        let mut values: Vec<i64> = (0..count).map(|_| self.random.between(low, high)).collect();
        values[0] = low;
        values[count - 1] = high;
        let reals: Vec<f64> = values.iter().map(|value| (value - zero_point) as f64 * f64::from(scale)).collect();
        let name = self.graph.fresh_name("x");
        let given = match self.border {
            Border::Float => floats(shape, reals.iter().map(|&real| real as f32).collect()),
            Border::Integer => integers(element, shape, &values),
        };
        self.graph.inputs.push(spec(&name, &given));
        self.inputs.push((name.clone(), given));
        let scale_name = self.constant("x_scale", floats(&[], vec![scale]));
        let zero_name = self.constant("x_zero", integers(element, &[], &[zero_point]));
        let stored = match self.border {
            Border::Float => self.node("QuantizeLinear", &[&name, &scale_name, &zero_name], &[]),
            Border::Integer => name,
        };
        self.value([stored, scale_name, zero_name], vec![scale], Real::new(shape, reals), None)
    }

    fn value(&mut self, triple: [String; 3], scales: Vec<f32>, reals: Real, axis: Option<usize>) -> Value {
        let real_name = match self.form {
            Form::Operator => String::new(),
            Form::Qdq => {
                let axis = axis.map(|axis| ("axis", Attribute::Int(axis as i64)));
                let inputs: Vec<&str> = triple.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
                self.node("DequantizeLinear", &inputs, axis.as_slice())
            }
        };
        Value { triple, real_name, scales, reals }
    }

    /// Constant weights with integers up to `largest`; a scale for each slice of `axis`, or one.
    pub(super) fn weights(
        &mut self,
        shape: &[usize],
        axis: Option<usize>,
        element: ElementType,
        largest: i64,
    ) -> Value {
        let (low, high) = range(element);
        let zero_point = if element == ElementType::I8 { 0 } else { self.odd_zero_point(element) };
        let (low, high) = ((zero_point - largest).max(low), (zero_point + largest).min(high));
        let count: usize = shape.iter().product();
        let values: Vec<i64> = (0..count).map(|_| self.random.between(low, high)).collect();
        let slices = axis.map_or(1, |axis| shape[axis]);
        let scales: Vec<f32> = (0..slices).map(|_| self.random.between(50, 500) as f32 / 50_000.0).collect();
        let inner: usize = axis.map_or(1, |axis| shape[axis + 1..].iter().product());
        let scale_of = |index: usize| f64::from(scales[index / inner % slices]);
        let reals = values.iter().enumerate().map(|(index, value)| (value - zero_point) as f64 * scale_of(index));
        let reals = Real::new(shape, reals.collect());
        let list = axis.map_or(vec![], |axis| vec![shape[axis]]);
        let stored = self.constant("w", integers(element, shape, &values));
        let scale_name = self.constant("w_scale", floats(&list, scales.clone()));
        let zero_name = self.constant("w_zero", integers(element, &list, &vec![zero_point; slices]));
        self.value([stored, scale_name, zero_name], scales, reals, axis)
    }

    /// A 32-bit bias, whose scale is that of `x` times that of `weights`.
    pub(super) fn bias(&mut self, count: usize, x: &Value, weights: &Value) -> Value {
        let values: Vec<i64> = (0..count).map(|_| self.random.between(-3000, 3000)).collect();
        let scales: Vec<f32> = weights.scales.iter().map(|scale| x.scales[0] * scale).collect();
        let reals =
            values.iter().enumerate().map(|(index, value)| *value as f64 * f64::from(scales[index % scales.len()]));
        let reals = Real::new(&[count], reals.collect());
        let per_channel = scales.len() > 1;
        let shape = if per_channel { vec![count] } else { vec![] };
        let stored = self.constant("b", integers(ElementType::I32, &[count], &values));
        let scale_name = self.constant("b_scale", floats(&shape, scales.clone()));
        let zero_name = self.constant("b_zero", integers(ElementType::I32, &shape, &vec![0; scales.len()]));
        self.value([stored, scale_name, zero_name], scales, reals, per_channel.then_some(0))
    }

    /// A scale with which a few of `reals` saturate, and an odd zero point.
    pub(super) fn output_for(&mut self, reals: Real, stored: ElementType) -> OutputParameters {
        let smallest = reals.values.iter().copied().fold(0.0, f64::min);
        let largest = reals.values.iter().copied().fold(0.0, f64::max);
        let (low, high) = range(stored);
        let scale = (((largest - smallest) / 255.0 * 0.93) as f32).max(1e-6);
        // A Relu before the quantization has its zero at the end of the range, as quantizers put it.
        let zero_point = match smallest < 0.0 {
            true => (((low as f64 - smallest / f64::from(scale)) as i64) | 1).clamp(low, high),
            false => low,
        };
        self.output_of(reals, stored, scale, zero_point)
    }

    /// An output with the parameters of a value: what moves integers does not change them.
    pub(super) fn output_like(&mut self, reals: Real, value: &Value, stored: ElementType) -> OutputParameters {
        let zero_point = self.graph.initializers[&value.triple[2]].value_f64(0).expect("one integer") as i64;
        self.output_of(reals, stored, value.scales[0], zero_point)
    }

    pub(super) fn output_of(
        &mut self,
        reals: Real,
        stored: ElementType,
        scale: f32,
        zero_point: i64,
    ) -> OutputParameters {
        let names = [
            self.constant("y_scale", floats(&[], vec![scale])),
            self.constant("y_zero", integers(stored, &[], &[zero_point])),
        ];
        OutputParameters { names, stored, scale, zero_point, reals }
    }

    /// Ends a model in QDQ form, whose float value is `real_name`.
    pub(super) fn end_float(mut self, real_name: &str, output: &OutputParameters) -> Question {
        let [scale, zero_point] = &output.names;
        let stored = self.node("QuantizeLinear", &[real_name, scale, zero_point], &[]);
        self.end_stored(stored, output)
    }

    /// Ends a model whose quantized answer is `stored`.
    pub(super) fn end_stored(mut self, stored: String, output: &OutputParameters) -> Question {
        let [scale, zero_point] = &output.names;
        let dequantized = self.border == Border::Float;
        let (name, element) = match dequantized {
            true => (self.node("DequantizeLinear", &[&stored, scale, zero_point], &[]), ElementType::F32),
            false => (stored, output.stored),
        };
        let shape = output.reals.shape.clone();
        let sizes = shape.iter().map(|&size| Dimension::Fixed(size as u64)).collect();
        self.graph.outputs = vec![TensorSpec { name, element, shape: sizes }];
        let nearest = Nearest {
            reals: output.reals.values.clone(),
            shape,
            stored: output.stored,
            scale: output.scale,
            zero_point: output.zero_point,
            dequantized,
            slack: SLACK,
        };
        self.end(vec![Expected::Nearest(nearest)])
    }

    /// Ends a model whose outputs stand in the graph already.
    pub(super) fn end(self, expected: Vec<Expected>) -> Question {
        let foreign = self.graph.nodes.iter().any(|node| node.domain == MICROSOFT);
        let mut model = Model::from_graph(self.graph, OPSET);
        if foreign {
            model.set_opset(MICROSOFT, 1);
        }
        Question { model: model.write(), inputs: self.inputs, expected }
    }
}
