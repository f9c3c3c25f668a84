//! Quantization: one way after the other until the budget is met on the validation part.

use distill_quantize::{Activation, CalibrationOptions, ObserverKind, QuantizeOptions, calibrate, quantize};
use runtime_console::Console;
use runtime_engine::Engine;
use runtime_graph::Model;
use runtime_tensor::{Dimension, Tensor};
use serde::Serialize;

use crate::budget::Comparison;
use crate::data::{Part, rows};
use crate::error::{PipelineError, Result};
use crate::recipe::{ActivationName, BudgetSection, ObserverName, QuantizeSection};
use crate::runner::{Runner, classes};

/// Samples of one calibration run.
const CALIBRATION_BATCH: usize = 32;

/// One way that was tried.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Attempt {
    pub(crate) observer: String,
    pub(crate) validation: Comparison,
    /// Limits that it breaks; empty when the budget is met.
    pub(crate) broken: Vec<String>,
}

/// What the search came to.
pub(crate) struct Found {
    /// Bytes of the best int8 model.
    pub(crate) int8: Vec<u8>,
    pub(crate) best: Attempt,
    pub(crate) attempts: Vec<Attempt>,
    /// Nodes that stay in float, with the reason.
    pub(crate) left_out: Vec<String>,
}

impl Found {
    /// Whether the best result meets the budget.
    pub(crate) fn met(&self) -> bool {
        self.best.broken.is_empty()
    }
}

/// The options of a section.
pub(crate) fn options(section: &QuantizeSection) -> QuantizeOptions {
    QuantizeOptions {
        per_channel: section.per_channel,
        pair_safe: section.pair_safe,
        activation: match section.activation {
            ActivationName::U8 => Activation::U8,
            ActivationName::I8 => Activation::I8,
        },
        skip: section.skip.clone(),
    }
}

/// The observer of a name; `percentile` is in percent.
pub(crate) fn observer(name: ObserverName, percentile: f64) -> ObserverKind {
    match name {
        ObserverName::Minmax => ObserverKind::MinMax,
        ObserverName::Percentile => ObserverKind::Percentile(percentile / 100.0),
        ObserverName::Mse => ObserverKind::SquaredError,
    }
}

fn observer_text(observer: ObserverKind) -> String {
    match observer {
        ObserverKind::MinMax => "minmax".to_owned(),
        ObserverKind::Percentile(share) => format!("percentile {}", share * 100.0),
        ObserverKind::SquaredError => "mse".to_owned(),
    }
}

/// The ways to try, the recipe's first.
fn candidates(section: &QuantizeSection) -> Vec<ObserverKind> {
    let mut list = vec![observer(section.observer, section.percentile)];
    let others = [
        ObserverKind::MinMax,
        ObserverKind::SquaredError,
        ObserverKind::Percentile(0.9999),
        ObserverKind::Percentile(0.999),
    ];
    for other in others {
        if !list.contains(&other) {
            list.push(other);
        }
    }
    list
}

/// Calibrates and quantizes once.
pub(crate) fn quantize_once(
    student: &Model,
    calibration: &Tensor,
    engine: &dyn Engine,
    observer: ObserverKind,
    quantize_options: &QuantizeOptions,
) -> Result<(Vec<u8>, Vec<String>)> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = CalibrationOptions { observer, quantize: quantize_options.clone(), threads };
    let inputs = student.inputs();
    let input = inputs.first().ok_or_else(|| PipelineError::Unsupported("found a model without inputs".to_owned()))?;
    let name = input.name.clone();
    let (batch, fixed) = match input.shape.first() {
        Some(Dimension::Fixed(batch)) => (usize::try_from(*batch).unwrap_or(1).max(1), true),
        _ => (CALIBRATION_BATCH, false),
    };
    // A model of a fixed batch skips the samples that do not fill one.
    let samples = calibration.shape()[0];
    let mut batches = (0..samples).step_by(batch).filter(|start| !fixed || start + batch <= samples).map(|start| {
        let indices: Vec<usize> = (start..(start + batch).min(samples)).collect();
        rows(calibration, &indices).map(|tensor| vec![(name.clone(), tensor)]).map_err(|error| error.to_string())
    });
    let plan = calibrate(student, &mut batches, engine, &options)?;
    let quantized = quantize(student, &plan, quantize_options)?;
    let left_out = quantized
        .report
        .nodes
        .iter()
        .filter_map(|node| node.left_out.as_ref().map(|why| format!("{} `{}`: {why}", node.operator, node.node)))
        .collect();
    Ok((quantized.model.write(), left_out))
}

/// Tries the ways in turn; the first that meets the budget, else the best one.
pub(crate) fn search(
    student: &Model,
    calibration: &Part,
    validation: &Part,
    engine: &dyn Engine,
    (section, budget): (&QuantizeSection, &BudgetSection),
    console: &Console,
) -> Result<Found> {
    let float = classes(&Runner::load(engine, &student.write())?.run(&validation.x)?)?;
    let options = options(section);
    let mut attempts = Vec::new();
    let mut best: Option<(Vec<u8>, Attempt, Vec<String>)> = None;
    let candidates = candidates(section);
    let progress = console.progress(candidates.len() as u64, "quantize");
    for observer in candidates {
        let (int8, left_out) = quantize_once(student, &calibration.x, engine, observer, &options)?;
        let found = classes(&Runner::load(engine, &int8)?.run(&validation.x)?)?;
        let comparison = Comparison::new(&float, &found, validation.y.as_deref(), int8.len() as u64);
        let broken = comparison.broken(budget);
        let attempt = Attempt { observer: observer_text(observer), validation: comparison, broken };
        attempts.push(attempt.clone());
        progress.advance(1);
        let met = attempt.broken.is_empty();
        let better = best.as_ref().is_none_or(|(_, other, _)| {
            let rank = |attempt: &Attempt| (attempt.broken.len(), attempt.validation.extra_errors);
            let (mine, theirs) = (rank(&attempt), rank(other));
            mine < theirs || (mine == theirs && attempt.validation.int8 > other.validation.int8)
        });
        if better {
            best = Some((int8, attempt, left_out));
        }
        if met {
            break;
        }
    }
    let (int8, best, left_out) = best.expect("the list of candidates is never empty");
    Ok(Found { int8, best, attempts, left_out })
}
