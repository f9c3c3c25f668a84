//! From a graph to a program, or to the reasons why not.
//!
//! One walk in the graph's order gives every value a meaning: stored bytes, a real number that bytes stand for, a
//! result whose quantization is still to come, a float. An integer kernel is emitted where a result meets its
//! QuantizeLinear. What has no meaning here is left out by name; then the regions between are compiled each by itself,
//! and the rest goes elsewhere.

mod batch;
mod cut;
mod dynamic;
mod elements;
mod elementwise;
mod finish;
mod float;
mod linear;
mod meaning;
mod movement;
mod normal;
mod pairwise;
mod partition;
mod parts;
mod patterns;
mod product;
mod quantized;
mod reader;
mod resize;
mod tables;
mod weights;
mod windows;

use runtime_engine::{Coverage, LeftOut, NumericsClass};
use runtime_graph::{Borrowed, Graph, GraphError, fold_constants, macs};
use runtime_kernels::Table;

use crate::program::Program;
pub(crate) use parts::{Leftover, Parts, Region};

use batch::Batch;
pub(crate) use elements::weights_only;
use reader::Reader;

/// A model that the kernels cover wholly.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) program: Program,
    /// Exact, unless a step does float arithmetic.
    pub(crate) numerics: NumericsClass,
    pub(crate) coverage: Coverage,
    /// The symbol of the batch; `None` when every size is fixed and the program runs once.
    pub(crate) batch: Option<String>,
}

/// Why a model is not compiled.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Some of it is left to another engine; the coverage says what keeps it from being compiled wholly.
    LeftOut(Box<Leftover>),
    /// Its shapes contradict each other: no engine may run it.
    Bad(GraphError),
}

/// Compiles `model` for runs on up to `threads` threads, or says what keeps it from being compiled.
pub(crate) fn compile(model: Borrowed<'_>, table: &'static Table, threads: usize) -> Result<Compiled, Refusal> {
    let Borrowed { mut graph, opset, weights } = model;
    if let Err(error) = fold_constants(&mut graph, opset) {
        return Err(match error {
            GraphError::Shape { .. } => Refusal::Bad(error),
            other => refused(&graph, format!("failed to {other}")),
        });
    }
    let nodes_total = graph.nodes.len() as u64;
    patterns::rewrite(&mut graph);
    let mut batch = match Batch::of(&graph, opset) {
        Ok(batch) => batch,
        Err(reason) => return Err(refused(&graph, reason)),
    };
    batch.add_borders(&graph);
    let mut coverage = Coverage { nodes_total, ..measure(&graph, &batch) };
    let mut reader = Reader::new((&graph, &weights), &batch, opset, table);
    reader.walk();
    match reader.finish() {
        Ok((mut program, numerics)) => {
            program.set_threads(threads);
            coverage.nodes_covered = coverage.nodes_total;
            coverage.macs_covered = coverage.macs_total;
            Ok(Compiled { program, numerics, coverage, batch: batch.symbol })
        }
        Err(left_out) => {
            // Regions are compiled one by one, perhaps several times.
            if let Err(error) = graph.complete_all(&weights) {
                return Err(refused(&graph, format!("failed to {error}")));
            }
            Err(Refusal::LeftOut(Box::new(Leftover::new(coverage, graph, batch, opset, left_out))))
        }
    }
}

fn measure(graph: &Graph, batch: &Batch) -> Coverage {
    Coverage {
        macs_total: graph.nodes.iter().map(|node| macs(node, &batch.specs)).fold(0, u64::saturating_add),
        ..Coverage::default()
    }
}

/// A graph of which nothing is covered for one reason.
fn refused(graph: &Graph, reason: String) -> Refusal {
    let left_out = LeftOut { node: graph.name.clone(), operator: "graph".into(), reason };
    let nodes_total = graph.nodes.len() as u64;
    let coverage = Coverage { nodes_total, left_out: vec![left_out], ..Coverage::default() };
    Refusal::LeftOut(Box::new(Leftover::nothing(coverage)))
}
