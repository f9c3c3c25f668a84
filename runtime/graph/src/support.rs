//! What others cannot do, by name.

use crate::Graph;

/// A node whose operator somebody does not support.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnsupportedNode {
    /// The node's label.
    pub node: String,
    /// Its operator, with its operator set unless that is ONNX's own: `Loop`, `com.microsoft.QGemm`.
    pub operator: String,
}

/// The nodes whose operators do not stand in `supported`, in the order of the graph.
///
/// An operator of another set than ONNX's own is listed with it: `com.microsoft.QGemm`.
pub fn unsupported(graph: &Graph, supported: &[&str]) -> Vec<UnsupportedNode> {
    let missing = graph.nodes.iter().filter(|node| !supported.contains(&node.operator_path().as_str()));
    missing.map(|node| UnsupportedNode { node: node.label(), operator: node.operator_path() }).collect()
}
