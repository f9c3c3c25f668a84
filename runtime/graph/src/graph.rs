//! The plain view of a graph: nodes, values, constants.

use std::collections::BTreeMap;

use runtime_tensor::{Tensor, TensorSpec};

/// One graph: nodes in an order in which they can run, constants by name, typed inputs and outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Name of the graph.
    pub name: String,
    /// The nodes, each after those that it reads from.
    pub nodes: Vec<Node>,
    /// Constants by name.
    pub initializers: BTreeMap<String, Tensor>,
    /// Constants whose elements are not here: they stay in the file, where [`Borrowed`](crate::Borrowed) has them.
    /// Empty in every other graph.
    pub deferred: BTreeMap<String, TensorSpec>,
    /// What a caller gives, in the model's order, without initializers.
    pub inputs: Vec<TensorSpec>,
    /// What a caller gets, in the model's order.
    pub outputs: Vec<TensorSpec>,
    /// What the file says about inner values; a hint, [`infer_shapes`](crate::infer_shapes) knows better.
    pub values: BTreeMap<String, TensorSpec>,
    /// Protobuf fields of the graph that this view does not show, kept for writing.
    pub kept: Kept,
}

/// One operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Name, often empty; see [`label`](Self::label).
    pub name: String,
    /// Operator, such as `Conv`.
    pub operator: String,
    /// Operator set; empty is ONNX's own.
    pub domain: String,
    /// Values read; an empty name is an absent optional input.
    pub inputs: Vec<String>,
    /// Values made; an empty name is an output that nobody wants.
    pub outputs: Vec<String>,
    /// Attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
    /// Protobuf fields of the node that this view does not show, kept for writing.
    pub kept: Kept,
}

/// Undecoded protobuf fields, byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept(pub(crate) Vec<u8>);

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// `INT`
    Int(i64),
    /// `FLOAT`
    Float(f32),
    /// `STRING` that is UTF-8.
    Text(String),
    /// `TENSOR` of a supported element type.
    Tensor(Tensor),
    /// `INTS`
    Ints(Vec<i64>),
    /// `FLOATS`
    Floats(Vec<f32>),
    /// `STRINGS` that are UTF-8.
    Texts(Vec<String>),
    /// Everything else (subgraphs, sparse tensors, types): kept, never interpreted.
    Opaque(OpaqueAttribute),
}

/// An attribute that is kept and written back byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpaqueAttribute {
    /// `AttributeProto.AttributeType`.
    pub kind: i32,
    /// The whole `AttributeProto`.
    pub(crate) bytes: Vec<u8>,
    /// Names that subgraphs inside read and do not make: values of the graphs around them.
    pub captured: Vec<String>,
}

impl Node {
    /// A node of ONNX's own operator set, without attributes.
    pub fn new(operator: &str, inputs: &[&str], outputs: &[&str]) -> Self {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            name: outputs.first().map(|output| format!("{operator}:{output}")).unwrap_or_default(),
            operator: operator.to_owned(),
            inputs: owned(inputs),
            outputs: owned(outputs),
            ..Self::default()
        }
    }

    /// The same node with one more attribute.
    #[must_use]
    pub fn with(mut self, name: &str, attribute: Attribute) -> Self {
        self.attributes.insert(name.to_owned(), attribute);
        self
    }

    /// What messages call this node: its name, or its first output when it has none.
    pub fn label(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        match self.outputs.iter().find(|output| !output.is_empty()) {
            Some(output) => format!("the node that makes {output}"),
            None => "a node without name and outputs".to_owned(),
        }
    }

    /// Whether this is `operator` of ONNX's own operator set.
    pub fn is(&self, operator: &str) -> bool {
        self.operator == operator && self.is_standard()
    }

    /// Whether the operator belongs to ONNX's own operator set.
    pub fn is_standard(&self) -> bool {
        self.domain.is_empty() || self.domain == "ai.onnx"
    }

    /// The operator with its operator set unless that is ONNX's own: `Conv`, `com.microsoft.QGemm`.
    pub fn operator_path(&self) -> String {
        if self.is_standard() { self.operator.clone() } else { format!("{}.{}", self.domain, self.operator) }
    }

    /// Name of the input at `position`; `None` when it is absent.
    pub fn input(&self, position: usize) -> Option<&str> {
        self.inputs.get(position).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Name of the output at `position`; `None` when nobody wants it.
    pub fn output(&self, position: usize) -> Option<&str> {
        self.outputs.get(position).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Integer attribute, or `default` when it is missing or no integer.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.attributes.get(name) {
            Some(Attribute::Int(value)) => *value,
            _ => default,
        }
    }

    /// Float attribute, or `default` when it is missing or no float.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        match self.attributes.get(name) {
            Some(Attribute::Float(value)) => *value,
            _ => default,
        }
    }

    /// Integer list attribute; `None` when it is missing or no such list.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attributes.get(name) {
            Some(Attribute::Ints(values)) => Some(values),
            _ => None,
        }
    }

    /// Text attribute; `None` when it is missing or no text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name) {
            Some(Attribute::Text(value)) => Some(value),
            _ => None,
        }
    }

    /// Tensor attribute; `None` when it is missing or no tensor.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        match self.attributes.get(name) {
            Some(Attribute::Tensor(value)) => Some(value),
            _ => None,
        }
    }

    /// Every value that running this node reads: its inputs, and what subgraphs in its attributes capture.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        let captured = self.attributes.values().flat_map(|attribute| match attribute {
            Attribute::Opaque(opaque) => opaque.captured.as_slice(),
            _ => &[],
        });
        self.inputs.iter().filter(|name| !name.is_empty()).chain(captured).map(String::as_str)
    }
}
