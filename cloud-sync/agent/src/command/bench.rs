//! `edge-agent bench`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime_artifact::{ROLE_MODEL, open};
use runtime_console::{ExitCode, Failure, human_bytes};
use runtime_engine::{Engine, EngineError};
use runtime_inference::{BenchOptions, BenchReport, Engines, bench, check_isa, read_machine};
use serde::Serialize;

use super::Context;
use crate::config::{Flags, Settings};
use crate::outcome::failed_as;

/// The longest plain ONNX file, in bytes.
const MODEL_BYTES_MAX: u64 = 2 << 30;
/// What a sealed file begins with.
const CASK_MAGIC: &[u8] = b"\x89CASK";

/// Measure a model on this device: a plain ONNX file or a sealed one
///
/// Runs seeded random inputs. The digest over all outputs is the same wherever the model's answers are the same.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge-agent bench student.int8.onnx --iterations 200 --json")]
pub(super) struct Args {
    /// The model
    #[arg(value_name = "MODEL.onnx|FILE.cask")]
    file: PathBuf,
    /// The engine, by name; the first of this build if left out
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
    /// Threads that one run may use
    #[arg(long, default_value_t = 1, value_name = "N")]
    threads: usize,
    /// Measured runs
    #[arg(long, default_value_t = 100, value_name = "N")]
    iterations: usize,
    /// Seed of the inputs
    #[arg(long, default_value_t = 0, value_name = "S")]
    seed: u64,
    /// Use this instruction set instead of the fastest, for example scalar
    #[arg(long, value_name = "ISA")]
    isa: Option<String>,
    /// Refuse a model that the engine's own kernels do not cover wholly
    #[arg(long)]
    strict: bool,
    /// Size of a symbolic dimension, for example batch=8; 1 where none is given
    #[arg(long = "dimension", value_name = "SYMBOL=SIZE", value_parser = dimension)]
    dimensions: Vec<(String, u64)>,
    /// The root that a sealed file is checked by
    #[arg(long, value_name = "ROOT")]
    root: Option<PathBuf>,
}

#[derive(Serialize)]
struct Shown<'a> {
    schema: u32,
    #[serde(flatten)]
    report: &'a BenchReport,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    if let Some(isa) = &args.isa {
        check_isa(isa).map_err(|error| super::isa_failure(&error).with_context("--isa"))?;
    }
    let engines = engines(context, args)?;
    let engine = chosen(&engines, args)?;
    let model = read(context, args, &engines)?;
    let progress = context.console.progress(0, "measuring");
    let options = BenchOptions {
        threads: args.threads,
        iterations: args.iterations,
        seed: args.seed,
        isa: args.isa.clone().or_else(|| context.isa.clone()),
        strict: args.strict,
        bindings: args.dimensions.iter().cloned().collect(),
    };
    let report = bench(engine.as_ref(), &model, &options).map_err(|error| failure(&error, &args.file))?;
    drop(progress);
    let human = format!(
        "{} us median, {} us p95, {} ms to load, {} ms for the first answer, {} at most, on {} with {}\noutputs {}",
        report.median_us,
        report.p95_us,
        report.load_ms,
        report.first_ms,
        human_bytes(report.peak_bytes),
        report.engine,
        report.isa,
        report.output_sha256
    );
    context.console.data(&Shown { schema: 1, report: &report }, &human);
    Ok(ExitCode::Ok)
}

/// The engines to choose from; ONNX Runtime is looked for only when it is asked for, as it takes memory.
fn engines(context: &Context, args: &Args) -> Result<Engines, Failure> {
    if args.engine.as_deref() != Some("ort") {
        return Ok(Engines::standard());
    }
    let settings = super::run::load(context, &Flags::default())?.settings();
    Ok(Settings { engines: Vec::new(), ..settings }.open_engines())
}

fn chosen(engines: &Engines, args: &Args) -> Result<Arc<dyn Engine>, Failure> {
    let name = args.engine.as_deref().or_else(|| engines.names().first().copied()).unwrap_or_default();
    engines.get(name).ok_or_else(|| match engines.ort_library() {
        Some(Err(error)) if name == "ort" => Failure::new(ExitCode::Unreachable, format!("failed to {error}"))
            .with_hint("ort.library in agent.toml, or CASK_ORT_LIBRARY, names the library"),
        _ => Failure::new(ExitCode::Unsupported, format!("failed to find the engine {name:?}"))
            .with_hint(format!("this build has {}", Engines::BUILT_IN.join(", "))),
    })
}

fn dimension(text: &str) -> Result<(String, u64), String> {
    let (symbol, size) = text.split_once('=').ok_or("expected SYMBOL=SIZE, for example batch=8")?;
    let size = size.parse().map_err(|_| format!("{size:?} is no whole number"))?;
    Ok((symbol.to_owned(), size))
}

/// The ONNX file's bytes; a sealed file is checked first.
fn read(context: &Context, args: &Args, engines: &Engines) -> Result<Vec<u8>, Failure> {
    let usage = |error: runtime_disk::DiskError| failed_as(&error, ExitCode::Usage);
    if !is_sealed(&args.file).map_err(usage)? {
        return runtime_disk::read_bounded(&args.file, MODEL_BYTES_MAX).map_err(usage);
    }
    let root = super::verify::root(context, args.root.as_ref())?;
    let sealed = |error| super::verify::failure(&error).with_context(args.file.display());
    let artifact = open(&args.file).map_err(sealed)?.verify(&root).map_err(sealed)?;
    let variant = artifact.manifest().choose(&read_machine(engines)).map_err(sealed)?.id.clone();
    artifact.read_file(&variant, ROLE_MODEL, MODEL_BYTES_MAX).map_err(sealed)
}

fn is_sealed(path: &Path) -> Result<bool, runtime_disk::DiskError> {
    let file = runtime_disk::ReadFile::open(path)?;
    let mut start = [0; CASK_MAGIC.len()];
    if file.len() < start.len() as u64 {
        return Ok(false);
    }
    file.read_at(0, &mut start)?;
    Ok(start == CASK_MAGIC)
}

fn failure(error: &EngineError, file: &Path) -> Failure {
    let code = match error {
        EngineError::Unsupported { .. } => ExitCode::Unsupported,
        EngineError::BadModel { .. } | EngineError::BadInput { .. } => ExitCode::Usage,
        EngineError::NoDevice { .. } | EngineError::NoLibrary { .. } => ExitCode::Unreachable,
        _ => ExitCode::SelfTestFailed,
    };
    Failure::new(code, format!("{}: failed to {error}", file.display()))
}
