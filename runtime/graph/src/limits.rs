//! How much of a file is believed.

/// Limits on a model file, checked before memory is reserved for what the file claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes of the model file.
    pub bytes_max: u64,
    /// Nodes of the main graph and all graphs inside it together.
    pub nodes_max: u64,
    /// Bytes of all tensors together, external data included, as they lie in memory.
    pub initializer_bytes_max: u64,
    /// Graphs inside graphs (the bodies of `If`, `Loop`, `Scan`).
    pub nesting_max: u32,
    /// Entries of all lists together: names, attributes, integers, dimensions.
    pub entries_max: u64,
}

impl Default for ReadLimits {
    /// Fits any model of a device or a teacher on one machine: 1 GiB, 100,000 nodes.
    fn default() -> Self {
        Self {
            bytes_max: 1 << 30,
            nodes_max: 100_000,
            initializer_bytes_max: 1 << 30,
            nesting_max: 8,
            entries_max: 4_000_000,
        }
    }
}
