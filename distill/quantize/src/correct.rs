//! Bias correction: rounding weights shifts the mean of a layer's output; its bias takes the shift back.
//!
//! Nagel et al. 2019, arXiv 1906.04721, section 4.2: the shift is the error of the weights times the mean of what
//! they are multiplied with. The mean is the one that calibration samples have.

use std::collections::BTreeMap;

use runtime_graph::Model;
use runtime_tensor::QuantizationPlan;

use crate::calibrate::{Calibration, select};
use crate::inputs::layer_inputs;
use crate::linear::Linear;
use crate::noise::Bench;
use crate::refine::WeightCodes;
use crate::select::{Form, Selection};
use crate::weights::{WeightWish, integer_weights};
use crate::{QuantizeError, QuantizeOptions};

/// For layers by their label: the mean of each value that their weights are multiplied with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerMeans {
    means: BTreeMap<String, Vec<f64>>,
}

/// What became of the bias of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct BiasCorrection {
    /// The node's label.
    pub node: String,
    /// Largest change of a channel's bias; `None` when this layer cannot have a bias.
    pub largest: Option<f64>,
}

/// Runs the float model once over the samples.
pub fn layer_means(
    calibration: &Calibration,
    options: &QuantizeOptions,
    bench: &Bench<'_>,
) -> Result<LayerMeans, QuantizeError> {
    let prepared = calibration.prepared();
    let selection = select(prepared, &options.skip)?;
    let nodes: Vec<usize> =
        selection.integer_nodes().filter(|(_, form)| *form == Form::Linear).map(|(index, _)| index).collect();
    let found = layer_inputs(prepared, &nodes, bench, (true, 0, 0))?;
    let label = |index: &usize| prepared.graph().nodes[*index].label();
    Ok(LayerMeans { means: found.layers.iter().map(|(index, layer)| (label(index), layer.means())).collect() })
}

/// Changes the biases of the integer layers of a prepared model.
pub(crate) fn correct_biases(
    prepared: &mut Model,
    selection: &Selection,
    plan: &QuantizationPlan,
    options: &QuantizeOptions,
    (codes, means): (&BTreeMap<String, WeightCodes>, &LayerMeans),
) -> Result<Vec<BiasCorrection>, QuantizeError> {
    let mut corrections = Vec::new();
    for (index, _) in selection.integer_nodes().filter(|(_, form)| *form == Form::Linear) {
        let node = &prepared.graph().nodes[index];
        let label = node.label();
        let refuse = |reason: String| QuantizeError::Plan { tensor: label.clone(), reason };
        let (Some(means), true) = (means.means.get(&label), node.is("Conv") || node.is("Gemm")) else {
            corrections.push(BiasCorrection { node: label, largest: None });
            continue;
        };
        let mut linear = Linear::of(node, prepared.graph()).map_err(refuse)?;
        let parameters = plan.tensors.get(&linear.name).ok_or_else(|| refuse("it is not in the plan".to_owned()))?;
        let wish = WeightWish { per_channel: parameters.axis.is_some(), ..WeightWish::of(options) };
        let given = codes.get(&linear.name).filter(|codes| codes.scales == parameters.scales);
        let given = given.map(|codes| codes.codes.as_slice());
        let integers = integer_weights(&linear.weights, &linear.layout, parameters, wish, given)?;
        let shifts = shifts(&linear, integers.tensor.as_i8()?, &parameters.scales, means)?;
        let bias = linear.bias.take().unwrap_or_else(|| vec![0.0; linear.layout.outputs]);
        linear.bias = Some(bias.iter().zip(&shifts).map(|(&bias, shift)| (f64::from(bias) - shift) as f32).collect());
        let largest = shifts.iter().map(|shift| shift.abs()).fold(0.0, f64::max);
        corrections.push(BiasCorrection { node: label, largest: Some(largest) });
        linear.write_bias(prepared.graph_mut(), index)?;
    }
    Ok(corrections)
}

/// By how much rounded weights move the mean of each output.
fn shifts(linear: &Linear, codes: &[i8], scales: &[f32], means: &[f64]) -> Result<Vec<f64>, QuantizeError> {
    let layout = linear.layout;
    let weights = linear.weights.as_f32()?;
    let depth = layout.depth();
    let outputs_of_group = (layout.outputs / linear.groups).max(1);
    let shift = |output: usize| {
        let scale = f64::from(if scales.len() > 1 { scales[output] } else { scales[0] });
        let means = &means[output / outputs_of_group * depth..][..depth];
        let one = |(index, mean): (usize, &f64)| {
            let at = layout.offset(output, index);
            (f64::from(codes[at]) * scale - f64::from(weights[at])) * mean
        };
        means.iter().enumerate().map(one).sum()
    };
    Ok((0..layout.outputs).map(shift).collect())
}
