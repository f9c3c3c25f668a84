//! From bytes to the plain view.
//!
//! Field numbers are those of `onnx.proto`. Every list is counted against [`ReadLimits`] while it is read, and
//! no size that the file claims is believed before the bytes for it are there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use runtime_tensor::{Dimension, ElementType, TENSOR_RANK_MAX, TensorSpec};

use crate::read_attribute::RawAttribute;
use crate::read_tensor::{Data, ExternalSource, Initializer, read_initializer};
use crate::wire::Reader;
use crate::{Attribute, Graph, GraphError, Kept, Node, OpaqueAttribute, ReadLimits};

/// What a file holds, before anything is checked or ordered.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawModel {
    pub(crate) ir_version: i64,
    /// Operator set versions by domain; ONNX's own is "".
    pub(crate) opsets: BTreeMap<String, i64>,
    pub(crate) graph: Graph,
    /// Graph outputs whose type or shape the file does not say.
    pub(crate) untyped_outputs: BTreeSet<String>,
    /// Fields of the model that the view does not show.
    pub(crate) kept: Kept,
    /// Whether tensors came from other files.
    pub(crate) external: bool,
    /// Where the elements of the graph's deferred constants stand in the file.
    pub(crate) deferred: BTreeMap<String, Range<usize>>,
}

/// Given a graph, the names of those of its deferred constants that may stay in the file.
pub(crate) type Choose<'c> = &'c dyn Fn(&Graph) -> BTreeSet<String>;

/// Reads with running totals against the limits.
pub(crate) struct Budget<'l> {
    limits: &'l ReadLimits,
    nodes: u64,
    entries: u64,
    tensor_bytes: u64,
}

impl<'l> Budget<'l> {
    pub(crate) fn new(limits: &'l ReadLimits) -> Self {
        Self { limits, nodes: 0, entries: 0, tensor_bytes: 0 }
    }

    fn node(&mut self) -> Result<(), GraphError> {
        self.nodes += 1;
        within("the number of nodes", self.nodes, self.limits.nodes_max)
    }

    pub(crate) fn entries(&mut self, count: usize) -> Result<(), GraphError> {
        self.entries = self.entries.saturating_add(count as u64);
        within("the number of names, attributes and integers", self.entries, self.limits.entries_max)
    }

    pub(crate) fn tensor(&mut self, bytes: u64) -> Result<(), GraphError> {
        self.tensor_bytes = self.tensor_bytes.saturating_add(bytes);
        within("the number of bytes of all tensors", self.tensor_bytes, self.limits.initializer_bytes_max)
    }

    fn nesting(&self, depth: u32) -> Result<(), GraphError> {
        within("the depth of graphs inside graphs", u64::from(depth), u64::from(self.limits.nesting_max))
    }
}

pub(crate) fn within(what: &'static str, found: u64, max: u64) -> Result<(), GraphError> {
    if found > max { Err(GraphError::Limit { what, found, max }) } else { Ok(()) }
}

/// Reads a `ModelProto`.
pub(crate) fn read_model(
    bytes: &[u8],
    limits: &ReadLimits,
    external: &dyn ExternalSource,
    defer: Option<Choose<'_>>,
) -> Result<RawModel, GraphError> {
    within("the number of bytes of the file", bytes.len() as u64, limits.bytes_max)?;
    let mut budget = Budget::new(limits);
    let mut model = RawModel::default();
    let mut graph = None;
    let mut reader = Reader::new(bytes, "ModelProto");
    while let Some(field) = reader.field()? {
        match field.number {
            1 => model.ir_version = field.int()?,
            7 if graph.is_some() => return Err(reader.malformed("there are two graphs")),
            7 => graph = Some(field.message("GraphProto")?),
            8 => {
                budget.entries(1)?;
                let (domain, version) = read_opset(field.message("OperatorSetIdProto")?)?;
                if model.opsets.insert(domain.clone(), version).is_some() {
                    return Err(reader.malformed(format!("operator set {domain:?} is imported twice")));
                }
            }
            _ => model.kept.0.extend_from_slice(&bytes[field.whole]),
        }
    }
    let graph =
        graph.ok_or_else(|| reader.malformed("there is no graph; this is no ONNX model, or only its beginning"))?;
    GraphReader { file: bytes, budget, external, defer, model: &mut model }.read(graph)?;
    // Checked last: an operator set of another domain may be all that a model uses.
    if !model.opsets.contains_key("") && model.graph.nodes.iter().any(Node::is_standard) {
        return Err(reader.malformed("ONNX's own operator set is not imported; the end of the file may be missing"));
    }
    Ok(model)
}

fn read_opset(mut reader: Reader<'_>) -> Result<(String, i64), GraphError> {
    let (mut domain, mut version) = ("", 0);
    while let Some(field) = reader.field()? {
        match field.number {
            1 => domain = field.text()?,
            2 => version = field.int()?,
            _ => {}
        }
    }
    Ok((if domain == "ai.onnx" { String::new() } else { domain.to_owned() }, version))
}

struct GraphReader<'a, 'l> {
    file: &'a [u8],
    budget: Budget<'l>,
    external: &'a dyn ExternalSource,
    defer: Option<Choose<'a>>,
    model: &'a mut RawModel,
}

impl GraphReader<'_, '_> {
    fn read(&mut self, mut reader: Reader<'_>) -> Result<(), GraphError> {
        let mut graph = Graph::default();
        let mut inputs = Vec::new();
        while let Some(field) = reader.field()? {
            match field.number {
                1 => graph.nodes.push(self.read_node(field.message("NodeProto")?)?),
                2 => graph.name = field.text()?.to_owned(),
                5 => {
                    self.budget.entries(1)?;
                    let message = field.message("TensorProto")?;
                    let read = read_initializer(message, &mut self.budget, self.external, self.defer.is_some())?;
                    let Initializer { name, data } = read;
                    let mut is_new = !graph.initializers.contains_key(&name);
                    match data {
                        Data::Here(tensor) => drop(graph.initializers.insert(name.clone(), tensor)),
                        Data::Elsewhere(tensor) => {
                            self.model.external = true;
                            graph.initializers.insert(name.clone(), tensor);
                        }
                        Data::Deferred(spec, range) => {
                            self.model.deferred.insert(name.clone(), range);
                            is_new &= graph.deferred.insert(name.clone(), spec).is_none();
                        }
                    }
                    if !is_new || (graph.initializers.contains_key(&name) && graph.deferred.contains_key(&name)) {
                        return Err(reader.malformed(format!("initializer {name:?} stands in the graph twice")));
                    }
                }
                11 => inputs.push(self.read_value(field.message("ValueInfoProto")?)?),
                12 => {
                    let value = self.read_value(field.message("ValueInfoProto")?)?;
                    if !value.is_known() {
                        self.model.untyped_outputs.insert(value.name.clone());
                    }
                    graph.outputs.push(value.spec("output")?);
                }
                13 => {
                    let value = self.read_value(field.message("ValueInfoProto")?)?;
                    if value.is_known() {
                        graph.values.insert(value.name.clone(), value.spec("value")?);
                    }
                }
                15 => {
                    return Err(GraphError::Unsupported {
                        node: "the graph".to_owned(),
                        operator: "sparse_initializer".to_owned(),
                        reason: "sparse tensors are not supported; export dense ones".to_owned(),
                    });
                }
                _ => graph.kept.0.extend_from_slice(&self.file[field.whole]),
            }
        }
        for value in inputs {
            // Before IR version 4 every initializer was an input, too; callers never give those.
            if !graph.initializers.contains_key(&value.name) && !graph.deferred.contains_key(&value.name) {
                graph.inputs.push(value.spec("input")?);
            }
        }
        if let Some(choose) = self.defer {
            let staying = choose(&graph);
            let (file, ranges) = (self.file, &mut self.model.deferred);
            for (name, range) in std::mem::take(ranges) {
                if staying.contains(&name) {
                    ranges.insert(name, range);
                } else {
                    graph.complete(&name, &file[range])?;
                }
            }
        }
        self.model.graph = graph;
        Ok(())
    }

    fn read_node(&mut self, mut reader: Reader<'_>) -> Result<Node, GraphError> {
        self.budget.node()?;
        let mut node = Node::default();
        while let Some(field) = reader.field()? {
            self.budget.entries(1)?;
            match field.number {
                1 => node.inputs.push(field.text()?.to_owned()),
                2 => node.outputs.push(field.text()?.to_owned()),
                3 => node.name = field.text()?.to_owned(),
                4 => node.operator = field.text()?.to_owned(),
                5 => {
                    let (name, value) = self.read_attribute(field.message("AttributeProto")?)?;
                    if node.attributes.insert(name.clone(), value).is_some() {
                        return Err(reader.malformed(format!("attribute {name:?} stands in {} twice", node.label())));
                    }
                }
                7 => node.domain = field.text()?.to_owned(),
                _ => node.kept.0.extend_from_slice(&self.file[field.whole]),
            }
        }
        if node.operator.is_empty() {
            return Err(reader.malformed(format!("{} has no operator", node.label())));
        }
        Ok(node)
    }

    fn read_attribute(&mut self, message: Reader<'_>) -> Result<(String, Attribute), GraphError> {
        let raw = RawAttribute::read(message, &mut self.budget)?;
        let name = raw.name.to_owned();
        if let Some(value) = raw.plain(&mut self.budget)? {
            return Ok((name, value));
        }
        let mut captured = BTreeSet::new();
        for graph in &raw.graphs {
            self.budget.nesting(1)?;
            captured.append(&mut self.captured(*graph, 1)?);
        }
        let opaque = OpaqueAttribute {
            kind: raw.kind,
            bytes: message.bytes().to_vec(),
            captured: captured.into_iter().collect(),
        };
        self.budget.tensor(opaque.bytes.len() as u64)?;
        Ok((name, Attribute::Opaque(opaque)))
    }

    /// Names that a subgraph reads and does not make itself.
    fn captured(&mut self, mut reader: Reader<'_>, depth: u32) -> Result<BTreeSet<String>, GraphError> {
        let (mut read, mut made) = (BTreeSet::new(), BTreeSet::new());
        while let Some(field) = reader.field()? {
            match field.number {
                1 => {
                    self.budget.node()?;
                    let mut node = field.message("NodeProto")?;
                    while let Some(field) = node.field()? {
                        self.budget.entries(1)?;
                        match field.number {
                            1 => drop(read.insert(field.text()?.to_owned())),
                            2 => drop(made.insert(field.text()?.to_owned())),
                            5 => {
                                let raw = RawAttribute::read(field.message("AttributeProto")?, &mut self.budget)?;
                                for graph in &raw.graphs {
                                    self.budget.nesting(depth + 1)?;
                                    read.append(&mut self.captured(*graph, depth + 1)?);
                                }
                            }
                            _ => {}
                        }
                    }
                }
                // Initializer, input and output carry their name in fields 8, 1 and 1.
                5 => drop(made.insert(read_name(field.message("TensorProto")?, 8)?)),
                11 => drop(made.insert(read_name(field.message("ValueInfoProto")?, 1)?)),
                12 => drop(read.insert(read_name(field.message("ValueInfoProto")?, 1)?)),
                _ => {}
            }
        }
        read.retain(|name| !name.is_empty() && !made.contains(name));
        Ok(read)
    }

    fn read_value(&mut self, mut reader: Reader<'_>) -> Result<Value, GraphError> {
        let mut value = Value::default();
        while let Some(field) = reader.field()? {
            self.budget.entries(1)?;
            match field.number {
                1 => value.name = field.text()?.to_owned(),
                2 => self.read_type(field.message("TypeProto")?, &mut value)?,
                _ => {}
            }
        }
        Ok(value)
    }

    fn read_type(&mut self, mut reader: Reader<'_>, value: &mut Value) -> Result<(), GraphError> {
        while let Some(field) = reader.field()? {
            if field.number != 1 {
                // 4 sequence, 5 map, 8 sparse tensor, 9 optional; 6 is a denotation.
                value.no_tensor |= field.number != 6;
                continue;
            }
            let mut tensor = field.message("TypeProto.Tensor")?;
            while let Some(field) = tensor.field()? {
                match field.number {
                    1 => value.data_type = field.int32()?,
                    2 => value.shape = Some(self.read_shape(field.message("TensorShapeProto")?)?),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn read_shape(&mut self, mut reader: Reader<'_>) -> Result<Vec<Option<Dimension>>, GraphError> {
        let mut shape = Vec::new();
        while let Some(field) = reader.field()? {
            if field.number != 1 {
                continue;
            }
            self.budget.entries(1)?;
            within("the number of axes of one value", shape.len() as u64 + 1, TENSOR_RANK_MAX as u64)?;
            let mut dimension = None;
            let mut inner = field.message("TensorShapeProto.Dimension")?;
            while let Some(field) = inner.field()? {
                match field.number {
                    // Some exporters write -1 for "any".
                    1 => dimension = u64::try_from(field.int()?).ok().map(Dimension::Fixed),
                    2 if !field.text()?.is_empty() => dimension = Some(Dimension::Symbol(field.text()?.to_owned())),
                    _ => {}
                }
            }
            shape.push(dimension);
        }
        Ok(shape)
    }
}

fn read_name(mut reader: Reader<'_>, number: u32) -> Result<String, GraphError> {
    let mut name = "";
    while let Some(field) = reader.field()? {
        if field.number == number {
            name = field.text()?;
        }
    }
    Ok(name.to_owned())
}

/// A `ValueInfoProto`.
#[derive(Default)]
struct Value {
    name: String,
    data_type: i32,
    shape: Option<Vec<Option<Dimension>>>,
    no_tensor: bool,
}

impl Value {
    fn is_known(&self) -> bool {
        ElementType::from_onnx(self.data_type).is_some() && self.shape.is_some()
    }

    /// Unknown sizes get a symbol of their own; an unknown type or rank is an error unless inference can mend it.
    fn spec(self, role: &str) -> Result<TensorSpec, GraphError> {
        let unsupported = |reason: &str| GraphError::Unsupported {
            node: format!("{role} {:?} of the graph", self.name),
            operator: "TypeProto".to_owned(),
            reason: reason.to_owned(),
        };
        if self.no_tensor {
            return Err(unsupported("it is no tensor; sequences, maps and optional values are not supported"));
        }
        let element = match ElementType::from_onnx(self.data_type) {
            Some(element) => element,
            // What inference fills in later.
            None if self.data_type == 0 && role == "output" => ElementType::F32,
            None => {
                return Err(GraphError::Element {
                    place: format!("{role} {:?}", self.name),
                    data_type: self.data_type,
                });
            }
        };
        if self.shape.is_none() && role == "input" {
            return Err(unsupported("its number of axes is unknown; export the model with a shape for every input"));
        }
        let shape = self.shape.unwrap_or_default().into_iter().enumerate();
        let shape = shape.map(|(axis, dimension)| dimension.unwrap_or_else(|| made_up(&self.name, axis))).collect();
        Ok(TensorSpec { name: self.name, element, shape })
    }
}

/// The symbol of a size that nobody named.
pub(crate) fn made_up(value: &str, axis: usize) -> Dimension {
    Dimension::Symbol(format!("{value}.{axis}"))
}
