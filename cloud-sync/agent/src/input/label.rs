//! From a model's outputs to a label.

use runtime_artifact::Contract;
use runtime_tensor::{NamedTensor, Tensor};
use serde::{Deserialize, Serialize};

/// What the contract's postprocessing makes of one sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Label {
    /// Position on the output's last axis.
    pub(crate) index: usize,
    /// Its name; the position as text where the contract has no labels.
    pub(crate) label: String,
    /// The output's value there, or its softmax where the contract says so.
    pub(crate) score: f64,
}

/// One label for each sample of the contract's output; nothing when the contract does not say how.
pub(crate) fn label(outputs: &[NamedTensor], contract: &Contract) -> Vec<Label> {
    let Some(steps) = &contract.postprocessing else { return Vec::new() };
    let softmax = match steps.kind.as_str() {
        "argmax" => false,
        "softmax" => true,
        _ => return Vec::new(),
    };
    let Some((_, tensor)) = outputs.iter().find(|(name, _)| *name == steps.output) else { return Vec::new() };
    let (Ok(indices), Ok(values)) = (tensor.argmax_last(), tensor.to_f32_vec()) else { return Vec::new() };
    let classes = tensor.shape().last().copied().unwrap_or(1).max(1);
    let sample = |(row, index): (usize, usize)| {
        let scores = values.get(row * classes..(row + 1) * classes)?;
        let best = f64::from(*scores.get(index)?);
        // The best score is also the largest exponent, so nothing overflows.
        let total: f64 = scores.iter().map(|score| (f64::from(*score) - best).exp()).sum();
        let label = contract.labels.get(index).cloned().unwrap_or_else(|| index.to_string());
        Some(Label { index, label, score: if softmax { 1.0 / total } else { best } })
    };
    indices.into_iter().enumerate().filter_map(sample).collect()
}

/// A tensor's values for people, a few of many.
pub(crate) fn excerpt(tensor: &Tensor, values_max: usize) -> String {
    let shown: Vec<String> = (0..tensor.len().min(values_max))
        .map(|index| tensor.value_f64(index).map_or_else(|| "?".to_owned(), |value| format!("{value}")))
        .collect();
    let more = if tensor.len() > values_max { ", .." } else { "" };
    format!("{} {:?} [{}{more}]", tensor.element().name(), tensor.shape(), shown.join(", "))
}
