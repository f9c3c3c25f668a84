//! What a graph is cut into: which nodes each region has, what crosses into it and out of it.

use std::collections::{BTreeMap, BTreeSet};

use runtime_graph::{Graph, macs, producers};

use super::batch::Batch;
use super::partition::{Vertex, partition};
use super::reader::{data_reads, needed_nodes};

/// One region of a graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cut {
    /// Positions of its nodes, ascending.
    pub(crate) nodes: Vec<usize>,
    /// Positions of the nodes that work its constants out, which other regions may read too.
    pub(crate) constants: Vec<usize>,
    /// Values that come from outside.
    pub(crate) inputs: Vec<String>,
    /// Values that are read outside.
    pub(crate) outputs: Vec<String>,
}

/// A graph of which some nodes are left out.
pub(crate) struct Outline<'a> {
    graph: &'a Graph,
    makers: BTreeMap<&'a str, usize>,
    covered: Vec<bool>,
    /// Covered nodes that depend on constants only. They belong to whoever reads them, several times if need be.
    constant: Vec<bool>,
    /// Nodes that an output of the graph depends on when programs run the covered ones.
    live: Vec<bool>,
}

impl<'a> Outline<'a> {
    pub(crate) fn new(graph: &'a Graph, is_left_out: impl Fn(usize) -> bool) -> Self {
        let needed = needed_nodes(graph);
        let nodes = graph.nodes.len();
        let mut outline = Self {
            graph,
            makers: producers(graph),
            covered: (0..nodes).map(|node| needed.contains(&node) && !is_left_out(node)).collect(),
            constant: Vec::with_capacity(nodes),
            live: vec![false; nodes],
        };
        let inputs: BTreeSet<&str> = graph.inputs.iter().map(|input| input.name.as_str()).collect();
        for node in 0..nodes {
            let is_constant = |name: &str| match outline.makers.get(name) {
                Some(&maker) => outline.constant.get(maker).copied().unwrap_or(false),
                None => !inputs.contains(name),
            };
            let constant = outline.covered[node] && outline.reads(node).all(is_constant);
            outline.constant.push(constant);
        }
        outline.find_live();
        outline
    }

    /// Values that node `node` needs: a node that is left out works out for itself what shapes covered ones have.
    fn reads(&self, node: usize) -> impl Iterator<Item = &'a str> {
        let here = &self.graph.nodes[node];
        let (data, all) = if self.covered[node] { (Some(data_reads(here)), None) } else { (None, Some(here.reads())) };
        data.into_iter().flatten().chain(all.into_iter().flatten())
    }

    fn find_live(&mut self) {
        let mut names: Vec<&str> = self.graph.outputs.iter().map(|output| output.name.as_str()).collect();
        while let Some(name) = names.pop() {
            let Some(&maker) = self.makers.get(name) else { continue };
            if !std::mem::replace(&mut self.live[maker], true) {
                names.extend(self.reads(maker));
            }
        }
    }

    /// The node that makes `name` at run time.
    fn maker(&self, name: &str) -> Option<usize> {
        self.makers.get(name).copied().filter(|&maker| !self.constant[maker])
    }

    /// The regions.
    pub(crate) fn cuts(&self) -> Vec<Cut> {
        let vertex = |node: usize| {
            let present = self.live[node] && !self.constant[node];
            let before =
                if present { self.reads(node).filter_map(|name| self.maker(name)).collect() } else { Vec::new() };
            Vertex { covered: present && self.covered[node], before }
        };
        let vertices: Vec<Vertex> = (0..self.graph.nodes.len()).map(vertex).collect();
        let regions = partition(&vertices);
        let mut region_of: Vec<Option<usize>> = vec![None; vertices.len()];
        for (number, region) in regions.iter().enumerate() {
            region.iter().for_each(|&node| region_of[node] = Some(number));
        }
        let mut outputs: Vec<BTreeSet<&str>> = vec![BTreeSet::new(); regions.len()];
        let mut cross = |name: &'a str, reader: Option<usize>| {
            let from = self.maker(name).and_then(|maker| region_of[maker]);
            if let Some(from) = from.filter(|&from| Some(from) != reader) {
                outputs[from].insert(name);
            }
        };
        self.graph.outputs.iter().for_each(|output| cross(&output.name, None));
        for node in (0..vertices.len()).filter(|&node| self.live[node] && !self.constant[node]) {
            self.reads(node).for_each(|name| cross(name, region_of[node]));
        }
        let owned = |names: BTreeSet<&str>| names.into_iter().map(str::to_owned).collect();
        regions.into_iter().zip(outputs).map(|(nodes, outputs)| self.cut(nodes, owned(outputs))).collect()
    }

    fn cut(&self, nodes: Vec<usize>, outputs: Vec<String>) -> Cut {
        let mut inside: BTreeSet<usize> = nodes.iter().copied().collect();
        let mut constants = Vec::new();
        let mut waiting = nodes.clone();
        let mut inputs: Vec<String> = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(node) = waiting.pop() {
            for name in self.reads(node).filter(|name| !self.graph.initializers.contains_key(*name)) {
                let maker = self.makers.get(name).copied();
                if let Some(maker) = maker.filter(|&maker| self.constant[maker] && inside.insert(maker)) {
                    constants.push(maker);
                    waiting.push(maker);
                }
                if !maker.is_some_and(|maker| inside.contains(&maker)) && seen.insert(name) {
                    inputs.push(name.to_owned());
                }
            }
        }
        inputs.sort_unstable();
        constants.sort_unstable();
        Cut { nodes, constants, inputs, outputs }
    }
}

impl Cut {
    /// Positions of all its nodes, ascending.
    pub(crate) fn all(&self) -> Vec<usize> {
        let mut all = [self.nodes.as_slice(), &self.constants].concat();
        all.sort_unstable();
        all
    }

    /// Multiply-accumulates of one sample.
    pub(crate) fn macs(&self, graph: &Graph, batch: &Batch) -> u64 {
        self.nodes.iter().map(|&node| macs(&graph.nodes[node], &batch.specs)).fold(0, u64::saturating_add)
    }
}
