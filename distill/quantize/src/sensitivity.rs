//! Sensitivity ranking: what each node costs when it alone runs on integers.

use runtime_graph::Model;

use crate::linear::Linear;
use crate::noise::Bench;
use crate::prepare::shapes_of;
use crate::quantize::emit;
use crate::refine::Refined;
use crate::select::{Form, Selection};
use crate::{QuantizeError, QuantizeOptions};

/// One node, alone on integers.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSensitivity {
    /// The node's label.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// Signal-to-quantization-noise ratio of the model's outputs, in decibels: the lower, the more sensitive.
    pub sqnr_db: f64,
    /// Bytes that its weights save as integers; 0 for a node without weights.
    pub bytes_saved: u64,
}

/// Every quantizable node that computes, the most sensitive first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    /// The nodes. Of equals, the first of the graph is first.
    pub layers: Vec<LayerSensitivity>,
}

/// Ranks nodes with weights, and nodes that mix values: sums and averages, which have no weights to save.
///
/// Nodes that carry values unchanged have no noise of their own and are not ranked. The same samples give the same
/// ranking on the same engine.
pub fn rank(refined: &Refined, options: &QuantizeOptions, bench: &Bench<'_>) -> Result<Ranking, QuantizeError> {
    let prepared = refined.calibration.prepared();
    let shapes = shapes_of(prepared.graph(), prepared.opset())?;
    let selection = Selection::of(prepared.graph(), &shapes, &options.skip);
    let plan = refined.calibration.plan(options)?;
    let nodes: Vec<(usize, Form)> =
        selection.integer_nodes().filter(|(_, form)| matches!(form, Form::Linear | Form::Mixing)).collect();
    let found = bench.sqnrs_db(prepared, nodes.len(), &mut |position| {
        let alone = selection.only(prepared.graph(), nodes[position].0);
        Ok(emit(prepared.clone(), &alone, &plan, options, &refined.codes)?.model)
    })?;
    let mut layers: Vec<LayerSensitivity> = nodes
        .iter()
        .zip(found)
        .map(|(&(index, form), sqnr_db)| LayerSensitivity {
            node: prepared.graph().nodes[index].label(),
            operator: prepared.graph().nodes[index].operator_path(),
            sqnr_db,
            bytes_saved: if form == Form::Linear { bytes_saved(prepared, index) } else { 0 },
        })
        .collect();
    layers.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
    Ok(Ranking { layers })
}

/// Three of four bytes of each weight.
fn bytes_saved(prepared: &Model, index: usize) -> u64 {
    let weights = Linear::of(&prepared.graph().nodes[index], prepared.graph());
    weights.map_or(0, |linear| 3 * linear.weights.len() as u64)
}
