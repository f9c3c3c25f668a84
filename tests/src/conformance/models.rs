//! The models that the engines bring to the suite.

use std::collections::BTreeMap;

use runtime_engine::StateLink;
use runtime_engine::testing::TestModel;
use runtime_graph::{Graph, Model, Node};
use runtime_tensor::{Dimension, ElementType, NamedTensor, Tensor, TensorSpec, Tolerance};

use super::{ModelCase, Models, StateCase};

/// The operator set of the models written here.
const OPSET: i64 = 17;

fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_f32(shape.to_vec(), values.to_vec()).expect("as many values as the shape has elements")
}

fn named(name: &str, tensor: Tensor) -> NamedTensor {
    (name.to_owned(), tensor)
}

fn spec(name: &str, sizes: &[Option<u64>]) -> TensorSpec {
    let size = |size: &Option<u64>| size.map_or_else(|| Dimension::Symbol("batch".into()), Dimension::Fixed);
    TensorSpec { name: name.into(), element: ElementType::F32, shape: sizes.iter().map(size).collect() }
}

/// The test engine's own models.
pub fn test_models() -> Models {
    let pair = [("left", floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))];
    let right = Tensor::from_i32(vec![2, 3], vec![6, 5, 4, 3, 2, 1]).expect("six values");
    Models {
        fixed: ModelCase {
            bytes: TestModel::Affine.bytes(),
            inputs: vec![named("x", floats(&[1, 4], &[0.0, 1.0, 2.0, 3.0]))],
            expected: vec![named("y", floats(&[1, 4], &[1.0, 3.0, 5.0, 7.0]))],
        },
        batch: ModelCase {
            bytes: TestModel::RowSum.bytes(),
            inputs: vec![named("x", floats(&[2, 4], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]))],
            expected: vec![named("y", floats(&[2], &[10.0, 26.0]))],
        },
        two_inputs: ModelCase {
            bytes: TestModel::Pair.bytes(),
            inputs: pair.into_iter().map(|(name, tensor)| named(name, tensor)).chain([named("right", right)]).collect(),
            expected: vec![
                named("sum", floats(&[2, 3], &[7.0; 6])),
                named("difference", floats(&[2, 3], &[-5.0, -3.0, -1.0, 1.0, 3.0, 5.0])),
            ],
        },
        state: Some(state_case(TestModel::Accumulate.bytes())),
        tolerance: Tolerance::EXACT,
    }
}

/// x, state_in -> y = state_out = x + state_in, over three steps.
fn state_case(bytes: Vec<u8>) -> StateCase {
    let step =
        |x: [f32; 2], y: [f32; 2]| (vec![named("x", floats(&[1, 2], &x))], vec![named("y", floats(&[1, 2], &y))]);
    StateCase {
        bytes,
        links: vec![StateLink { input: "state_in".into(), output: "state_out".into() }],
        steps: vec![step([1.0, 2.0], [1.0, 2.0]), step([1.0, 2.0], [2.0, 4.0]), step([-2.0, 1.0], [0.0, 5.0])],
    }
}

/// The native engine's: exact programs, and float models in tract.
pub fn native_models() -> [Models; 2] {
    let quantized = Models {
        fixed: product(true, &[Some(1), Some(4)]),
        batch: product(true, &[None, Some(4)]),
        two_inputs: sums(true),
        state: Some(state_case(written(&accumulate(true)))),
        tolerance: Tolerance::EXACT,
    };
    let float = Models {
        fixed: product(false, &[Some(1), Some(4)]),
        batch: product(false, &[None, Some(4)]),
        two_inputs: sums(false),
        state: Some(state_case(written(&accumulate(false)))),
        // Float sums of whole numbers are exact, and a sum of two is always.
        tolerance: Tolerance::EXACT,
    };
    [quantized, float]
}

fn written(graph: &Graph) -> Vec<u8> {
    Model::from_graph(graph.clone(), OPSET).write()
}

/// Builds graphs whose every value is a whole number, so that quantized and float models have the same answers.
struct Author {
    graph: Graph,
    quantized: bool,
}

impl Author {
    fn new(quantized: bool, inputs: &[TensorSpec], outputs: &[TensorSpec]) -> Self {
        let scale = floats(&[], &[1.0]);
        let zero = Tensor::from_i8(vec![], vec![0]).expect("one value");
        let initializers = BTreeMap::from([("one".to_owned(), scale), ("zero".to_owned(), zero)]);
        let (inputs, outputs) = (inputs.to_vec(), outputs.to_vec());
        Self { graph: Graph { name: "g".into(), inputs, outputs, initializers, ..Graph::default() }, quantized }
    }

    fn node(&mut self, operator: &str, inputs: &[&str], output: &str) {
        self.graph.nodes.push(Node::new(operator, inputs, &[output]));
    }

    /// `value` as integers of scale one; itself in a float model. Gives the name to read.
    fn quantize(&mut self, value: &str, result: &str) -> String {
        if !self.quantized {
            self.node("Identity", &[value], result);
            return result.to_owned();
        }
        let stored = format!("{result}_stored");
        self.node("QuantizeLinear", &[value, "one", "zero"], &stored);
        self.node("DequantizeLinear", &[&stored, "one", "zero"], result);
        result.to_owned()
    }

    /// Whole-number weights, quantized in a quantized model.
    fn weights(&mut self, shape: &[usize], values: &[i8]) -> &'static str {
        if self.quantized {
            let tensor = Tensor::from_i8(shape.to_vec(), values.to_vec()).expect("as many weights as elements");
            self.graph.initializers.insert("stored_weights".into(), tensor);
            self.node("DequantizeLinear", &["stored_weights", "one", "zero"], "weights");
        } else {
            let values: Vec<f32> = values.iter().map(|&value| f32::from(value)).collect();
            self.graph.initializers.insert("weights".into(), floats(shape, &values));
        }
        "weights"
    }

    fn case(self, inputs: Vec<NamedTensor>, expected: Vec<NamedTensor>) -> ModelCase {
        ModelCase { bytes: written(&self.graph), inputs, expected }
    }
}

/// y = relu(x times a matrix of 4 by 3).
fn product(quantized: bool, sizes: &[Option<u64>]) -> ModelCase {
    let mut author = Author::new(quantized, &[spec("x", sizes)], &[spec("y", &[sizes[0], Some(3)])]);
    let weights = author.weights(&[4, 3], &[1, 0, -1, 2, 1, 0, 0, 3, -2, 1, 1, 1]);
    let x = author.quantize("x", "x_real");
    author.node("MatMul", &[&x, weights], "product");
    author.node("Relu", &["product"], "bounded");
    let y = author.quantize("bounded", "y_real");
    author.node("Identity", &[&y], "y");
    let rows = [[1.0, 2.0, 3.0, 4.0], [0.0, -1.0, 5.0, 2.0]];
    let answers = [[9.0, 15.0, 0.0], [0.0, 16.0, 0.0]];
    let count = sizes[0].map_or(2, |size| size as usize);
    let inputs = vec![named("x", floats(&[count, 4], &rows[..count].concat()))];
    author.case(inputs, vec![named("y", floats(&[count, 3], &answers[..count].concat()))])
}

/// sum = left + right, double = left + left.
fn sums(quantized: bool) -> ModelCase {
    let sizes = [None, Some(2)];
    let inputs = [spec("left", &sizes), spec("right", &sizes)];
    let mut author = Author::new(quantized, &inputs, &[spec("sum", &sizes), spec("double", &sizes)]);
    let (left, right) = (author.quantize("left", "left_real"), author.quantize("right", "right_real"));
    for (other, name) in [(&right, "sum"), (&left, "double")] {
        author.node("Add", &[&left, other], &format!("{name}_float"));
        author.quantize(&format!("{name}_float"), name);
    }
    let values = [named("left", floats(&[1, 2], &[3.0, -4.0])), named("right", floats(&[1, 2], &[10.0, 20.0]))];
    let answers = [named("sum", floats(&[1, 2], &[13.0, 16.0])), named("double", floats(&[1, 2], &[6.0, -8.0]))];
    author.case(values.to_vec(), answers.to_vec())
}

/// y = state_out = x + state_in.
fn accumulate(quantized: bool) -> Graph {
    let sizes = [None, Some(2)];
    let inputs = [spec("x", &sizes), spec("state_in", &sizes)];
    let mut author = Author::new(quantized, &inputs, &[spec("y", &sizes), spec("state_out", &sizes)]);
    let (x, state) = (author.quantize("x", "x_real"), author.quantize("state_in", "state_real"));
    author.node("Add", &[&x, &state], "sum");
    let sum = author.quantize("sum", "sum_real");
    author.node("Identity", &[&sum], "y");
    author.node("Identity", &[&sum], "state_out");
    author.graph
}
