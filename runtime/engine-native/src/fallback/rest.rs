//! What is left of a model when its regions are programs: one node for each, and the nodes in none.

use std::collections::BTreeSet;

use runtime_engine::{Coverage, EngineError};
use runtime_graph::{Graph, Node, fold_constants};

use super::internal;
use crate::region::{Parts, Region};

/// The operator set of regions, which no file has.
const DOMAIN: &str = "cask";

/// What tract calls the node of region `number`.
pub(super) fn region_name(number: usize) -> String {
    format!("cask region {number}")
}

/// Puts a node for each region of `parts` in the place of what it covers. Returns the coverage and the regions.
///
/// What a region gives is no longer made by the nodes that made it, and all that then no output needs goes away: so
/// it does not matter how the graph that the regions were cut from was rewritten, as long as its values have the names
/// that they have in `model`.
pub(super) fn leave_rest(
    model: &mut runtime_graph::Model,
    parts: Parts,
) -> Result<(Coverage, Vec<Region>), EngineError> {
    let refused = |error: runtime_graph::GraphError| internal(format!("failed to {error}"));
    let opset = model.opset();
    model.set_opset(DOMAIN, 1);
    let graph = model.graph_mut();
    // The regions were cut from a graph without what is constant, and read none of it.
    fold_constants(graph, opset).map_err(refused)?;
    add_regions(graph, &parts.regions).map_err(internal)?;
    model.check().map_err(refused)?;
    let graph = model.graph_mut();
    graph.prune();
    let rest: Vec<&Node> = graph.nodes.iter().filter(|node| node.domain != DOMAIN).collect();
    let coverage = parts.coverage_beside(&rest);
    Ok((coverage, parts.regions))
}

fn add_regions(graph: &mut Graph, regions: &[Region]) -> Result<(), String> {
    let made: BTreeSet<&str> =
        regions.iter().flat_map(|region| &region.outputs).map(|output| output.name.as_str()).collect();
    for node in &mut graph.nodes {
        if node.domain == DOMAIN {
            return Err(format!("{} is of operator set {DOMAIN}, which is this engine's own", node.label()));
        }
        node.outputs.iter_mut().filter(|output| made.contains(output.as_str())).for_each(String::clear);
    }
    for (number, region) in regions.iter().enumerate() {
        let names = |specs: &[runtime_tensor::TensorSpec]| specs.iter().map(|spec| spec.name.clone()).collect();
        graph.nodes.push(Node {
            name: region_name(number),
            operator: "Region".into(),
            domain: DOMAIN.into(),
            inputs: names(&region.inputs),
            outputs: names(&region.outputs),
            ..Node::default()
        });
        graph.values.extend(region.outputs.iter().map(|spec| (spec.name.clone(), spec.clone())));
    }
    Ok(())
}
