//! `distill quantize`: an ONNX model to int8, without a recipe.

use std::path::PathBuf;

use distill_quantize::{Activation, QuantizeOptions};
use runtime_console::{Console, ExitCode, human_bytes, table};
use runtime_inference::Engines;
use serde::Serialize;

use super::percent;
use crate::args::ScaleArgs;
use crate::error::{PipelineError, Result};
use crate::recipe::{ActivationName, ObserverName};
use crate::runner::{Runner, classes, share_equal};
use crate::search::{observer, quantize_once};
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
}

pub(super) fn run(args: &Args, console: &Console, engines: &Engines) -> Result<ExitCode> {
    if !(args.percentile > 50.0 && args.percentile <= 100.0) {
        return Err(PipelineError::input(format!(
            "--percentile: found {}, expected above 50 and at most 100",
            args.percentile
        )));
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
        activation: match args.activation {
            ActivationName::U8 => Activation::U8,
            ActivationName::I8 => Activation::I8,
        },
        skip: args.skip.clone(),
    };
    let (int8, left_out) =
        quantize_once(&model, &x, engine.as_ref(), observer(args.observer, args.percentile), &options)?;
    let out = args.out.clone().unwrap_or_else(|| args.model.with_extension("int8.onnx"));
    runtime_disk::write_atomic(&out, &int8)?;
    let float = model.write();
    let before = classes(&Runner::load(engine.as_ref(), &float)?.run(&x)?)?;
    let mut runner = Runner::load(engine.as_ref(), &int8)?;
    let after = classes(&runner.run(&x)?)?;
    let report = Report {
        schema: 1,
        file: out.display().to_string(),
        float_bytes: float.len() as u64,
        int8_bytes: int8.len() as u64,
        agreement: share_equal(&after, &before),
        samples: after.len(),
        numerics: runner.numerics(),
        left_out,
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
    console.data(&report, &human);
    Ok(ExitCode::Ok)
}
