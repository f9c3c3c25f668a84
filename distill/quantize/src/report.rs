//! What was done to each node.

/// One node of the prepared float graph.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeReport {
    /// The node's label.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// Why it stays in float; `None` when it runs on integers.
    pub left_out: Option<String>,
    /// Power of the error of its weights relative to the weights' own power, in decibels (lower is better).
    pub weight_noise_db: Option<f64>,
    /// Weights that were made smaller so that pairs are safe.
    pub weights_shrunk: u64,
    /// Channels so near to zero that their scale was raised, so that bias and products of scales keep their place.
    pub channels_guarded: u64,
}

/// What was done to a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuantizeReport {
    /// Every node of the prepared float graph, in order.
    pub nodes: Vec<NodeReport>,
}

impl QuantizeReport {
    /// Nodes that run on integers.
    pub fn quantized(&self) -> usize {
        self.nodes.iter().filter(|node| node.left_out.is_none()).count()
    }

    /// Nodes that stay in float.
    pub fn left_out(&self) -> impl Iterator<Item = &NodeReport> {
        self.nodes.iter().filter(|node| node.left_out.is_some())
    }
}
