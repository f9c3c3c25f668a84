//! What can stop a training run.

use runtime_graph::GraphError;
use runtime_tensor::TensorError;

/// A node that cannot be trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedNode {
    /// The node's name, or its first output where it has none.
    pub node: String,
    /// The ONNX operator.
    pub operator: String,
    /// Why it is refused.
    pub reason: String,
}

impl std::fmt::Display for RefusedNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}`: {}", self.operator, self.node, self.reason)
    }
}

fn list(nodes: &[RefusedNode]) -> String {
    let shown: Vec<String> = nodes.iter().take(8).map(ToString::to_string).collect();
    let more = nodes.len().saturating_sub(shown.len());
    let tail = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{tail}", shown.join("; "))
}

/// Why a model was not trained.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The graph has nodes that the trainer has no gradient for.
    #[error("train {}", list(.nodes))]
    Unsupported {
        /// All of them.
        nodes: Vec<RefusedNode>,
    },
    /// The graph as a whole cannot be trained.
    #[error("train this graph: {reason}")]
    BadGraph {
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A node met a shape that it cannot take.
    #[error("run {operator} `{node}`: {reason}")]
    BadShape {
        /// The node.
        node: String,
        /// Its operator.
        operator: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// The data does not fit the model or the options.
    #[error("use the data: {what}: found {found}, expected {expected}")]
    BadData {
        /// Which part.
        what: String,
        /// What is there.
        found: String,
        /// What would fit.
        expected: String,
    },
    /// An option cannot work.
    #[error("use option {option}: found {found}, expected {expected}")]
    BadOption {
        /// Its name.
        option: String,
        /// Its value.
        found: String,
        /// What would work.
        expected: String,
    },
    /// The loss stopped being a number.
    #[error("go on at step {step} (epoch {epoch}): the loss is not a number; {cause}")]
    NotANumber {
        /// The step, counted from 0.
        step: u64,
        /// Its epoch, counted from 1.
        epoch: u32,
        /// The likely cause and what to try.
        cause: String,
    },
    /// The device that was asked for is not there or does not work.
    #[error("use the training device: {reason}")]
    NoDevice {
        /// What was found missing.
        reason: String,
    },
    /// The caller asked to stop.
    #[error("finish training: stopped by the caller at step {step}")]
    Stopped {
        /// The last step that was done.
        step: u64,
    },
    /// The model file.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A tensor of data or weights.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}
