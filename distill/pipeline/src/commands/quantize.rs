//! `distill quantize`: an ONNX model to int8, without a recipe.

use std::path::PathBuf;

use distill_quantize::{Activation, Measure, Passes, QuantizeOptions, RoundingOptions};
use runtime_console::{Console, ExitCode, human_bytes, table};
use runtime_inference::Engines;
use serde::Serialize;

use super::percent;
use crate::args::ScaleArgs;
use crate::error::{PipelineError, Result};
use crate::recipe::{ActivationName, ObserverName};
use crate::runner::{Runner, classes, share_equal};
use crate::search::{Once, PassEffect, Settings, observer, quantize_once};
use crate::{data, models, run};

/// Arguments of `distill quantize`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: distill quantize model.onnx --calibrate calibration.npz --scale 0.0039216 --out model.int8.onnx"
)]
pub(crate) struct Args {
    /// The float ONNX model
    model: PathBuf,
    /// Samples to calibrate on, a .npz file with `x`; a few hundred are enough
    #[arg(long, value_name = "FILE")]
    calibrate: PathBuf,
    /// Where to write the int8 model; by default beside the model, with `.int8.onnx`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How the range of each activation is chosen
    #[arg(long, value_enum, default_value_t = ObserverName::Minmax)]
    observer: ObserverName,
    /// For --observer percentile: percent of values inside the range
    #[arg(long, value_name = "PERCENT", default_value_t = 99.99)]
    percentile: f64,
    /// One scale for each whole weight instead of one for each output channel
    #[arg(long)]
    per_tensor: bool,
    /// Shrink weights so that sums of two products fit 16 bits
    #[arg(long)]
    pair_safe: bool,
    /// Integer type of activations
    #[arg(long, value_enum, default_value_t = ActivationName::U8)]
    activation: ActivationName,
    /// Bits of a weight; fewer than 8 are stored in 8-bit integers
    #[arg(long, value_name = "BITS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=8))]
    weight_bits: u32,
    /// Even out channels between layers
    #[arg(long)]
    equalize: bool,
    /// Round weights by what they do to a layer's output instead of each to its nearest
    #[arg(long)]
    adaround: bool,
    /// Take the shift of the mean that rounded weights make out of the biases
    #[arg(long)]
    correct_bias: bool,
    /// Leave the most sensitive nodes in float until this percentage of calibration samples keeps its class
    #[arg(long, value_name = "PERCENT")]
    min_agreement: Option<f64>,
    /// With --min-agreement: largest int8 model, in bytes
    #[arg(long, value_name = "BYTES", requires = "min_agreement")]
    max_bytes: Option<u64>,
    /// With --min-agreement: models measured at most
    #[arg(long, value_name = "COUNT", default_value_t = 24, requires = "min_agreement")]
    attempts: usize,
    /// Leave the node of this name in float
    #[arg(long, value_name = "NODE")]
    skip: Vec<String>,
    #[command(flatten)]
    scale: ScaleArgs,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    file: String,
    float_bytes: u64,
    int8_bytes: u64,
    /// Share of calibration samples for which both models choose the same class.
    agreement: f64,
    samples: usize,
    numerics: runtime_engine::NumericsClass,
    left_out: Vec<String>,
    /// What each pass did.
    passes: Vec<PassEffect>,
    /// Nodes that --min-agreement left in float.
    left_in_float: Vec<String>,
    /// Limits of --min-agreement that are not met.
    broken: Vec<String>,
}

pub(super) fn run(args: &Args, console: &Console, engines: &Engines) -> Result<ExitCode> {
    if !(args.percentile > 50.0 && args.percentile <= 100.0) {
        return Err(PipelineError::input(format!(
            "--percentile: found {}, expected above 50 and at most 100",
            args.percentile
        )));
    }
    if let Some(least) = args.min_agreement.filter(|least| !(0.0..=100.0).contains(least)) {
        return Err(PipelineError::input(format!("--min-agreement: found {least}, expected 0 to 100")));
    }
    let model = models::read(&args.model)?;
    let set = args.scale.read(&args.calibrate)?;
    if let Some(finding) = data::check_values(&args.calibrate.display().to_string(), &set.x) {
        return Err(PipelineError::input(finding.text));
    }
    models::check_fit(&model, &set.x.shape()[1..])?;
    let x = args.scale.preparation().apply(&set.x)?;
    let engine = run::engine(engines, run::DEVICE_ENGINE)?;
    let options = QuantizeOptions {
        per_channel: !args.per_tensor,
        pair_safe: args.pair_safe,
        weight_bits: args.weight_bits,
        activation: match args.activation {
            ActivationName::U8 => Activation::U8,
            ActivationName::I8 => Activation::I8,
        },
        skip: args.skip.clone(),
    };
    let float = model.write();
    let before = classes(&Runner::load(engine.as_ref(), &float)?.run(&x)?)?;
    let mut measure = |int8: &[u8]| -> std::result::Result<Vec<String>, String> {
        let answers = Runner::load(engine.as_ref(), int8).and_then(|mut runner| classes(&runner.run(&x)?));
        let agreement = share_equal(&answers.map_err(|error| error.to_string())?, &before);
        Ok(broken(args, agreement, int8.len() as u64))
    };
    let settings = Settings {
        observer: observer(args.observer, args.percentile),
        quantize: options,
        passes: Passes {
            equalize: args.equalize,
            rounding: args.adaround.then(RoundingOptions::default),
            correct_bias: args.correct_bias,
            attempts_max: args.min_agreement.map(|_| args.attempts),
        },
    };
    let measure: Option<Measure<'_>> = if args.min_agreement.is_some() { Some(&mut measure) } else { None };
    let Once { int8, left_out, passes, left_in_float } =
        quantize_once(&model, &x, engine.as_ref(), &settings, measure)?;
    let out = args.out.clone().unwrap_or_else(|| args.model.with_extension("int8.onnx"));
    runtime_disk::write_atomic(&out, &int8)?;
    let mut runner = Runner::load(engine.as_ref(), &int8)?;
    let after = classes(&runner.run(&x)?)?;
    let agreement = share_equal(&after, &before);
    let report = Report {
        schema: 1,
        file: out.display().to_string(),
        float_bytes: float.len() as u64,
        int8_bytes: int8.len() as u64,
        agreement,
        samples: after.len(),
        numerics: runner.numerics(),
        left_out,
        passes,
        left_in_float,
        broken: broken(args, agreement, int8.len() as u64),
    };
    let rows = vec![
        vec!["float".to_owned(), human_bytes(report.float_bytes)],
        vec!["int8".to_owned(), human_bytes(report.int8_bytes)],
    ];
    let mut human = table(&["model", "size"], &rows);
    human.push_str(&format!(
        "\nthe same class on {} of {} calibration samples\n{}\n",
        percent(report.agreement),
        report.samples,
        report.file
    ));
    for node in &report.left_out {
        console.note(&format!("stays in float: {node}"));
    }
    for effect in &report.passes {
        console.note(&pass_text(effect));
    }
    for limit in &report.broken {
        console.note(&format!("not met: {limit}"));
    }
    console.data(&report, &human);
    Ok(if report.broken.is_empty() { ExitCode::Ok } else { ExitCode::BudgetNotMet })
}

/// The limits of --min-agreement and --max-bytes that a model breaks.
fn broken(args: &Args, agreement: f64, bytes: u64) -> Vec<String> {
    let mut broken = Vec::new();
    if let Some(least) = args.min_agreement.filter(|least| agreement * 100.0 < *least) {
        broken.push(format!("{:.2} % of the samples keep their class, at least {least} % must", agreement * 100.0));
    }
    if let Some(most) = args.max_bytes.filter(|most| bytes > *most) {
        broken.push(format!("{bytes} bytes, at most {most} allowed"));
    }
    broken
}

fn pass_text(effect: &PassEffect) -> String {
    let text = |db: Option<f64>| db.map_or("exact".to_owned(), |db| format!("{db:.2} dB"));
    let used = if effect.kept { "" } else { ", not used" };
    format!(
        "{}: {} to {}, {} to {}{used}",
        effect.pass,
        text(effect.sqnr_before_db),
        text(effect.sqnr_after_db),
        human_bytes(effect.bytes_before),
        human_bytes(effect.bytes_after)
    )
}
