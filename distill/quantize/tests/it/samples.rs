//! Float models built in code, and samples for them.

use runtime_graph::{Attribute, Graph, Model, Node};
use runtime_tensor::{Dimension, ElementType, NamedTensor, Tensor, TensorSpec};

pub(crate) fn ints(values: &[i64]) -> Attribute {
    Attribute::Ints(values.to_vec())
}

/// Sizes; 0 is the batch.
pub(crate) fn spec(name: &str, shape: &[u64]) -> TensorSpec {
    let size = |&size: &u64| if size == 0 { Dimension::Symbol("N".to_owned()) } else { Dimension::Fixed(size) };
    TensorSpec { name: name.to_owned(), element: ElementType::F32, shape: shape.iter().map(size).collect() }
}

/// Numbers between -1 and 1 that look random and are the same everywhere.
pub(crate) fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

pub(crate) fn tensor(seed: u32, shape: &[usize], gain: f32) -> Tensor {
    let values = numbers(seed, shape.iter().product()).into_iter().map(|value| value * gain).collect();
    Tensor::from_f32(shape.to_vec(), values).unwrap()
}

/// Batches of images for an input `x` of 1 x 8 x 8.
pub(crate) fn batches(count: u32, size: usize) -> impl Iterator<Item = Result<Vec<NamedTensor>, String>> {
    (0..count).map(move |batch| Ok(vec![("x".to_owned(), tensor(1000 + batch, &[size, 1, 8, 8], 1.0))]))
}

pub(crate) fn model(nodes: Vec<Node>, constants: Vec<(&str, Tensor)>, output: &[u64]) -> Model {
    let graph = Graph {
        name: "float".to_owned(),
        nodes,
        initializers: constants.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect(),
        inputs: vec![spec("x", &[0, 1, 8, 8])],
        outputs: vec![spec("y", output)],
        ..Graph::default()
    };
    let mut model = Model::from_graph(graph, 17);
    model.check().unwrap();
    model
}

pub(crate) fn conv(input: &str, weights: &str, bias: &str, output: &str) -> Node {
    Node::new("Conv", &[input, weights, bias], &[output])
        .with("pads", ints(&[1, 1, 1, 1]))
        .with("kernel_shape", ints(&[3, 3]))
}

pub(crate) fn pool(operator: &str, input: &str, output: &str) -> Node {
    Node::new(operator, &[input], &[output]).with("kernel_shape", ints(&[2, 2])).with("strides", ints(&[2, 2]))
}

/// Positive numbers around 1, as a trained variance or gamma has.
pub(crate) fn near_one(seed: u32, count: usize) -> Tensor {
    Tensor::from_f32(vec![count], numbers(seed, count).into_iter().map(|value| 1.0 + value * 0.5).collect()).unwrap()
}

/// A student: convolution, batch normalization, pooling, a residual, a linear layer.
pub(crate) fn student() -> Model {
    let nodes = vec![
        conv("x", "w1", "", "c1"),
        Node::new("BatchNormalization", &["c1", "gamma", "beta", "mean", "variance"], &["n1"]),
        Node::new("Relu", &["n1"], &["r1"]),
        pool("MaxPool", "r1", "p1"),
        conv("p1", "w2", "b2", "c2"),
        Node::new("Add", &["c2", "p1"], &["s2"]),
        Node::new("Relu", &["s2"], &["r2"]),
        Node::new("GlobalAveragePool", &["r2"], &["g"]),
        Node::new("Flatten", &["g"], &["f"]),
        Node::new("Gemm", &["f", "w3", "b3"], &["y"]).with("transB", Attribute::Int(1)),
    ];
    let constants = vec![
        ("w1", tensor(1, &[8, 1, 3, 3], 0.5)),
        ("gamma", near_one(2, 8)),
        ("beta", tensor(3, &[8], 0.3)),
        ("mean", tensor(4, &[8], 0.2)),
        ("variance", near_one(5, 8)),
        ("w2", tensor(6, &[8, 8, 3, 3], 0.2)),
        ("b2", tensor(7, &[8], 0.1)),
        ("w3", tensor(8, &[10, 8], 1.0)),
        ("b3", tensor(9, &[10], 0.2)),
    ];
    model(nodes, constants, &[0, 10])
}

/// Everything else that has an integer form: depthwise, Clip, average pooling, Concat, Reshape, MatMul.
pub(crate) fn mixture() -> Model {
    let nodes = vec![
        conv("x", "w1", "b1", "c1"),
        Node::new("Clip", &["c1", "low", "high"], &["k1"]),
        conv("k1", "wd", "bd", "d").with("group", Attribute::Int(4)),
        Node::new("Relu", &["d"], &["rd"]),
        Node::new("Conv", &["k1", "w0"], &["e"]),
        Node::new("Concat", &["rd", "e"], &["j"]).with("axis", Attribute::Int(1)),
        pool("AveragePool", "j", "a"),
        pool("MaxPool", "a", "m"),
        Node::new("Relu", &["m"], &["rm"]),
        Node::new("Reshape", &["rm", "target"], &["f"]),
        Node::new("MatMul", &["f", "w2"], &["z"]),
        Node::new("Add", &["z", "b2"], &["y"]),
    ];
    let scalar = |value: f32| Tensor::from_f32(vec![], vec![value]).unwrap();
    let constants = vec![
        ("w1", tensor(21, &[4, 1, 3, 3], 0.8)),
        ("b1", tensor(22, &[4], 0.5)),
        ("low", scalar(0.0)),
        ("high", scalar(1.0)),
        ("wd", tensor(23, &[4, 1, 3, 3], 0.5)),
        ("bd", tensor(24, &[4], 0.1)),
        ("w0", tensor(25, &[3, 4, 1, 1], 0.7)),
        ("target", Tensor::from_i64(vec![2], vec![0, -1]).unwrap()),
        ("w2", tensor(26, &[28, 5], 0.4)),
        ("b2", tensor(27, &[5], 0.3)),
    ];
    model(nodes, constants, &[0, 5])
}
