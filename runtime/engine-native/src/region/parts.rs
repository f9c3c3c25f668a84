//! A model that the kernels cover in part: its regions as programs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use runtime_engine::{Coverage, LeftOut};
use runtime_graph::{Graph, Node};
use runtime_kernels::Table;
use runtime_tensor::{Dimension, ElementType, TensorSpec};

use super::batch::Batch;
use super::cut::{Cut, Outline};
use super::elements::File;
use super::reader::{Reader, Reason, Refused};
use crate::program::Program;

/// How often the cut is made anew because a region was refused; each time leaves out more.
const ROUNDS_MAX: usize = 16;
/// Regions of one model, those with the most multiply-accumulates.
const REGIONS_MAX: usize = 256;
/// Rounds after which a refused region is left out with all its nodes.
const ROUNDS_BY_NODE: usize = 8;

/// A model of which some nodes are left out.
#[derive(Debug)]
pub(crate) struct Leftover {
    /// Nothing is covered; the nodes that no kernel takes are named.
    pub(crate) coverage: Coverage,
    inside: Option<Inside>,
}

/// What the walk over a graph found.
#[derive(Debug)]
struct Inside {
    graph: Graph,
    batch: Batch,
    opset: i64,
    /// Nodes that no kernel takes.
    refused: BTreeMap<usize, Reason>,
    /// Nodes that kernels would take, were the region around them one.
    too_little: BTreeSet<usize>,
}

/// A region as a program of its own.
#[derive(Debug)]
pub(crate) struct Region {
    /// f32, u8 and i8 tensors; the batch is their first axis if there is one.
    pub(crate) inputs: Vec<TensorSpec>,
    /// The same.
    pub(crate) outputs: Vec<TensorSpec>,
    /// Whether the program runs once a sample; else once for all.
    pub(crate) by_sample: bool,
    pub(crate) program: Program,
}

/// The regions of a model.
#[derive(Debug)]
pub(crate) struct Parts {
    /// As if there were none.
    pub(crate) coverage: Coverage,
    pub(crate) regions: Vec<Region>,
    /// Multiply-accumulates in them.
    macs: u64,
    /// Why no kernel takes a node, by its outputs.
    reasons: BTreeMap<String, Reason>,
}

impl Leftover {
    /// A model of which nothing can be compiled.
    pub(crate) fn nothing(coverage: Coverage) -> Self {
        Self { coverage, inside: None }
    }

    /// A model of whose `graph` a walk refused `all`.
    pub(crate) fn new(mut coverage: Coverage, graph: Graph, batch: Batch, opset: i64, all: Vec<Refused>) -> Self {
        let mut refused = BTreeMap::new();
        for Refused { node, why } in all {
            if let Some(node) = node {
                refused.entry(node).or_insert_with(|| why.reason.clone());
            }
            if coverage.left_out.len() < Coverage::LEFT_OUT_MAX {
                coverage.left_out.push(why);
            }
        }
        Self { coverage, inside: Some(Inside { graph, batch, opset, refused, too_little: BTreeSet::new() }) }
    }

    /// The regions for runs on up to `threads` threads, none if none is worth it.
    pub(crate) fn into_parts(self, table: &'static Table, threads: usize) -> Parts {
        let Self { coverage, inside } = self;
        let (macs, reasons, regions) = inside.and_then(|inside| inside.parts(table, threads)).unwrap_or_default();
        Parts { coverage, macs, reasons, regions }
    }
}

impl Parts {
    /// The coverage when `rest` are the nodes that are in no region.
    pub(crate) fn coverage_beside(&self, rest: &[&Node]) -> Coverage {
        let reason = |node: &Node| node.outputs.iter().find_map(|output| self.reasons.get(output));
        let refused = rest.iter().filter_map(|node| Some((node, reason(node)?.as_str())));
        let others = rest.iter().filter(|node| reason(node).is_none());
        let others =
            others.map(|node| (node, "too little stands beside it for a region, or only what is left out reads it"));
        let left_out = refused.chain(others).take(Coverage::LEFT_OUT_MAX).map(|(node, reason)| LeftOut {
            node: node.label(),
            operator: node.operator_path(),
            reason: reason.to_owned(),
        });
        Coverage {
            nodes_covered: self.coverage.nodes_total.saturating_sub(rest.len() as u64),
            macs_covered: self.macs,
            left_out: left_out.collect(),
            ..self.coverage
        }
    }
}

type Found = (u64, BTreeMap<String, Reason>, Vec<Region>);

impl Inside {
    fn parts(mut self, table: &'static Table, threads: usize) -> Option<Found> {
        let mut compiled: BTreeMap<Cut, Region> = BTreeMap::new();
        for round in 0..ROUNDS_MAX {
            let is_left_out = |node: usize| self.refused.contains_key(&node) || self.too_little.contains(&node);
            let mut cuts = Outline::new(&self.graph, is_left_out).cuts();
            let mut is_settled = true;
            if cuts.len() > REGIONS_MAX {
                cuts.sort_by_cached_key(|cut| Reverse(cut.macs(&self.graph, &self.batch)));
                self.too_little.extend(cuts.drain(REGIONS_MAX..).flat_map(|cut| cut.nodes));
                is_settled = false;
            }
            let current: BTreeSet<&Cut> = cuts.iter().collect();
            compiled.retain(|cut, _| current.contains(cut));
            for cut in &cuts {
                if compiled.contains_key(cut) {
                    continue;
                }
                match self.check(cut).and_then(|()| self.compile(cut, table, threads)) {
                    Ok(region) => {
                        compiled.insert(cut.clone(), region);
                        continue;
                    }
                    Err(refused) if round < ROUNDS_BY_NODE && !refused.is_empty() => self.refused.extend(refused),
                    Err(_) => self.too_little.extend(&cut.nodes),
                }
                is_settled = false;
            }
            if is_settled {
                return Some(self.finish(&cuts, compiled));
            }
        }
        None
    }

    fn finish(self, cuts: &[Cut], mut compiled: BTreeMap<Cut, Region>) -> Found {
        let macs = cuts.iter().map(|cut| cut.macs(&self.graph, &self.batch)).fold(0, u64::saturating_add);
        let reasons = self.refused.into_iter().flat_map(|(node, reason)| {
            let outputs = self.graph.nodes[node].outputs.iter().filter(|output| !output.is_empty());
            outputs.map(|output| (output.clone(), reason.clone())).collect::<Vec<_>>()
        });
        (macs, reasons.collect(), cuts.iter().filter_map(|cut| compiled.remove(cut)).collect())
    }

    /// Whether `cut` is worth a program, and one that can have its borders; else the nodes to leave out, all when none
    /// is named.
    fn check(&self, cut: &Cut) -> Result<(), BTreeMap<usize, Reason>> {
        if cut.macs(&self.graph, &self.batch) == 0 {
            return Err(BTreeMap::new());
        }
        let mut refused = BTreeMap::new();
        for name in cut.inputs.iter().chain(&cut.outputs) {
            let Err(reason) = self.border(name) else { continue };
            let touches = |&&node: &&usize| {
                let node = &self.graph.nodes[node];
                node.reads().any(|read| read == name) || node.outputs.contains(name)
            };
            refused.extend(cut.nodes.iter().filter(touches).map(|&node| (node, reason.clone())));
        }
        if refused.is_empty() { Ok(()) } else { Err(refused) }
    }

    /// The specification of a value that crosses the border of a region.
    fn border(&self, name: &str) -> Result<TensorSpec, Reason> {
        let sample = self.batch.shape(name)?;
        let element = self.batch.specs.get(name).map(|spec| spec.element).ok_or("its type is not known")?;
        if !matches!(element, ElementType::F32 | ElementType::U8 | ElementType::I8) {
            return Err(format!("{name} would cross the border of a region as {element}; f32, u8 and i8 can"));
        }
        let size = |(axis, &size): (usize, &usize)| match &self.batch.symbol {
            Some(symbol) if axis == 0 => Dimension::Symbol(symbol.clone()),
            _ => Dimension::Fixed(size as u64),
        };
        Ok(TensorSpec { name: name.to_owned(), element, shape: sample.iter().enumerate().map(size).collect() })
    }

    /// The program of `cut`, or the nodes to leave out, all when none is named.
    fn compile(&mut self, cut: &Cut, table: &'static Table, threads: usize) -> Result<Region, BTreeMap<usize, Reason>> {
        let specs = |names: &[String]| names.iter().filter_map(|name| self.border(name).ok()).collect::<Vec<_>>();
        let (inputs, outputs) = (specs(&cut.inputs), specs(&cut.outputs));
        self.batch.set_inputs(&cut.inputs).map_err(|_| BTreeMap::new())?;
        let nodes = cut.all();
        let graph = self.lend(&nodes, &inputs, &outputs);
        let file = File::new();
        let mut reader = Reader::new((&graph, &file), &self.batch, self.opset, table);
        reader.walk();
        let program = match reader.finish() {
            Ok((mut program, _)) => {
                program.set_threads(threads);
                Ok(program)
            }
            Err(refused) => {
                let named = refused.into_iter().filter_map(|refused| Some((nodes[refused.node?], refused.why.reason)));
                Err(named.collect())
            }
        };
        self.graph.initializers.extend(graph.initializers);
        let by_sample = self.batch.symbol.is_some();
        program.map(|program| Region { inputs, outputs, by_sample, program })
    }

    /// `nodes` as a graph that has, for as long as it is compiled, the constants that they read.
    fn lend(&mut self, nodes: &[usize], inputs: &[TensorSpec], outputs: &[TensorSpec]) -> Graph {
        let nodes: Vec<Node> = nodes.iter().map(|&node| self.graph.nodes[node].clone()).collect();
        let mut initializers = BTreeMap::new();
        for name in nodes.iter().flat_map(Node::reads) {
            if let Some((name, tensor)) = self.graph.initializers.remove_entry(name) {
                initializers.insert(name, tensor);
            }
        }
        Graph { nodes, initializers, inputs: inputs.to_vec(), outputs: outputs.to_vec(), ..Graph::default() }
    }
}
