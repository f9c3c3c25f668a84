//! Model.
use std::collections::BTreeMap;
use std::path::Path;
use runtime_tensor::{Tensor, TensorSpec};
use crate::{Graph, GraphError, ReadLimits};
/// A model file and its plain view.
#[derive(Clone, Debug)]
pub struct Model { graph: Graph, opset: i64 }
impl Model {
    /// Reads.
    pub fn read(_bytes: &[u8], _limits: &ReadLimits) -> Result<Self, GraphError> { Err(GraphError::MissingOutput { output: String::new() }) }
    /// Reads a file.
    pub fn read_file(_path: &Path, _limits: &ReadLimits) -> Result<Self, GraphError> { Err(GraphError::MissingOutput { output: String::new() }) }
    /// A model of a graph.
    pub fn from_graph(graph: Graph, opset: i64) -> Self { Self { graph, opset } }
    /// Writes.
    pub fn write(&self) -> Vec<u8> { Vec::new() }
    /// The graph.
    pub fn graph(&self) -> &Graph { &self.graph }
    /// The graph to change.
    pub fn graph_mut(&mut self) -> &mut Graph { &mut self.graph }
    /// Version of ONNX's own operator set.
    pub fn opset(&self) -> i64 { self.opset }
    /// Inputs without initializers.
    pub fn inputs(&self) -> Vec<TensorSpec> { self.graph.inputs.clone() }
    /// Outputs.
    pub fn outputs(&self) -> Vec<TensorSpec> { self.graph.outputs.clone() }
    /// Replaces initializers in a file.
    pub fn replace_initializers(_bytes: &[u8], _tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>, GraphError> { Ok(Vec::new()) }
}
