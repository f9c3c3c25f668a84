//! All passes in their order, each kept only where the model's answers come nearer to those of the float model.

use runtime_graph::Model;

use crate::adaround::{RoundedLayer, RoundingOptions, round_adaptively};
use crate::calibrate::observe;
use crate::correct::{BiasCorrection, layer_means};
use crate::equalize::{EqualizedChannels, equalize};
use crate::mixed::{Measure, MixedAttempt, mixed_precision};
use crate::noise::Bench;
use crate::prepare::prepare;
use crate::quantize::Quantized;
use crate::ranges::{RangeChoice, choose_ranges};
use crate::refine::Refined;
use crate::sensitivity::{LayerSensitivity, rank};
use crate::{CalibrationOptions, ObserverKind, QuantizeError, QuantizeOptions};

/// Which passes run. All are off by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passes {
    /// Cross-layer equalization.
    pub equalize: bool,
    /// Adaptive rounding of weights.
    pub rounding: Option<RoundingOptions>,
    /// Bias correction.
    pub correct_bias: bool,
    /// Ranking, and mixed precision with at most this many measured models while the measure finds broken limits.
    pub attempts_max: Option<usize>,
}

/// What a pass found out.
#[derive(Clone, Debug, PartialEq)]
pub enum PassDetail {
    /// Ranges tried for each scale.
    Ranges(Vec<RangeChoice>),
    /// Channels that changed their scale.
    Equalized(Vec<EqualizedChannels>),
    /// Layers and their rounding.
    Rounded {
        /// Bits of a weight; stored in 8-bit integers.
        weight_bits: u32,
        /// The layers.
        layers: Vec<RoundedLayer>,
    },
    /// Biases that changed.
    Corrected(Vec<BiasCorrection>),
    /// The ranking and what was measured.
    Mixed {
        /// The most sensitive first.
        ranking: Vec<LayerSensitivity>,
        /// In order.
        attempts: Vec<MixedAttempt>,
        /// The attempt that was taken.
        chosen: usize,
    },
}

/// One pass and its effect on the quantized model.
#[derive(Clone, Debug, PartialEq)]
pub struct PassReport {
    /// Signal-to-noise ratio of the answers against the float model before, in decibels.
    pub sqnr_before_db: f64,
    /// The same with the pass.
    pub sqnr_after_db: f64,
    /// Bytes of the model before.
    pub bytes_before: u64,
    /// Bytes with the pass.
    pub bytes_after: u64,
    /// Whether its result is used.
    pub kept: bool,
    /// What it did.
    pub detail: PassDetail,
}

impl PassReport {
    /// What people call the pass.
    pub fn name(&self) -> &'static str {
        match self.detail {
            PassDetail::Ranges(_) => "best ranges",
            PassDetail::Equalized(_) => "equalization",
            PassDetail::Rounded { .. } => "adaptive rounding",
            PassDetail::Corrected(_) => "bias correction",
            PassDetail::Mixed { .. } => "mixed precision",
        }
    }
}

/// A model made by passes.
#[derive(Clone, Debug)]
pub struct Refinement {
    /// The model and what became of its nodes.
    pub quantized: Quantized,
    /// The options it was made with: nodes that mixed precision left in float are among the skipped ones.
    pub options: QuantizeOptions,
    /// The passes that ran, in order.
    pub passes: Vec<PassReport>,
}

/// Calibrates, runs the passes and quantizes.
///
/// Calibration and passes look at the samples of `bench`; `measure` looks at whatever it likes, and should not at the
/// same. Without a measure, mixed precision only ranks. Same model, samples and options, same bytes.
pub fn refine(
    model: &Model,
    options: &CalibrationOptions,
    passes: &Passes,
    bench: &Bench<'_>,
    measure: Option<Measure<'_>>,
) -> Result<Refinement, QuantizeError> {
    let float = prepare(model)?;
    let seen = |model: &Model| -> Result<Refined, QuantizeError> {
        Ok(Refined::new(observe(model, &mut *(bench.samples)(), bench.engine, options)?))
    };
    let mut run = Run { float: &float, options: &options.quantize, bench, reports: Vec::new() };
    let best_ranges = options.observer == ObserverKind::Best;
    let mut state = run.judged(seen(&float)?)?;
    if best_ranges {
        let mut refined = state.refined.clone();
        let choices = choose_ranges(&mut refined.calibration, &options.quantize, bench)?;
        state = run.better(state, refined, PassDetail::Ranges(choices))?;
    }
    if passes.equalize {
        let even = equalize(&float)?;
        if !even.channels.is_empty() {
            let mut refined = seen(&even.model)?;
            if best_ranges {
                choose_ranges(&mut refined.calibration, &options.quantize, bench)?;
            }
            state = run.better(state, refined, PassDetail::Equalized(even.channels))?;
        }
    }
    if let Some(rounding) = &passes.rounding {
        let mut refined = state.refined.clone();
        let found = round_adaptively(&refined.calibration, &options.quantize, rounding, bench)?;
        refined.codes = found.codes;
        let weight_bits = options.quantize.weight_bits;
        state = run.better(state, refined, PassDetail::Rounded { weight_bits, layers: found.layers })?;
    }
    if passes.correct_bias {
        let mut refined = state.refined.clone();
        refined.means = Some(layer_means(&refined.calibration, &options.quantize, bench)?);
        let corrections = refined.make_with_corrections(&options.quantize)?.1;
        state = run.better(state, refined, PassDetail::Corrected(corrections))?;
    }
    match passes.attempts_max {
        Some(attempts) => run.mixed(state, attempts, measure),
        None => Ok(Refinement { quantized: state.quantized, options: options.quantize.clone(), passes: run.reports }),
    }
}

/// A model with its figures.
struct Judged {
    refined: Refined,
    quantized: Quantized,
    sqnr_db: f64,
    bytes: u64,
}

struct Run<'a, 'b> {
    float: &'a Model,
    options: &'a QuantizeOptions,
    bench: &'a Bench<'b>,
    reports: Vec<PassReport>,
}

impl Run<'_, '_> {
    fn judged(&self, refined: Refined) -> Result<Judged, QuantizeError> {
        let quantized = refined.make(self.options)?;
        let sqnr_db = self.bench.sqnr_db(self.float, &quantized.model)?;
        let bytes = quantized.model.write().len() as u64;
        Ok(Judged { refined, quantized, sqnr_db, bytes })
    }

    /// Takes the result of a pass if it is no worse, and notes its effect in any case.
    fn better(&mut self, before: Judged, refined: Refined, detail: PassDetail) -> Result<Judged, QuantizeError> {
        let after = self.judged(refined)?;
        let kept = after.sqnr_db >= before.sqnr_db;
        self.report(&before, (after.sqnr_db, after.bytes), kept, detail);
        Ok(if kept { after } else { before })
    }

    fn report(&mut self, before: &Judged, (sqnr_after_db, bytes_after): (f64, u64), kept: bool, detail: PassDetail) {
        let (sqnr_before_db, bytes_before) = (before.sqnr_db, before.bytes);
        let report = PassReport { sqnr_before_db, sqnr_after_db, bytes_before, bytes_after, kept, detail };
        tracing::debug!(pass = report.name(), sqnr_before_db, sqnr_after_db, kept, "pass");
        self.reports.push(report);
    }

    fn mixed(
        mut self,
        state: Judged,
        attempts_max: usize,
        measure: Option<Measure<'_>>,
    ) -> Result<Refinement, QuantizeError> {
        let ranking = rank(&state.refined, self.options, self.bench)?;
        let Some(measure) = measure else {
            let detail = PassDetail::Mixed { ranking: ranking.layers, attempts: Vec::new(), chosen: 0 };
            self.report(&state, (state.sqnr_db, state.bytes), true, detail);
            return Ok(Refinement { quantized: state.quantized, options: self.options.clone(), passes: self.reports });
        };
        let found = mixed_precision(&state.refined, self.options, &ranking, attempts_max, measure)?;
        let sqnr_db = self.bench.sqnr_db(self.float, &found.quantized.model)?;
        let bytes = found.attempts[found.chosen].bytes;
        let detail = PassDetail::Mixed { ranking: ranking.layers, attempts: found.attempts, chosen: found.chosen };
        self.report(&state, (sqnr_db, bytes), true, detail);
        Ok(Refinement { quantized: found.quantized, options: found.options, passes: self.reports })
    }
}
