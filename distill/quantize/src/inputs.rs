//! What layers are given: the mean of each input of their sums, and a fair choice of whole rows, in bounded memory.

use std::collections::{BTreeMap, BTreeSet};

use runtime_graph::Model;
use runtime_tensor::NamedTensor;

use crate::QuantizeError;
use crate::linear::Linear;
use crate::noise::Bench;
use crate::probe::walk;
use crate::random::Random;
use crate::windows::Windows;

/// What the layers at some nodes were given.
pub(crate) struct LayerInputs {
    /// By the index of the node.
    pub(crate) layers: BTreeMap<usize, LayerInput>,
}

/// Rows of all groups of a layer, one after the other.
pub(crate) struct LayerInput {
    linear: Linear,
    /// Sums over all rows; empty when means are not wanted.
    sums: Vec<f64>,
    /// Rows seen.
    seen: u64,
    /// Chosen rows.
    pub(crate) rows: Vec<f32>,
    rows_max: usize,
    random: Random,
}

impl LayerInput {
    /// Values of one row: each weight of an output, for each group.
    pub(crate) fn width(&self) -> usize {
        self.linear.groups * self.linear.layout.depth()
    }

    /// The mean of each value of a row.
    pub(crate) fn means(&self) -> Vec<f64> {
        self.sums.iter().map(|sum| sum / self.seen.max(1) as f64).collect()
    }

    /// Every row is chosen with the same probability: Vitter's algorithm R.
    fn see(&mut self, windows: &Windows, values: &[f32], row: &mut Vec<f32>) {
        let (width, depth) = (self.width(), self.linear.layout.depth());
        row.resize(width, 0.0);
        for index in 0..windows.rows() {
            let slot = match self.seen as usize {
                seen if seen < self.rows_max => Some(seen),
                _ => Some(self.random.below(self.seen + 1) as usize).filter(|&slot| slot < self.rows_max),
            };
            self.seen += 1;
            if slot.is_none() && self.sums.is_empty() {
                continue;
            }
            for group in 0..windows.groups() {
                windows.read(values, index, group, &mut row[group * depth..][..depth]);
            }
            self.sums.iter_mut().zip(row.iter()).for_each(|(sum, &value)| *sum += f64::from(value));
            if let Some(slot) = slot {
                self.rows.resize(self.rows.len().max((slot + 1) * width), 0.0);
                self.rows[slot * width..][..width].copy_from_slice(row);
            }
        }
    }
}

/// Runs the float model over the samples and notes what the layers at `nodes` are given.
///
/// Means are exact; of rows at most `rows_max` are kept, chosen by `seed`. A layer whose geometry is not understood is
/// left out.
pub(crate) fn layer_inputs(
    prepared: &Model,
    nodes: &[usize],
    bench: &Bench<'_>,
    (means, rows_max, seed): (bool, usize, u64),
) -> Result<LayerInputs, QuantizeError> {
    let graph = prepared.graph();
    let mut layers = BTreeMap::new();
    let mut by_input: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for &index in nodes {
        let node = &graph.nodes[index];
        let (Ok(linear), Some(input)) = (Linear::of(node, graph), node.input(0)) else { continue };
        let width = linear.groups * linear.layout.depth();
        let sums = if means { vec![0.0; width] } else { Vec::new() };
        // Each layer chooses by its own numbers, so that the choice does not depend on which others are looked at.
        let random = Random::new(seed ^ (index as u64).wrapping_mul(0x9E37_79B9));
        layers.insert(index, LayerInput { linear, sums, seen: 0, rows: Vec::new(), rows_max, random });
        by_input.entry(input).or_default().push(index);
    }
    let is_input = |name: &str| graph.inputs.iter().any(|spec| spec.name == name);
    let inner: BTreeSet<String> =
        by_input.keys().filter(|name| !is_input(name)).map(|name| (*name).to_owned()).collect();
    let mut row = Vec::new();
    let mut see = |tensors: &[NamedTensor], _: u64| {
        for (name, tensor) in tensors {
            for index in by_input.get(name.as_str()).into_iter().flatten() {
                let Some(layer) = layers.get_mut(index) else { continue };
                match Windows::of(&graph.nodes[*index], &layer.linear, tensor.shape()) {
                    Ok(windows) => layer.see(&windows, tensor.as_f32()?, &mut row),
                    Err(reason) => {
                        tracing::debug!(node = graph.nodes[*index].label(), reason, "its inputs are not looked at");
                        layers.remove(index);
                    }
                }
            }
        }
        Ok(())
    };
    walk(prepared, &inner, &mut *(bench.samples)(), (bench.engine, bench.threads), &mut see)?;
    Ok(LayerInputs { layers })
}
