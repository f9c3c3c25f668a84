//! What can be wrong with a model.

use runtime_tensor::TensorError;

/// Why a model could not be read, checked, changed or written. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// A size in the file is over a limit of [`ReadLimits`](crate::ReadLimits).
    #[error("read the model: {what} is {found}, at most {max} is allowed")]
    Limit {
        /// What was counted.
        what: &'static str,
        /// What the file holds or claims.
        found: u64,
        /// The limit.
        max: u64,
    },
    /// The file ends in the middle of a field.
    #[error("read the model: the file ends at byte {offset} in the middle of {place}; fetch or export it again")]
    Truncated {
        /// Where the unfinished field begins, in bytes from the start of the file.
        offset: u64,
        /// The protobuf message that is unfinished.
        place: &'static str,
    },
    /// The bytes are no ONNX model.
    #[error("read {place} at byte {offset}: {reason}")]
    Malformed {
        /// Where, in bytes from the start of the file.
        offset: u64,
        /// The protobuf message.
        place: &'static str,
        /// What was found and expected.
        reason: String,
    },
    /// Nodes feed each other in a circle.
    #[error("order the nodes: they feed each other in a circle: {}", circle_text(nodes))]
    Cycle {
        /// The nodes of the circle, in order.
        nodes: Vec<String>,
    },
    /// A node reads a value that nothing makes.
    #[error("find input {input:?} of {node} ({operator}): no node, input or initializer makes it")]
    MissingInput {
        /// The node.
        node: String,
        /// Its operator.
        operator: String,
        /// The value.
        input: String,
    },
    /// The graph promises an output that nothing makes.
    #[error("find output {output:?} of the graph: no node, input or initializer makes it")]
    MissingOutput {
        /// The output.
        output: String,
    },
    /// Two places make the same value.
    #[error("take value {value:?} from {node} ({operator}): it is already made by another node, input or initializer")]
    DuplicateValue {
        /// The second maker.
        node: String,
        /// Its operator.
        operator: String,
        /// The value.
        value: String,
    },
    /// A tensor lies in another file that may not be read.
    #[error("read the external data of tensor {tensor:?} from {location:?}: {reason}")]
    ExternalData {
        /// The tensor.
        tensor: String,
        /// The file as the model names it.
        location: String,
        /// Why not.
        reason: String,
    },
    /// An element type that tensors here do not have.
    #[error("take {place}: ONNX data type {data_type} is not supported")]
    Element {
        /// The tensor or value.
        place: String,
        /// `TensorProto.DataType`.
        data_type: i32,
    },
    /// A node uses something that this code cannot do.
    #[error("use {node} ({operator}): {reason}")]
    Unsupported {
        /// The node, input or output.
        node: String,
        /// Its operator.
        operator: String,
        /// What is missing, and what to do.
        reason: String,
    },
    /// Shapes or types that do not fit each other.
    #[error("find the shape of {node} ({operator}): {reason}")]
    Shape {
        /// The node.
        node: String,
        /// Its operator.
        operator: String,
        /// What was found and expected.
        reason: String,
    },
    /// A tensor cannot take the place of an initializer.
    #[error("replace initializer {tensor:?}: {reason}")]
    Initializer {
        /// The initializer.
        tensor: String,
        /// What was found and expected.
        reason: String,
    },
    /// A tensor could not be made.
    #[error("read tensor {tensor:?}: failed to {source}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// Why.
        source: TensorError,
    },
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] runtime_disk::DiskError),
}

/// The first nodes of a circle: one of thousands is no help in a message.
fn circle_text(nodes: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = nodes[..nodes.len().min(SHOWN)].join(" -> ");
    match nodes.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl GraphError {
    /// A short name of the kind of error, for logs and machine-readable output.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Limit { .. } => "too-large",
            Self::Truncated { .. } => "truncated",
            Self::Malformed { .. } => "malformed",
            Self::Cycle { .. } => "cycle",
            Self::MissingInput { .. } => "missing-input",
            Self::MissingOutput { .. } => "missing-output",
            Self::DuplicateValue { .. } => "duplicate-value",
            Self::ExternalData { .. } => "external-data",
            Self::Element { .. } => "unsupported-element",
            Self::Unsupported { .. } => "unsupported",
            Self::Shape { .. } => "shape",
            Self::Initializer { .. } => "initializer",
            Self::Tensor { .. } => "tensor",
            Self::Disk(_) => "disk",
        }
    }
}
