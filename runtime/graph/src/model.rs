//! A model file: the graph, its operator sets, and the bytes it came from.

use std::collections::BTreeMap;
use std::path::Path;

use runtime_tensor::{Tensor, TensorSpec};

use crate::external::ModelFolder;
use crate::read::{RawModel, read_model};
use crate::read_tensor::{ExternalSource, NoExternalData};
use crate::{Graph, GraphError, Kept, ReadLimits, infer_shapes, order, splice, write};

/// What the file says made it.
const PRODUCER: &str = "cask";

/// A model: its file and the plain view of its graph.
///
/// Invariant: as long as [`graph_mut`](Self::graph_mut) was not called, [`write`](Self::write) gives the very
/// bytes that were read. A changed model is encoded anew, with every field that the view does not show kept.
#[derive(Clone, Debug)]
pub struct Model {
    /// The file, while it still says the same as `graph`.
    source: Option<Vec<u8>>,
    ir_version: i64,
    opsets: BTreeMap<String, i64>,
    graph: Graph,
    kept: Kept,
}

impl Model {
    /// Reads a model that is one file. External data is refused.
    pub fn read(bytes: &[u8], limits: &ReadLimits) -> Result<Self, GraphError> {
        Self::read_with(bytes.to_vec(), limits, &NoExternalData)
    }

    /// Reads a model file, with external data only from inside the file's own folder.
    ///
    /// [`write`](Self::write) then gives one file with all data inside.
    pub fn read_file(path: &Path, limits: &ReadLimits) -> Result<Self, GraphError> {
        let bytes = runtime_disk::read_bounded(path, limits.bytes_max)?;
        Self::read_with(bytes, limits, &ModelFolder::of(path))
    }

    fn read_with(bytes: Vec<u8>, limits: &ReadLimits, external: &dyn ExternalSource) -> Result<Self, GraphError> {
        let raw = read_model(&bytes, limits, external, None)?;
        let RawModel { ir_version, opsets, mut graph, untyped_outputs, kept, external, .. } = raw;
        order::check_and_sort(&mut graph)?;
        let mut model = Self { source: (!external).then_some(bytes), ir_version, opsets, graph, kept };
        if !untyped_outputs.is_empty() {
            let opset = model.opset();
            type_outputs(&mut model.graph, opset, &|name| untyped_outputs.contains(name))?;
        }
        Ok(model)
    }

    /// A new model of `graph`, whose operators are those of version `opset` of ONNX's own operator set.
    pub fn from_graph(graph: Graph, opset: i64) -> Self {
        let mut producer = crate::wire::Writer::default();
        producer.text(2, PRODUCER);
        Self {
            source: None,
            ir_version: ir_version_for(opset),
            opsets: BTreeMap::from([(String::new(), opset)]),
            graph,
            kept: Kept(producer.bytes),
        }
    }

    /// The file.
    pub fn write(&self) -> Vec<u8> {
        match &self.source {
            Some(bytes) => bytes.clone(),
            None => write::write_model(self.ir_version.max(IR_VERSION_MIN), &self.opsets, &self.graph, &self.kept),
        }
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The graph, to be changed. Call [`check`](Self::check) when done.
    pub fn graph_mut(&mut self) -> &mut Graph {
        self.source = None;
        &mut self.graph
    }

    /// The graph without the rest of the model.
    pub fn into_graph(self) -> Graph {
        self.graph
    }

    /// Checks a changed graph as a read one is checked, and sorts its nodes.
    pub fn check(&mut self) -> Result<(), GraphError> {
        order::check_and_sort(&mut self.graph)
    }

    /// Version of ONNX's own operator set.
    pub fn opset(&self) -> i64 {
        opset_of(&self.opsets)
    }

    /// Version of an operator set; `None` when the model does not import it.
    pub fn opset_of(&self, domain: &str) -> Option<i64> {
        self.opsets.get(if domain == "ai.onnx" { "" } else { domain }).copied()
    }

    /// Declares the version of an operator set. Changes no node: see [`raise_opset`](crate::raise_opset).
    pub fn set_opset(&mut self, domain: &str, version: i64) {
        self.source = None;
        self.opsets.insert(if domain == "ai.onnx" { String::new() } else { domain.to_owned() }, version);
        if self.opset_of("").is_some() {
            self.ir_version = self.ir_version.max(ir_version_for(self.opset()));
        }
    }

    /// What a caller gives: the graph's inputs without its initializers.
    pub fn inputs(&self) -> Vec<TensorSpec> {
        self.graph.inputs.clone()
    }

    /// What a caller gets.
    pub fn outputs(&self) -> Vec<TensorSpec> {
        self.graph.outputs.clone()
    }

    /// The file `bytes` with new values in the initializers named by `tensors`.
    ///
    /// Data stored as typed lists becomes `raw_data`; the lengths of the messages around it follow; every other
    /// byte stays. Each tensor must have the type and shape that the file says.
    pub fn replace_initializers(bytes: &[u8], tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>, GraphError> {
        splice::replace_initializers(bytes, tensors)
    }
}

/// Version of ONNX's own operator set among `opsets`; the oldest when it is not imported.
pub(crate) fn opset_of(opsets: &BTreeMap<String, i64>) -> i64 {
    opsets.get("").copied().unwrap_or(1)
}

/// Fills in what the file does not say about its outputs.
pub(crate) fn type_outputs(graph: &mut Graph, opset: i64, is_untyped: &dyn Fn(&str) -> bool) -> Result<(), GraphError> {
    let mut untyped = graph.clone();
    untyped.outputs.retain(|output| !is_untyped(&output.name));
    let found = infer_shapes(&untyped, opset, &BTreeMap::new())?;
    for output in graph.outputs.iter_mut().filter(|output| is_untyped(&output.name)) {
        *output = found.get(&output.name).cloned().ok_or_else(|| GraphError::Unsupported {
            node: format!("output {:?} of the graph", output.name),
            operator: "TypeProto".to_owned(),
            reason: "the file does not say its type and shape, and they cannot be inferred".to_owned(),
        })?;
    }
    Ok(())
}

/// Since this format version an initializer need not be an input, too; this crate never writes it as one.
const IR_VERSION_MIN: i64 = 4;

/// The format version that ONNX released with this operator set, from its table of releases.
fn ir_version_for(opset: i64) -> i64 {
    match opset {
        ..=9 => IR_VERSION_MIN,
        10 => 5,
        11 => 6,
        12..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        24 => 12,
        25..=27 => 13,
        _ => 14,
    }
}
