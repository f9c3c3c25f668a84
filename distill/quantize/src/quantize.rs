//! Quantization: a plan becomes a QDQ model.

use std::collections::BTreeMap;

use runtime_graph::Model;
use runtime_tensor::QuantizationPlan;

use crate::emit::Emitter;
use crate::prepare::{prepare, shapes_of};
use crate::refine::WeightCodes;
use crate::select::{Choice, Selection};
use crate::{NodeReport, QuantizeError, QuantizeOptions, QuantizeReport};

/// A quantized model and what was done to make it.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The QDQ model: float inputs and outputs, integers inside.
    pub model: Model,
    /// What became of each node.
    pub report: QuantizeReport,
}

/// Writes the model with the scales of `plan` as QDQ.
///
/// `options` must have the activation type and the skipped nodes that the plan was made for. Scales are those of
/// the plan, for weights as well; `pair_safe` decides whether weights are shrunk where pairs could saturate.
pub fn quantize(model: &Model, plan: &QuantizationPlan, options: &QuantizeOptions) -> Result<Quantized, QuantizeError> {
    let prepared = prepare(model)?;
    let shapes = shapes_of(prepared.graph(), prepared.opset())?;
    let selection = Selection::of(prepared.graph(), &shapes, &options.skip);
    if selection.integer_nodes().next().is_none() {
        return Err(QuantizeError::NothingToDo {
            reason: "no Conv, Gemm or MatMul has constant f32 weights".to_owned(),
        });
    }
    emit(prepared, &selection, plan, options, &BTreeMap::new())
}

/// Writes a prepared model as `selection` says.
pub(crate) fn emit(
    mut prepared: Model,
    selection: &Selection,
    plan: &QuantizationPlan,
    options: &QuantizeOptions,
    codes: &BTreeMap<String, WeightCodes>,
) -> Result<Quantized, QuantizeError> {
    let float = prepared.graph().clone();
    let mut report: Vec<NodeReport> = float
        .nodes
        .iter()
        .zip(&selection.choices)
        .map(|(node, choice)| NodeReport {
            node: node.label(),
            operator: node.operator_path(),
            left_out: match choice {
                Choice::Float(reason) => Some(reason.clone()),
                _ => None,
            },
            weight_noise_db: None,
            weights_shrunk: 0,
            channels_guarded: 0,
        })
        .collect();
    let graph = Emitter::new(&float, selection, plan, options, codes).emit(&mut report)?;
    *prepared.graph_mut() = graph;
    prepared.check()?;
    Ok(Quantized { model: prepared, report: QuantizeReport { nodes: report } })
}
