//! `distill evaluate`: a model on data, with an engine of the device.

use std::path::PathBuf;

use runtime_console::{Console, ExitCode, table};
use runtime_inference::Engines;
use serde::Serialize;

use super::percent;
use crate::args::ScaleArgs;
use crate::error::{PipelineError, Result};
use crate::runner::{Runner, classes, share_equal};
use crate::{data, models, run};

/// Arguments of `distill evaluate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: distill evaluate student.int8.onnx --data test.npz --scale 0.0625 --json")]
pub(crate) struct Args {
    /// The ONNX model
    model: PathBuf,
    /// Labelled samples, a .npz file with `x` and `y`
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The engine that answers
    #[arg(long, value_name = "ENGINE", default_value = run::DEVICE_ENGINE)]
    engine: String,
    /// ONNX Runtime's shared library, for the engine ort; left out: what the system's search finds
    #[arg(long, value_name = "FILE", env = "CASK_ORT_LIBRARY", hide_env = true)]
    ort_library: Option<PathBuf>,
    #[command(flatten)]
    scale: ScaleArgs,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    accuracy: f64,
    correct: usize,
    samples: usize,
    engine: String,
    numerics: runtime_engine::NumericsClass,
    nodes_total: u64,
    nodes_covered: u64,
    classes: Vec<ClassReport>,
}

#[derive(Serialize)]
struct ClassReport {
    class: u32,
    samples: usize,
    accuracy: f64,
}

pub(super) fn run(args: &Args, console: &Console, engines: &Engines) -> Result<ExitCode> {
    let model = models::read(&args.model)?;
    let set = args.scale.read(&args.data)?;
    let place = args.data.display().to_string();
    let labels =
        set.y.ok_or_else(|| PipelineError::input(format!("{place}: found no array `y`, expected the labels")))?;
    let declared = models::check_fit(&model, &set.x.shape()[1..])?;
    let findings =
        [data::check_values(&place, &set.x), declared.and_then(|classes| data::check_labels(&place, &labels, classes))];
    if let Some(finding) = findings.into_iter().flatten().next() {
        return Err(PipelineError::input(finding.text));
    }
    let engine = match args.engine.as_str() {
        // Looked for only when asked for: it takes time and memory.
        "ort" => run::engine(&engines.clone().with_ort(args.ort_library.as_deref()), "ort")?,
        name => run::engine(engines, name)?,
    };
    let mut runner = Runner::load(engine.as_ref(), &model.write())?;
    let found = classes(&runner.run(&args.scale.preparation().apply(&set.x)?)?)?;
    let report = Report {
        schema: 1,
        accuracy: share_equal(&found, &labels),
        correct: found.iter().zip(&labels).filter(|(found, label)| found == label).count(),
        samples: labels.len(),
        engine: args.engine.clone(),
        numerics: runner.numerics(),
        nodes_total: runner.coverage().nodes_total,
        nodes_covered: runner.coverage().nodes_covered,
        classes: by_class(&found, &labels),
    };
    let rows: Vec<Vec<String>> = report
        .classes
        .iter()
        .map(|class| vec![class.class.to_string(), class.samples.to_string(), percent(class.accuracy)])
        .collect();
    let human = format!(
        "{}\naccuracy {} ({} of {} samples), engine {}, {} of {} nodes on its own kernels\n",
        table(&["class", "samples", "accuracy"], &rows),
        percent(report.accuracy),
        report.correct,
        report.samples,
        report.engine,
        report.nodes_covered,
        report.nodes_total,
    );
    console.data(&report, &human);
    Ok(ExitCode::Ok)
}

fn by_class(found: &[u32], labels: &[u32]) -> Vec<ClassReport> {
    let mut counts = std::collections::BTreeMap::<u32, (usize, usize)>::new();
    for (found, label) in found.iter().zip(labels) {
        let count = counts.entry(*label).or_default();
        count.0 += 1;
        count.1 += usize::from(found == label);
    }
    counts
        .into_iter()
        .map(|(class, (samples, correct))| ClassReport { class, samples, accuracy: correct as f64 / samples as f64 })
        .collect()
}
