//! How an engine starts: load time, first run and peak memory, each in a process of its own.
//!
//! The process is this executable with a hidden subcommand. It opens the engine (for ONNX Runtime: loads the shared
//! library), reads the file, and only then looks at the clock, the same that times the pairs. Peak memory is the
//! kernel's high-water mark of resident memory minus that of a process that opened the engine and loaded no model; the
//! file's bytes, which both engines are handed, count for both.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use runtime_engine::Session;
use runtime_inference::peak_bytes;
use serde::{Deserialize, Serialize};

use super::case::options;
use super::clock::Clock;
use super::held::expect_breakpoints;
use super::models::{ModelFile, inputs};
use super::{Arguments, Side};
use crate::measure::median;

/// The longest that a process may take.
const PROCESS_LIMIT: Duration = Duration::from_secs(120);

/// Bytes kept of what a process writes to standard error.
const ERROR_TEXT_MAX: usize = 300;

/// Starts one engine and says how that went, as JSON (used by `bench inference` itself)
#[derive(Debug, Clone, clap::Args)]
pub struct ChildArguments {
    #[arg(long)]
    side: Side,
    #[arg(long)]
    library: Option<PathBuf>,
    #[arg(long)]
    threads: u16,
    #[arg(long)]
    isa: Option<String>,
    /// The library is one that is held to AVX2
    #[arg(long)]
    held: bool,
    /// No model: the baseline
    #[arg(long)]
    model: Option<PathBuf>,
    #[arg(long, allow_negative_numbers = true, default_value_t = -1.0)]
    low: f32,
    #[arg(long, allow_negative_numbers = true, default_value_t = 1.0)]
    high: f32,
}

/// What one process says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChildReport {
    load_ms: f64,
    first_ms: f64,
    peak_bytes: u64,
}

/// What the process with the hidden subcommand does.
pub fn child(arguments: &ChildArguments) -> Result<ChildReport> {
    if arguments.held {
        expect_breakpoints()?;
    }
    let engine = arguments.side.engine(arguments.library.as_deref())?;
    let Some(path) = &arguments.model else {
        return Ok(ChildReport { load_ms: 0.0, first_ms: 0.0, peak_bytes: peak_bytes() });
    };
    let model = ModelFile {
        name: String::new(),
        kind: String::new(),
        file: String::new(),
        path: path.clone(),
        low: arguments.low,
        high: arguments.high,
    };
    let bytes = model.read()?;
    let clock = Clock::of(arguments.threads);
    let start = clock.now();
    let mut session = engine
        .load(&bytes, &options(arguments.threads, arguments.isa.as_deref()))
        .map_err(|error| anyhow!("failed to {error}"))?;
    let load_ms = clock.since(start).as_secs_f64() * 1e3;
    let first_ms = first_run(session.as_mut(), &model, clock)?;
    Ok(ChildReport { load_ms, first_ms, peak_bytes: peak_bytes() })
}

fn first_run(session: &mut dyn Session, model: &ModelFile, clock: Clock) -> Result<f64> {
    let set = inputs(session.inputs(), model.low, model.high, 0)?;
    let start = clock.now();
    session.run(&set, &[], None).map_err(|error| anyhow!("failed to {error}"))?;
    Ok(clock.since(start).as_secs_f64() * 1e3)
}

/// Peak memory of processes without a model, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Baselines {
    native: u64,
    ort: u64,
}

/// Starts each engine without a model; the median counts.
pub(crate) fn baselines(arguments: &Arguments) -> Result<Baselines> {
    let peak = |side| -> Result<u64> {
        let reports: Vec<ChildReport> =
            (0..arguments.starts).map(|_| process(arguments, side, None)).collect::<Result<_>>()?;
        Ok(median(reports.iter().map(|report| report.peak_bytes as f64).collect()) as u64)
    };
    Ok(Baselines { native: peak(Side::Native)?, ort: peak(Side::Ort)? })
}

/// A row of the second table.
#[derive(Debug, Clone, Serialize)]
pub struct Start {
    /// The network.
    pub name: String,
    /// Its form.
    pub kind: String,
    /// Threads that one run could use.
    pub threads: u16,
    /// The native engine, or why it did not start.
    pub native: Result<Figures, String>,
    /// ONNX Runtime, the same.
    pub ort: Result<Figures, String>,
}

/// Medians over the processes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figures {
    /// From the file's bytes to a session, in milliseconds.
    pub load_ms: f64,
    /// The first run, in milliseconds.
    pub first_ms: f64,
    /// Peak memory above the process without a model, in bytes.
    pub peak_bytes: u64,
}

impl Start {
    /// Why an engine did not start.
    pub(crate) fn failure(&self) -> Option<String> {
        let failures = [(Side::Native, &self.native), (Side::Ort, &self.ort)];
        let texts = failures
            .into_iter()
            .filter_map(|(side, figures)| figures.as_ref().err().map(|error| format!("{}: {error}", side.name())));
        texts.reduce(|first, second| format!("{first}; {second}"))
    }
}

/// Starts both engines on `model` in turn, with the first of the asked numbers of threads.
pub(crate) fn measure(arguments: &Arguments, model: &ModelFile, baselines: &Baselines) -> Start {
    let (mut native, mut ort) = (Vec::new(), Vec::new());
    for _ in 0..arguments.starts {
        native.push(process(arguments, Side::Native, Some(model)).map_err(|error| format!("{error:#}")));
        ort.push(process(arguments, Side::Ort, Some(model)).map_err(|error| format!("{error:#}")));
        // One that cannot start will not start the next time either.
        if native.iter().chain(&ort).any(Result::is_err) {
            break;
        }
    }
    Start {
        name: model.name.clone(),
        kind: model.kind.clone(),
        threads: first_threads(arguments),
        native: figures(native, baselines.native),
        ort: figures(ort, baselines.ort),
    }
}

fn figures(reports: Vec<Result<ChildReport, String>>, baseline: u64) -> Result<Figures, String> {
    let reports: Vec<ChildReport> = reports.into_iter().collect::<Result<_, _>>()?;
    let middle = |figure: fn(&ChildReport) -> f64| median(reports.iter().map(figure).collect());
    Ok(Figures {
        load_ms: middle(|report| report.load_ms),
        first_ms: middle(|report| report.first_ms),
        peak_bytes: (middle(|report| report.peak_bytes as f64) as u64).saturating_sub(baseline),
    })
}

fn first_threads(arguments: &Arguments) -> u16 {
    arguments.threads.first().copied().unwrap_or(1)
}

/// Runs this executable with the hidden subcommand.
fn process(arguments: &Arguments, side: Side, model: Option<&ModelFile>) -> Result<ChildReport> {
    let program = std::env::current_exe().context("this executable has no path")?;
    let mut command = Command::new(program);
    command.args(["--json", "inference-child", "--side", side.name()]);
    if let Some(library) = &arguments.library {
        command.arg("--library").arg(library);
    }
    command.args(["--threads", &first_threads(arguments).to_string()]);
    if let Some(model) = model {
        command.arg("--model").arg(&model.path);
        command.args(["--low", &model.low.to_string(), "--high", &model.high.to_string()]);
    }
    if let (Side::Native, Some(isa)) = (side, arguments.isa()) {
        command.args(["--isa", isa]);
    }
    if arguments.peer_isa.is_some() {
        command.arg("--held");
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // What it prints fits the pipes: one line of JSON, or one error.
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > PROCESS_LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            bail!("did not end within {} s", PROCESS_LIMIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().find(|line| line.starts_with("error:")).unwrap_or(text.trim());
        let line: String = line.trim_start_matches("error: ").chars().take(ERROR_TEXT_MAX).collect();
        bail!("{} ({})", if line.is_empty() { "it said nothing" } else { &line }, output.status);
    }
    serde_json::from_slice(&output.stdout).context("the process printed no report")
}
