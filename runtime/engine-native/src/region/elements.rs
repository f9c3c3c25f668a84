//! The elements of constants: in the graph, or still in the file from which the model is read.
//!
//! Large weights are packed straight out of the file. Nothing else is left there: [`weights_only`] says what is.

use std::collections::{BTreeMap, BTreeSet};

use runtime_graph::{Graph, Node, consumers};
use runtime_tensor::{ElementType, Tensor, TensorSpec};

use super::reader::Reason;

/// The bytes of every constant that is still in the file.
pub(crate) type File<'a> = BTreeMap<String, &'a [u8]>;

/// A constant's elements.
#[derive(Clone, Debug)]
pub(crate) enum Elements {
    Here(Tensor),
    /// In the file under this name.
    InFile {
        name: String,
        element: ElementType,
        shape: Vec<usize>,
    },
}

impl Elements {
    /// Those of a deferred constant.
    pub(crate) fn in_file(spec: &TensorSpec) -> Option<Self> {
        let shape = spec.bound_shape(&BTreeMap::new())?;
        Some(Self::InFile { name: spec.name.clone(), element: spec.element, shape })
    }

    pub(crate) fn element(&self) -> ElementType {
        match self {
            Self::Here(tensor) => tensor.element(),
            Self::InFile { element, .. } => *element,
        }
    }

    pub(crate) fn shape(&self) -> &[usize] {
        match self {
            Self::Here(tensor) => tensor.shape(),
            Self::InFile { shape, .. } => shape,
        }
    }

    /// Little-endian, aligned to nothing.
    pub(crate) fn bytes<'b>(&'b self, file: &'b File<'_>) -> &'b [u8] {
        match self {
            Self::Here(tensor) => tensor.bytes(),
            Self::InFile { name, .. } => file.get(name).copied().unwrap_or_default(),
        }
    }

    /// A tensor of its own; shared with the graph where they are there.
    pub(crate) fn tensor(&self, file: &File<'_>) -> Result<Tensor, Reason> {
        match self {
            Self::Here(tensor) => Ok(tensor.clone()),
            Self::InFile { element, shape, .. } => {
                Tensor::new(*element, shape.clone(), self.bytes(file)).map_err(|error| format!("failed to {error}"))
            }
        }
    }
}

/// Which of the deferred constants of `graph` are read as weights alone, dequantized or as they are.
pub(crate) fn weights_only(graph: &Graph) -> BTreeSet<String> {
    let readers = consumers(graph);
    let nodes_of = |name: &str| readers.get(name).into_iter().flatten().map(|&index| &graph.nodes[index]);
    let is_normalized = |node: &Node| {
        let behind = node.outputs.iter().flat_map(|name| nodes_of(name));
        behind.into_iter().any(|node| node.is("BatchNormalization"))
    };
    let multiplies = |node: &Node, name: &str, axes: usize| {
        let takes = match node.operator.as_str() {
            "Conv" => !is_normalized(node),
            "Gemm" | "MatMul" => axes == 2,
            _ => false,
        };
        takes && node.is_standard() && is_only(node, name, 1)
    };
    let sums = |node: &Node, name: &str, axes: usize| {
        let takes = node.is("ConvInteger") || (node.is("MatMulInteger") && axes == 2);
        takes && is_only(node, name, 1)
    };
    let dequantizes = |node: &Node, name: &str, axes: usize| {
        let Some(output) = node.output(0).filter(|output| !graph.is_output(output)) else { return false };
        node.operator == "DequantizeLinear"
            && is_only(node, name, 0)
            && nodes_of(output).all(|node| multiplies(node, output, axes))
    };
    let stays = |spec: &&TensorSpec| {
        let (name, axes) = (spec.name.as_str(), spec.shape.len());
        let takes = |node: &Node| match spec.element {
            ElementType::F32 => multiplies(node, name, axes),
            ElementType::I8 | ElementType::U8 => dequantizes(node, name, axes) || sums(node, name, axes),
            _ => false,
        };
        !graph.is_output(name) && nodes_of(name).all(takes)
    };
    graph.deferred.values().filter(stays).map(|spec| spec.name.clone()).collect()
}

/// Whether `node` reads `name` at input `position` and nowhere else.
fn is_only(node: &Node, name: &str, position: usize) -> bool {
    node.input(position) == Some(name) && node.reads().filter(|&read| read == name).count() == 1
}
