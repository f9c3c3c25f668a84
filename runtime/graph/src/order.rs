//! Structure: every value is made once, before it is read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::{Graph, GraphError, Node};

/// The index in [`Graph::nodes`] of the node that makes each value.
pub fn producers(graph: &Graph) -> BTreeMap<&str, usize> {
    let made = |(index, node): (usize, &'_ Node)| -> Vec<(usize, usize)> {
        (0..node.outputs.len()).filter(|&position| !node.outputs[position].is_empty()).map(|p| (index, p)).collect()
    };
    let places = graph.nodes.iter().enumerate().flat_map(made);
    places.map(|(index, position)| (graph.nodes[index].outputs[position].as_str(), index)).collect()
}

/// The indices in [`Graph::nodes`], ascending, of the nodes that read each value, subgraphs included.
pub fn consumers(graph: &Graph) -> BTreeMap<&str, Vec<usize>> {
    let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        for name in node.reads() {
            let readers = found.entry(name).or_default();
            if readers.last() != Some(&index) {
                readers.push(index);
            }
        }
    }
    found
}

/// Checks that each value is made once and that whatever is read is made, and sorts the nodes.
pub(crate) fn check_and_sort(graph: &mut Graph) -> Result<(), GraphError> {
    let mut made: BTreeSet<&str> = graph.initializers.keys().chain(graph.deferred.keys()).map(String::as_str).collect();
    for input in &graph.inputs {
        if !made.insert(&input.name) {
            return Err(GraphError::DuplicateValue {
                node: format!("input {:?} of the graph", input.name),
                operator: "input".to_owned(),
                value: input.name.clone(),
            });
        }
    }
    for node in &graph.nodes {
        for output in node.outputs.iter().filter(|output| !output.is_empty()) {
            if !made.insert(output) {
                return Err(GraphError::DuplicateValue {
                    node: node.label(),
                    operator: node.operator_path(),
                    value: output.clone(),
                });
            }
        }
    }
    for node in &graph.nodes {
        if let Some(input) = node.inputs.iter().find(|input| !input.is_empty() && !made.contains(input.as_str())) {
            return Err(GraphError::MissingInput {
                node: node.label(),
                operator: node.operator_path(),
                input: input.clone(),
            });
        }
    }
    if let Some(output) = graph.outputs.iter().find(|output| !made.contains(output.name.as_str())) {
        return Err(GraphError::MissingOutput { output: output.name.clone() });
    }
    sort(graph)
}

/// Sorts the nodes so that each stands after those that it reads from; nodes already in order keep theirs.
pub(crate) fn sort(graph: &mut Graph) -> Result<(), GraphError> {
    let made_by = producers(graph);
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    let mut waiting: Vec<usize> = vec![0; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        let before: BTreeSet<usize> = node.reads().filter_map(|name| made_by.get(name).copied()).collect();
        waiting[index] = before.len();
        before.into_iter().for_each(|producer| followers[producer].push(index));
    }
    let ready = (0..graph.nodes.len()).filter(|&index| waiting[index] == 0).map(Reverse);
    let mut ready: BinaryHeap<Reverse<usize>> = ready.collect();
    let mut order = Vec::with_capacity(graph.nodes.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &follower in &followers[index] {
            waiting[follower] -= 1;
            if waiting[follower] == 0 {
                ready.push(Reverse(follower));
            }
        }
    }
    if order.len() < graph.nodes.len() {
        return Err(GraphError::Cycle { nodes: find_circle(graph, &made_by, &waiting) });
    }
    if order.windows(2).any(|pair| pair[0] > pair[1]) {
        let mut nodes: Vec<Option<Node>> = std::mem::take(&mut graph.nodes).into_iter().map(Some).collect();
        graph.nodes = order.into_iter().filter_map(|index| nodes[index].take()).collect();
    }
    Ok(())
}

/// Walks from a node that never became ready to one that it waits for, until a node comes again.
fn find_circle(graph: &Graph, made_by: &BTreeMap<&str, usize>, waiting: &[usize]) -> Vec<String> {
    let start = waiting.iter().position(|&count| count > 0);
    let mut at = start.expect("called only when a node never became ready");
    let mut path: Vec<usize> = Vec::new();
    let mut seen: Vec<Option<usize>> = vec![None; waiting.len()];
    let circle = loop {
        if let Some(begin) = seen[at] {
            break &path[begin..];
        }
        seen[at] = Some(path.len());
        path.push(at);
        let mut before = graph.nodes[at].reads().filter_map(|name| made_by.get(name).copied());
        // A node waits only because a node that also waits stands before it.
        at = before.find(|&producer| waiting[producer] > 0).expect("a waiting node reads from a waiting node");
    };
    // Found against the direction of the data.
    circle.iter().rev().map(|&index| graph.nodes[index].label()).collect()
}
