//! AdaRound: weights are rounded up or down so that the layer's output changes least, not each to its nearest.
//!
//! Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization", arXiv 2004.10568: each weight
//! gets a variable between down (0) and up (1); its error on inputs of the layer and a term that pulls it to one of
//! the ends are minimized together. Afterwards single weights are turned as long as that helps. A channel whose
//! rounding is no better on inputs that it was not fitted to keeps the nearest integers.

use std::collections::BTreeMap;

use crate::calibrate::{Calibration, select};
use crate::inputs::{LayerInput, layer_inputs};
use crate::linear::Linear;
use crate::noise::Bench;
use crate::random::Random;
use crate::refine::WeightCodes;
use crate::select::Form;
use crate::weights::{WeightWish, integer_weights};
use crate::{QuantizeError, QuantizeOptions};

/// Bytes of chosen rows that are held at a time; a model with more is walked through several times.
const ROWS_BYTES_MAX: usize = 48 << 20;
/// Ends of the stretched sigmoid (the paper's zeta and gamma): ends are reached, not only approached.
const STRETCH: (f32, f32) = (1.1, -0.1);
/// Weight of the term that pulls variables to their ends, relative to the error of nearest rounding.
const PULL: f32 = 0.02;
/// The pull's exponent, from soft to hard.
const EXPONENT: (f32, f32) = (20.0, 2.0);
/// Share of steps without a pull.
const WARM_UP: f32 = 0.2;
const LEARNING_RATE: f32 = 0.02;
/// Rows of one step.
const BATCH: usize = 32;
/// One row in this many is kept from the fit to judge it.
const JUDGED: usize = 6;
/// Sweeps of turning single weights.
const SWEEPS_MAX: usize = 4;

/// How to round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundingOptions {
    /// Rows of a layer's input that are kept: a row is what one output value is a sum over.
    pub rows_max: usize,
    /// Steps of the optimizer for each layer.
    pub steps: u32,
    /// Chooses rows and their order.
    pub seed: u64,
}

impl Default for RoundingOptions {
    fn default() -> Self {
        Self { rows_max: 1536, steps: 600, seed: 0 }
    }
}

/// What rounding did to one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundedLayer {
    /// The node's label.
    pub node: String,
    /// Error of the layer's output relative to the output, in decibels, with nearest rounding; on rows that the fit
    /// did not see.
    pub nearest_db: f64,
    /// The same with the integers chosen.
    pub chosen_db: f64,
    /// Weights that are not at their nearest integer.
    pub turned: u64,
}

/// Integers for all layers and what they do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rounding {
    /// By the name of the weights.
    pub codes: BTreeMap<String, WeightCodes>,
    /// In the order of the graph.
    pub layers: Vec<RoundedLayer>,
}

/// Rounds the weights of every layer that runs on integers.
///
/// The same model, samples and seed give the same integers. Layers that share their weights with others keep nearest
/// rounding.
pub fn round_adaptively(
    calibration: &Calibration,
    options: &QuantizeOptions,
    rounding: &RoundingOptions,
    bench: &Bench<'_>,
) -> Result<Rounding, QuantizeError> {
    let (prepared, plan) = (calibration.prepared(), calibration.plan(options)?);
    let graph = prepared.graph();
    let selection = select(prepared, &options.skip)?;
    let mut linears = Vec::new();
    for (index, _) in selection.integer_nodes().filter(|(_, form)| *form == Form::Linear) {
        if let Ok(linear) = Linear::of(&graph.nodes[index], graph)
            && graph.only_reader(&linear.name) == Some(index)
        {
            linears.push((index, linear));
        }
    }
    let mut found = Rounding::default();
    let mut rest = linears.as_slice();
    while !rest.is_empty() {
        let bytes = |linear: &Linear| 4 * rounding.rows_max * linear.groups * linear.layout.depth();
        let mut total = 0;
        let fits = rest.iter().take_while(|(_, linear)| {
            total += bytes(linear);
            total <= ROWS_BYTES_MAX
        });
        let (part, others) = rest.split_at(fits.count().max(1));
        rest = others;
        let nodes: Vec<usize> = part.iter().map(|(index, _)| *index).collect();
        let mut inputs = layer_inputs(prepared, &nodes, bench, (false, rounding.rows_max, rounding.seed))?;
        for (index, linear) in part {
            let Some(input) = inputs.layers.remove(index) else { continue };
            let parameters = &plan.tensors[&linear.name];
            let wish = WeightWish { per_channel: parameters.axis.is_some(), ..WeightWish::of(options) };
            let nearest = integer_weights(&linear.weights, &linear.layout, parameters, wish, None)?.tensor;
            let layer = Layer { linear, input: &input, scales: &parameters.scales, wish };
            let (codes, mut report) = layer.round(nearest.as_i8()?, rounding)?;
            report.node = graph.nodes[*index].label();
            tracing::debug!(report.node, report.nearest_db, report.chosen_db, report.turned, "rounded");
            found.layers.push(report);
            found.codes.insert(linear.name.clone(), WeightCodes { scales: parameters.scales.clone(), codes });
        }
    }
    Ok(found)
}

/// One layer and the rows of its input.
struct Layer<'a> {
    linear: &'a Linear,
    input: &'a LayerInput,
    scales: &'a [f32],
    wish: WeightWish,
}

impl Layer<'_> {
    fn round(&self, nearest: &[i8], options: &RoundingOptions) -> Result<(Vec<i8>, RoundedLayer), QuantizeError> {
        let layout = self.linear.layout;
        let (depth, width) = (layout.depth(), self.input.width());
        let outputs_of_group = (layout.outputs / self.linear.groups).max(1);
        let weights = self.linear.weights.as_f32()?;
        let mut codes = nearest.to_vec();
        let mut power = [0.0f64; 3];
        let mut turned = 0;
        for group in 0..self.linear.groups {
            // Rows of this group: those to fit to, and those to judge by.
            let mut rows = [Vec::new(), Vec::new()];
            for (position, row) in self.input.rows.chunks_exact(width).enumerate() {
                let part = usize::from(position % JUDGED == JUDGED - 1);
                rows[part].extend_from_slice(&row[group * depth..][..depth]);
            }
            let fit = Fit { rows: &rows[0], depth, columns: columns(&rows[0], depth) };
            for output in group * outputs_of_group..((group + 1) * outputs_of_group).min(layout.outputs) {
                let scale = if self.scales.len() > 1 { self.scales[output] } else { self.scales[0] };
                let places: Vec<usize> = (0..depth).map(|index| layout.offset(output, index)).collect();
                let target: Vec<f32> = places.iter().map(|&at| weights[at] / scale).collect();
                let before: Vec<i8> = places.iter().map(|&at| nearest[at]).collect();
                let mut random = Random::new(options.seed.wrapping_add(output as u64));
                let mut after = fit.round(&target, &before, self.wish, options.steps, &mut random);
                if self.wish.pair_safe {
                    crate::make_pair_safe(&mut after, layout.channels, layout.places);
                }
                let judged = |codes: &[i8]| error(&rows[1], depth, &target, codes);
                let (old, new) = (judged(&before), judged(&after));
                let better = new < old;
                let unit = f64::from(scale).powi(2);
                power[0] += unit * error(&rows[1], depth, &target, &vec![0; depth]);
                power[1] += unit * old;
                power[2] += unit * if better { new } else { old };
                if better {
                    turned += before.iter().zip(&after).filter(|(before, after)| before != after).count() as u64;
                    places.iter().zip(after).for_each(|(&at, code)| codes[at] = code);
                }
            }
        }
        let decibels = |error: f64| if error > 0.0 { 10.0 * (error / power[0]).log10() } else { f64::NEG_INFINITY };
        let (nearest_db, chosen_db) = (decibels(power[1]), decibels(power[2]));
        Ok((codes, RoundedLayer { node: String::new(), nearest_db, chosen_db, turned }))
    }
}

/// Squared error of an output over `rows`, in units of the scale.
fn error(rows: &[f32], depth: usize, target: &[f32], codes: &[i8]) -> f64 {
    let difference: Vec<f32> = codes.iter().zip(target).map(|(&code, target)| f32::from(code) - target).collect();
    rows.chunks_exact(depth).map(|row| f64::from(dot(row, &difference)).powi(2)).sum()
}

fn dot(left: &[f32], right: &[f32]) -> f32 {
    // Eight sums side by side: a fixed order that the compiler can turn into vectors.
    let mut sums = [0.0f32; 8];
    let (left_whole, left_rest) = left.as_chunks::<8>();
    let (right_whole, right_rest) = right.as_chunks::<8>();
    for (left, right) in left_whole.iter().zip(right_whole) {
        for lane in 0..8 {
            sums[lane] += left[lane] * right[lane];
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
    sums.iter().sum::<f32>() + rest
}

/// The rows turned: one after the other what each weight is multiplied with.
fn columns(rows: &[f32], depth: usize) -> Vec<f32> {
    let count = rows.len() / depth;
    let mut found = vec![0.0; rows.len()];
    for (row, values) in rows.chunks_exact(depth).enumerate() {
        values.iter().enumerate().for_each(|(column, &value)| found[column * count + row] = value);
    }
    found
}

/// Rows that the integers of an output are fitted to.
struct Fit<'a> {
    rows: &'a [f32],
    depth: usize,
    columns: Vec<f32>,
}

impl Fit<'_> {
    /// Integers for weights of `target`, in units of the scale.
    fn round(&self, target: &[f32], nearest: &[i8], wish: WeightWish, steps: u32, random: &mut Random) -> Vec<i8> {
        let high = wish.code_max();
        // Eight bits keep clear of -128, as everywhere; of fewer bits the lowest integer is used, too.
        let low = if wish.bits < 8 { -high - 1.0 } else { -high };
        let floors: Vec<f32> = target.iter().map(|target| target.floor().clamp(low, high - 1.0)).collect();
        let count = self.rows.len() / self.depth;
        let mut codes = nearest.to_vec();
        if count > 0 && steps > 0 {
            let ups = self.relax(target, &floors, nearest, steps, random);
            codes =
                floors.iter().zip(ups).map(|(floor, up)| (floor + if up >= 0.5 { 1.0 } else { 0.0 }) as i8).collect();
            if error(self.rows, self.depth, target, &codes) > error(self.rows, self.depth, target, nearest) {
                codes.copy_from_slice(nearest);
            }
            self.turn(target, &floors, &mut codes);
        }
        codes
    }

    /// The relaxed problem: how far up each weight goes, from 0 to 1.
    fn relax(&self, target: &[f32], floors: &[f32], nearest: &[i8], steps: u32, random: &mut Random) -> Vec<f32> {
        let (high, low) = STRETCH;
        let count = self.rows.len() / self.depth;
        let batch = BATCH.min(count);
        let start = |(target, floor): (&f32, &f32)| {
            let share = ((target - floor).clamp(0.01, 0.99) - low) / (high - low);
            (share / (1.0 - share)).ln()
        };
        let mut variables: Vec<f32> = target.iter().zip(floors).map(start).collect();
        let (mut first, mut second) = (vec![0.0f32; self.depth], vec![0.0f32; self.depth]);
        // Errors are taken relative to nearest rounding, so that one pull fits layers of every scale.
        let unit = (error(self.rows, self.depth, target, nearest) / count as f64).max(1e-12) as f32;
        let mut gradient = vec![0.0f32; self.depth];
        let mut ups = vec![0.0f32; self.depth];
        for step in 0..steps {
            let progress = step as f32 / steps as f32;
            let sigmoid: Vec<f32> = variables.iter().map(|value| 1.0 / (1.0 + (-value).exp())).collect();
            for (up, sigmoid) in ups.iter_mut().zip(&sigmoid) {
                *up = (sigmoid * (high - low) + low).clamp(0.0, 1.0);
            }
            let difference: Vec<f32> =
                ups.iter().zip(floors).zip(target).map(|((up, floor), target)| floor + up - target).collect();
            gradient.fill(0.0);
            for _ in 0..batch {
                let row = &self.rows[random.below(count as u64) as usize * self.depth..][..self.depth];
                let pull = 2.0 * dot(row, &difference) / (unit * batch as f32);
                gradient.iter_mut().zip(row).for_each(|(gradient, value)| *gradient += pull * value);
            }
            if progress >= WARM_UP {
                let done = (progress - WARM_UP) / (1.0 - WARM_UP);
                let exponent =
                    EXPONENT.1 + (EXPONENT.0 - EXPONENT.1) * 0.5 * (1.0 + (done * std::f32::consts::PI).cos());
                for (gradient, up) in gradient.iter_mut().zip(&ups) {
                    let distance = 2.0 * up - 1.0;
                    *gradient -= PULL * 2.0 * exponent * distance.abs().powf(exponent - 1.0) * distance.signum();
                }
            }
            let (decay, correction) = ((0.9f32, 0.999f32), step as i32 + 1);
            for index in 0..self.depth {
                let slope = sigmoid[index] * (1.0 - sigmoid[index]) * (high - low);
                let inside = ups[index] > 0.0 && ups[index] < 1.0;
                let gradient = if inside { gradient[index] * slope } else { 0.0 };
                first[index] = decay.0 * first[index] + (1.0 - decay.0) * gradient;
                second[index] = decay.1 * second[index] + (1.0 - decay.1) * gradient * gradient;
                let mean = first[index] / (1.0 - decay.0.powi(correction));
                let deviation = (second[index] / (1.0 - decay.1.powi(correction))).sqrt();
                variables[index] -= LEARNING_RATE * mean / (deviation + 1e-8);
            }
        }
        ups
    }

    /// Turns single weights up or down while the error over all rows falls.
    fn turn(&self, target: &[f32], floors: &[f32], codes: &mut [i8]) {
        let count = self.rows.len() / self.depth;
        let difference: Vec<f32> = codes.iter().zip(target).map(|(&code, target)| f32::from(code) - target).collect();
        let mut errors: Vec<f32> = self.rows.chunks_exact(self.depth).map(|row| dot(row, &difference)).collect();
        for _ in 0..SWEEPS_MAX {
            let mut turned = false;
            for index in 0..self.depth {
                let column = &self.columns[index * count..][..count];
                let by = if f32::from(codes[index]) > floors[index] { -1.0 } else { 1.0 };
                let change = 2.0 * by * dot(column, &errors) + dot(column, column);
                if change < 0.0 {
                    turned = true;
                    codes[index] = (f32::from(codes[index]) + by) as i8;
                    errors.iter_mut().zip(column).for_each(|(error, value)| *error += by * value);
                }
            }
            if !turned {
                break;
            }
        }
    }
}
