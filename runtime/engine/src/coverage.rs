//! What an engine says about how it runs a model.

use serde::{Deserialize, Serialize};

/// The share of a model that an engine's own kernels take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Nodes of the graph after constant folding.
    pub nodes_total: u64,
    /// Nodes inside compiled regions.
    pub nodes_covered: u64,
    /// Multiply-accumulates of one run at batch 1.
    pub macs_total: u64,
    /// Multiply-accumulates inside compiled regions.
    pub macs_covered: u64,
    /// Each node that is not covered, those that no kernel takes first, at most
    /// [`LEFT_OUT_MAX`](Self::LEFT_OUT_MAX).
    pub left_out: Vec<LeftOut>,
}

impl Coverage {
    /// Entries kept in `left_out`: a report for people, not a copy of the graph.
    pub const LEFT_OUT_MAX: usize = 64;

    /// Whether every node is covered.
    pub fn is_whole(&self) -> bool {
        self.nodes_covered == self.nodes_total
    }
}

/// A node that an engine's own kernels do not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Name of the node, or of its first output when it has none.
    pub node: String,
    /// Operator type.
    pub operator: String,
    /// Why, and what would have to change.
    pub reason: String,
}

/// What an answer's bytes depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NumericsClass {
    /// The same bytes on every CPU.
    Exact,
    /// Float arithmetic whose order depends on engine and CPU: equal within a tolerance.
    Float,
}
