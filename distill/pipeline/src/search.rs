//! Quantization: one way after the other until the budget is met on the validation part.

use distill_quantize::{
    Activation, Batches, Bench, CalibrationOptions, Measure, ObserverKind, PassDetail, Passes, QuantizeOptions,
    RoundingOptions, refine,
};
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
    /// What each pass did.
    pub(crate) passes: Vec<PassEffect>,
    /// Nodes that mixed precision left in float.
    pub(crate) left_in_float: Vec<String>,
    pub(crate) validation: Comparison,
    /// Limits that it breaks; empty when the budget is met.
    pub(crate) broken: Vec<String>,
}

/// The effect of one pass on the quantized model, measured on the calibration part.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PassEffect {
    pub(crate) pass: &'static str,
    /// Signal-to-noise ratio of the answers against the float model, in decibels; absent when they are the same.
    pub(crate) sqnr_before_db: Option<f64>,
    pub(crate) sqnr_after_db: Option<f64>,
    pub(crate) bytes_before: u64,
    pub(crate) bytes_after: u64,
    /// Whether its result is used.
    pub(crate) kept: bool,
}

/// How to quantize once.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) observer: ObserverKind,
    pub(crate) quantize: QuantizeOptions,
    pub(crate) passes: Passes,
}

/// An int8 model and how it came about.
pub(crate) struct Once {
    pub(crate) int8: Vec<u8>,
    /// Nodes that stay in float, with the reason.
    pub(crate) left_out: Vec<String>,
    pub(crate) passes: Vec<PassEffect>,
    /// Those of them that mixed precision chose.
    pub(crate) left_in_float: Vec<String>,
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
        weight_bits: section.weight_bits,
        activation: match section.activation {
            ActivationName::U8 => Activation::U8,
            ActivationName::I8 => Activation::I8,
        },
        skip: section.skip.clone(),
    }
}

/// The passes of a section, without mixed precision.
fn passes(section: &QuantizeSection, seed: u64) -> Passes {
    Passes {
        equalize: section.equalize,
        rounding: section.adaround.then(|| RoundingOptions { seed, ..RoundingOptions::default() }),
        correct_bias: section.correct_bias,
        attempts_max: None,
    }
}

/// The observer of a name; `percentile` is in percent.
pub(crate) fn observer(name: ObserverName, percentile: f64) -> ObserverKind {
    match name {
        ObserverName::Minmax => ObserverKind::MinMax,
        ObserverName::Percentile => ObserverKind::Percentile(percentile / 100.0),
        ObserverName::Mse => ObserverKind::SquaredError,
        ObserverName::Entropy => ObserverKind::Entropy,
        ObserverName::Best => ObserverKind::Best,
    }
}

fn observer_text(observer: ObserverKind) -> String {
    match observer {
        ObserverKind::MinMax => "minmax".to_owned(),
        ObserverKind::Percentile(share) => format!("percentile {}", share * 100.0),
        ObserverKind::SquaredError => "mse".to_owned(),
        ObserverKind::Entropy => "entropy".to_owned(),
        ObserverKind::Best => "best".to_owned(),
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

/// Calibrates, runs the passes and quantizes once; `measure` is for mixed precision.
pub(crate) fn quantize_once(
    student: &Model,
    calibration: &Tensor,
    engine: &dyn Engine,
    settings: &Settings,
    measure: Option<Measure<'_>>,
) -> Result<Once> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = CalibrationOptions { observer: settings.observer, quantize: settings.quantize.clone(), threads };
    let inputs = student.inputs();
    let input = inputs.first().ok_or_else(|| PipelineError::Unsupported("found a model without inputs".to_owned()))?;
    let name = input.name.clone();
    let (batch, fixed) = match input.shape.first() {
        Some(Dimension::Fixed(batch)) => (usize::try_from(*batch).unwrap_or(1).max(1), true),
        _ => (CALIBRATION_BATCH, false),
    };
    let name = name.as_str();
    // A model of a fixed batch skips the samples that do not fill one.
    let count = calibration.shape()[0];
    let samples = || -> Batches<'_> {
        let starts = (0..count).step_by(batch).filter(move |start| !fixed || start + batch <= count);
        Box::new(starts.map(move |start| {
            let indices: Vec<usize> = (start..(start + batch).min(count)).collect();
            rows(calibration, &indices).map(|tensor| vec![(name.to_owned(), tensor)]).map_err(|error| error.to_string())
        }))
    };
    let bench = Bench { engine, samples: &samples, threads };
    let found = refine(student, &options, &settings.passes, &bench, measure)?;
    let report = &found.quantized.report;
    let left_out = report
        .nodes
        .iter()
        .filter_map(|node| node.left_out.as_ref().map(|why| format!("{} `{}`: {why}", node.operator, node.node)))
        .collect();
    let finite = |db: f64| Some(db).filter(|db| db.is_finite());
    let effect = |report: &distill_quantize::PassReport| PassEffect {
        pass: report.name(),
        sqnr_before_db: finite(report.sqnr_before_db),
        sqnr_after_db: finite(report.sqnr_after_db),
        bytes_before: report.bytes_before,
        bytes_after: report.bytes_after,
        kept: report.kept,
    };
    let mixed = found.passes.iter().find_map(|report| match &report.detail {
        PassDetail::Mixed { attempts, chosen, .. } => attempts.get(*chosen),
        _ => None,
    });
    Ok(Once {
        int8: found.quantized.model.write(),
        left_out,
        passes: found.passes.iter().map(effect).collect(),
        left_in_float: mixed.map(|attempt| attempt.left_in_float.clone()).unwrap_or_default(),
    })
}

/// Tries the ways in turn; the first that meets the budget, else the best one.
///
/// Where no observer meets it, the best one is tried again with mixed precision, if the recipe wants that.
pub(crate) fn search(
    student: &Model,
    calibration: &Part,
    validation: &Part,
    engine: &dyn Engine,
    (section, budget, seed): (&QuantizeSection, &BudgetSection, u64),
    console: &Console,
) -> Result<Found> {
    let float = classes(&Runner::load(engine, &student.write())?.run(&validation.x)?)?;
    let judge = |int8: &[u8]| -> Result<(Comparison, Vec<String>)> {
        let found = classes(&Runner::load(engine, int8)?.run(&validation.x)?)?;
        let comparison = Comparison::new(&float, &found, validation.y.as_deref(), int8.len() as u64);
        let broken = comparison.broken(budget);
        Ok((comparison, broken))
    };
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut best: Option<(Once, Attempt, ObserverKind)> = None;
    let candidates = candidates(section);
    let progress = console.progress(candidates.len() as u64 + u64::from(section.mixed_precision), "quantize");
    let mut attempt = |observer: ObserverKind, attempts_max: Option<usize>, best: &mut Option<_>| -> Result<bool> {
        let passes = Passes { attempts_max, ..passes(section, seed) };
        let settings = Settings { observer, quantize: options(section), passes };
        let mut measure = |int8: &[u8]| judge(int8).map(|(_, broken)| broken).map_err(|error| error.to_string());
        let measure: Option<Measure<'_>> = if attempts_max.is_some() { Some(&mut measure) } else { None };
        let once = quantize_once(student, &calibration.x, engine, &settings, measure)?;
        let (validation, broken) = judge(&once.int8)?;
        let (passes, left_in_float) = (once.passes.clone(), once.left_in_float.clone());
        let attempt = Attempt { observer: observer_text(observer), passes, left_in_float, validation, broken };
        attempts.push(attempt.clone());
        progress.advance(1);
        let met = attempt.broken.is_empty();
        if best.as_ref().is_none_or(|(_, other, _)| is_better(&attempt, other)) {
            *best = Some((once, attempt, observer));
        }
        Ok(met)
    };
    let mut met = false;
    for observer in candidates {
        met = attempt(observer, None, &mut best)?;
        if met {
            break;
        }
    }
    if let (true, false, Some((_, _, observer))) = (section.mixed_precision, met, &best) {
        attempt(*observer, Some(section.mixed_attempts), &mut best)?;
    }
    let (once, best, _) = best.expect("the list of candidates is never empty");
    Ok(Found { int8: once.int8, best, attempts, left_out: once.left_out })
}

fn is_better(attempt: &Attempt, other: &Attempt) -> bool {
    let rank = |attempt: &Attempt| (attempt.broken.len(), attempt.validation.extra_errors);
    let (mine, theirs) = (rank(attempt), rank(other));
    mine < theirs || (mine == theirs && attempt.validation.int8 > other.validation.int8)
}
