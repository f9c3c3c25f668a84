//! Small graphs for tests.

use runtime_engine::{Engine, EngineError, LoadOptions, Session};
use runtime_engine_native::NativeEngine;
use runtime_graph::{Graph, Model, Node};
use runtime_tensor::{Dimension, ElementType, Tensor, TensorSpec};

/// A float tensor's specification; `None` is the batch.
pub(crate) fn spec(name: &str, sizes: &[Option<u64>]) -> TensorSpec {
    let size = |size: &Option<u64>| size.map_or_else(|| Dimension::Symbol("batch".into()), Dimension::Fixed);
    TensorSpec { name: name.into(), element: ElementType::F32, shape: sizes.iter().map(size).collect() }
}

/// A graph of `nodes` with the constants `scale` 0.5 and `zero` 0 (i8).
pub(crate) fn graph(nodes: Vec<Node>, inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>) -> Graph {
    let mut graph = Graph { name: "g".into(), nodes, inputs, outputs, ..Graph::default() };
    graph.initializers.insert("scale".into(), Tensor::from_f32(vec![], vec![0.5]).unwrap());
    graph.initializers.insert("zero".into(), Tensor::from_i8(vec![], vec![0]).unwrap());
    graph
}

/// `value` quantized and dequantized under the name `result`.
pub(crate) fn quantized(value: &str, result: &str) -> [Node; 2] {
    let stored = format!("{result}_stored");
    [
        Node::new("QuantizeLinear", &[value, "scale", "zero"], &[&stored]),
        Node::new("DequantizeLinear", &[&stored, "scale", "zero"], &[result]),
    ]
}

pub(crate) fn load(graph: &Graph) -> Result<Box<dyn Session>, EngineError> {
    load_with(graph, &LoadOptions::default())
}

pub(crate) fn load_with(graph: &Graph, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
    NativeEngine::new().load(&Model::from_graph(graph.clone(), 17).write(), options)
}
