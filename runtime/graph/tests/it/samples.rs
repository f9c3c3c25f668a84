//! Models built in code.

use runtime_graph::{Attribute, Graph, Model, Node};
use runtime_tensor::{Dimension, ElementType, Tensor, TensorSpec};

/// `"f32 N 3 8 8"`: element type and sizes, a word is a symbol.
pub(crate) fn spec(name: &str, text: &str) -> TensorSpec {
    let mut words = text.split_whitespace();
    let element = words.next().and_then(ElementType::from_name).expect("an element type");
    let size = |word: &str| match word.parse() {
        Ok(size) => Dimension::Fixed(size),
        Err(_) => Dimension::Symbol(word.to_owned()),
    };
    TensorSpec { name: name.to_owned(), element, shape: words.map(size).collect() }
}

pub(crate) fn ints(values: &[i64]) -> Attribute {
    Attribute::Ints(values.to_vec())
}

pub(crate) fn int_tensor(values: &[i64]) -> Tensor {
    Tensor::from_i64(vec![values.len()], values.to_vec()).unwrap()
}

pub(crate) fn float_tensor(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let values = (0..count).map(|index| (index as f32 * 0.37).sin()).collect();
    Tensor::from_f32(shape.to_vec(), values).unwrap()
}

/// A graph of `nodes` from `x` to `y`.
pub(crate) fn graph(input: &str, output: &str, nodes: Vec<Node>) -> Graph {
    Graph {
        name: "sample".to_owned(),
        nodes,
        inputs: vec![spec("x", input)],
        outputs: vec![spec("y", output)],
        ..Graph::default()
    }
}

/// Convolution, activation, pooling, flattening, a linear layer.
pub(crate) fn cnn() -> Model {
    let nodes = vec![
        Node::new("Conv", &["x", "w", "b"], &["c"])
            .with("pads", ints(&[1, 1, 1, 1]))
            .with("kernel_shape", ints(&[3, 3])),
        Node::new("Relu", &["c"], &["r"]),
        Node::new("MaxPool", &["r"], &["p"]).with("kernel_shape", ints(&[2, 2])).with("strides", ints(&[2, 2])),
        Node::new("Flatten", &["p"], &["f"]),
        Node::new("Gemm", &["f", "v", "a"], &["y"]).with("transB", Attribute::Int(1)),
    ];
    let mut graph = graph("f32 N 1 8 8", "f32 N 3", nodes);
    for (name, shape) in [("w", &[2, 1, 3, 3][..]), ("b", &[2]), ("v", &[3, 32]), ("a", &[3])] {
        graph.initializers.insert(name.to_owned(), float_tensor(shape));
    }
    graph.values.insert("r".to_owned(), spec("r", "f32 N 2 8 8"));
    Model::from_graph(graph, 17)
}
