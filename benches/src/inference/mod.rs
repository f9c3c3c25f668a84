//! Engines beside ONNX Runtime: every model of a folder, in every form, on the native engine and on ONNX Runtime.
//!
//! Both run the same bytes on the same inputs with the same threads in one process, in turn (`pairs`), so that a
//! noisy machine is noisy to both and the ratio holds. How an engine starts (load, first run, peak memory) is
//! measured in processes of its own ([`start`]). A model that an engine refuses is a row with the reason.

mod case;
mod clock;
mod difference;
mod held;
mod models;
mod pairs;
mod report;
pub mod start;

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, ensure};
use runtime_console::Console;
use runtime_engine::Engine;
use runtime_engine_native::NativeEngine;
use runtime_engine_ort::OrtEngine;

use held::{Held, check_asked, expect_breakpoints};
pub use models::ModelFile;
pub use report::Report;

/// Measure the native engine beside ONNX Runtime, interleaved in one process
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Example:\n  python3 benches/models/make.py\n  cargo run --release -p benches -- inference --library libonnxruntime.so.1.32.0\n\nEvery ratio is ONNX Runtime's figure divided by ours: above 1 we are better."
)]
pub struct Arguments {
    /// Folder of NAME.KIND.onnx files, as benches/models/make.py writes it
    #[arg(long, default_value = "target/bench-models")]
    pub models: PathBuf,
    /// Only models whose name contains this
    #[arg(long)]
    pub only: Option<String>,
    /// Only these forms, for example qdq,f32
    #[arg(long, value_delimiter = ',')]
    pub kinds: Vec<String>,
    /// Threads that one run may use; one row for each
    #[arg(long, value_delimiter = ',', default_value = "1,2", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Vec<u16>,
    /// Instruction set of the native engine; the fastest that this CPU has when left out
    #[arg(long, env = "CASK_ISA")]
    pub isa: Option<String>,
    /// Hold ONNX Runtime to this instruction set too, on a CPU that has more (Linux on x86-64; needs objdump)
    #[arg(long, requires = "library")]
    pub peer_isa: Option<PeerIsa>,
    /// Time spent on the pairs of one row
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub seconds_per_case: f64,
    /// Processes started for each engine and model, of which the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub starts: u16,
    /// ONNX Runtime's shared library; what the system's search finds when left out
    #[arg(long, env = "CASK_ORT_LIBRARY")]
    pub library: Option<PathBuf>,
}

impl Arguments {
    /// The forced instruction set; an empty one, as an empty variable gives it, is none.
    pub(crate) fn isa(&self) -> Option<&str> {
        self.isa.as_deref().filter(|isa| !isa.is_empty())
    }
}

/// What ONNX Runtime may be held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PeerIsa {
    /// No AVX-512, no VNNI of any width, no AMX.
    Avx2,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds from 0.01 to 3600".into()),
    }
}

/// Which engine a row or a process is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Side {
    /// Ours.
    Native,
    /// ONNX Runtime.
    Ort,
}

impl Side {
    /// The side's name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Ort => "ort",
        }
    }

    fn engine(self, library: Option<&Path>) -> Result<Box<dyn Engine>> {
        Ok(match self {
            Self::Native => Box::new(NativeEngine::new()),
            Self::Ort => Box::new(OrtEngine::open(library).map_err(|error| anyhow!("failed to {error}"))?),
        })
    }
}

/// Measures everything that `arguments` ask for. Only a missing folder or library ends it early.
pub fn run(arguments: &Arguments, console: &Console) -> Result<Report> {
    let mut arguments = arguments.clone();
    let held = match (&arguments.library, arguments.peer_isa) {
        (Some(library), Some(PeerIsa::Avx2)) => Some(Held::copy_of(library)?),
        _ => None,
    };
    if let Some(held) = &held {
        expect_breakpoints()?;
        arguments.library = Some(held.library.clone());
    }
    let arguments = &arguments;
    let models = models::list(&arguments.models, arguments.only.as_deref(), &arguments.kinds)?;
    ensure!(
        !models.is_empty(),
        "no NAME.KIND.onnx file in {} is asked for by --only and --kinds",
        arguments.models.display()
    );
    let native = Side::Native.engine(arguments.library.as_deref())?;
    let ort = Side::Ort.engine(arguments.library.as_deref())?;
    let ort_build = ort.build() + if held.is_some() { " held to AVX2" } else { "" };
    let mut report = Report::new(native.build(), ort_build, arguments.seconds_per_case);
    let baselines = start::baselines(arguments)?;
    let progress = console.progress((models.len() * (arguments.threads.len() + 1)) as u64, "inference");
    for model in &models {
        progress.message(&model.file);
        let start = start::measure(arguments, model, &baselines);
        progress.advance(1);
        for &threads in &arguments.threads {
            // An engine that could not start in a process of its own might take this one down with it.
            let case = match start.failure() {
                Some(error) => case::Case::failed(model, threads, error),
                None => case::run(arguments, model, threads, native.as_ref(), ort.as_ref()),
            };
            report.cases.push(case);
            progress.advance(1);
        }
        report.starts.push(start);
    }
    if held.is_some() {
        check_asked()?;
    }
    report.finish();
    Ok(report)
}
