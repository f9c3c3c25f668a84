//! Small steps from which graph rewrites are made.

use std::collections::BTreeSet;

use runtime_tensor::{Tensor, TensorSpec};

use crate::{Graph, Node};

impl Graph {
    /// A value name that nobody uses yet: `wish`, or `wish` with the first free number behind it.
    pub fn fresh_name(&self, wish: &str) -> String {
        let mut taken: BTreeSet<&str> =
            self.initializers.keys().chain(self.deferred.keys()).map(String::as_str).collect();
        taken.extend(self.inputs.iter().chain(&self.outputs).map(|spec| spec.name.as_str()));
        taken.extend(self.nodes.iter().flat_map(|node| node.outputs.iter().map(String::as_str).chain(node.reads())));
        if !taken.contains(wish) {
            return wish.to_owned();
        }
        let numbered = (1u64..).map(|number| format!("{wish}_{number}"));
        numbered.into_iter().find(|name| !taken.contains(name.as_str())).expect("there are more numbers than names")
    }

    /// Adds a constant under a free name and returns that name.
    pub fn add_initializer(&mut self, wish: &str, tensor: Tensor) -> String {
        let name = self.fresh_name(wish);
        self.initializers.insert(name.clone(), tensor);
        name
    }

    /// Lets every node that reads `old` read `new`. Subgraphs that capture `old` go on reading it.
    pub fn replace_reads(&mut self, old: &str, new: &str) {
        for input in self.nodes.iter_mut().flat_map(|node| &mut node.inputs) {
            if input == old {
                *input = new.to_owned();
            }
        }
    }

    /// Whether the graph promises this value to its caller.
    pub fn is_output(&self, value: &str) -> bool {
        self.outputs.iter().any(|output| output.name == value)
    }

    /// The only node that reads `value`, once; `None` when there are others, when a subgraph captures it or when
    /// it is an output of the graph.
    pub fn only_reader(&self, value: &str) -> Option<usize> {
        if self.is_output(value) {
            return None;
        }
        let reads = |node: &Node| node.reads().filter(|&name| name == value).count();
        let mut readers = self.nodes.iter().enumerate().filter(|(_, node)| reads(node) > 0);
        match (readers.next(), readers.next()) {
            (Some((index, node)), None) if reads(node) == 1 && node.inputs.iter().any(|input| input == value) => {
                Some(index)
            }
            _ => None,
        }
    }

    /// Adds inner values to the outputs; those that are outputs already stay where they are.
    pub fn expose(&mut self, values: impl IntoIterator<Item = TensorSpec>) {
        for value in values {
            if !self.is_output(&value.name) {
                self.outputs.push(value);
            }
        }
    }

    /// Drops nodes, initializers and value notes that no output of the graph needs.
    pub fn prune(&mut self) {
        let mut needed: BTreeSet<String> = self.outputs.iter().map(|output| output.name.clone()).collect();
        let mut kept = Vec::with_capacity(self.nodes.len());
        // Backwards: a node stands behind whatever it reads.
        for node in std::mem::take(&mut self.nodes).into_iter().rev() {
            if node.outputs.iter().any(|output| needed.contains(output)) {
                needed.extend(node.reads().map(str::to_owned));
                kept.push(node);
            }
        }
        kept.reverse();
        self.nodes = kept;
        self.initializers.retain(|name, _| needed.contains(name));
        self.deferred.retain(|name, _| needed.contains(name));
        let made: BTreeSet<&str> = self.nodes.iter().flat_map(|node| node.outputs.iter().map(String::as_str)).collect();
        self.values.retain(|name, _| made.contains(name.as_str()));
    }
}
