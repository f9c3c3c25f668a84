//! `distill run`: a recipe from data to a sealed artifact.

use std::path::PathBuf;

use runtime_console::{Console, ExitCode, PassphraseArgs, human_bytes, table};
use runtime_inference::Engines;
use serde::Serialize;

use super::percent;
use crate::device::DeviceChoice;
use crate::error::Result;
use crate::recipe;
use crate::run::{Metrics, Outcome, Settings, execute};

/// Arguments of `distill run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: distill run recipe.toml --set train.epochs=40 --set artifact.version=1.1.0 --out runs/2"
)]
pub(crate) struct Args {
    /// The recipe, a TOML file; see `distill init`
    recipe: PathBuf,
    /// Change a value of the recipe for this run, such as train.epochs=5
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Where to train: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// The run folder; by default the recipe's name with `.run`, in the current folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where teacher logits are kept between runs; by default the user's cache folder
    #[arg(long, value_name = "DIR", env = crate::cache::CACHE_ENV)]
    cache: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    folder: String,
    signed: bool,
    #[serde(flatten)]
    metrics: &'a Metrics,
}

pub(super) fn run(args: &Args, console: &Console, engines: &Engines) -> Result<ExitCode> {
    let loaded = recipe::load(&args.recipe, &args.overrides)?;
    let out = args.out.clone().unwrap_or_else(|| {
        let stem = args.recipe.file_stem().unwrap_or_default();
        PathBuf::from(format!("{}.run", stem.to_string_lossy()))
    });
    let settings = Settings {
        out,
        device: args.device,
        cache: args.cache.as_deref(),
        passphrase: &args.passphrase,
        console,
        engines,
    };
    let outcome = execute(&loaded, &settings)?;
    let report =
        Report { folder: outcome.folder.display().to_string(), signed: outcome.signed, metrics: &outcome.metrics };
    console.data(&report, &human(&outcome));
    if outcome.metrics.budget_met {
        return Ok(ExitCode::Ok);
    }
    console.warn(&format!(
        "the budget is not met after {} ways to quantize: {}; the best result is student.int8.onnx",
        outcome.metrics.attempts,
        outcome.metrics.quantization.broken.join("; ")
    ));
    Ok(ExitCode::BudgetNotMet)
}

fn human(outcome: &Outcome) -> String {
    let metrics = &outcome.metrics;
    let mut rows = Vec::new();
    let mut row = |what: &str, accuracy: Option<f64>, bytes: Option<u64>| {
        if accuracy.is_some() || bytes.is_some() {
            rows.push(vec![
                what.to_owned(),
                accuracy.map_or_else(|| "-".to_owned(), percent),
                bytes.map_or_else(|| "-".to_owned(), human_bytes),
            ]);
        }
    };
    row("teacher", metrics.teacher_accuracy, None);
    row("student", metrics.student_accuracy, Some(metrics.float_bytes));
    row("student without teacher", metrics.student_without_teacher_accuracy, None);
    row("int8", metrics.int8_accuracy, Some(metrics.int8_bytes));
    row("artifact", None, metrics.artifact_bytes);
    let mut text = table(&["model", "test accuracy", "size"], &rows);
    text.push_str(&format!(
        "\n{} test samples; int8 agrees with the student on {}; {} on {} samples of the validation part: {} (float {})\n",
        metrics.samples.test,
        percent(metrics.int8_agreement),
        metrics.quantization.validation.measure,
        metrics.quantization.validation.samples,
        percent(metrics.quantization.validation.int8),
        percent(metrics.quantization.validation.float),
    ));
    if let Some(name) = &metrics.artifact {
        let signed = if outcome.signed { "signed" } else { "not signed yet: use `fleet artifact sign`" };
        text.push_str(&format!("{} ({signed})\n", outcome.folder.join(name).display()));
    }
    text
}
