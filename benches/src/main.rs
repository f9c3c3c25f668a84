//! `cargo run --release -p benches -- all`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use runtime_console::{Console, ExitCode, Failure, table};
use serde::Serialize;

use benches::agent::Footprint;
use benches::inference;
use benches::measure::Comparison;

/// Measure Cask beside its peers, in one process run
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    after_help = "Example:\n  cargo run --release -p benches -- artifact\n  cargo run --release -p benches -- transfer --rounds 9"
)]
struct Arguments {
    /// Print one JSON object
    #[arg(long, global = true)]
    json: bool,
    /// Counted rounds of each comparison
    #[arg(long, global = true, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Open and verify an artifact of 16 MiB, against sha256 and zstd alone
    Artifact,
    /// Fetch 28 MiB by digest over mosquitto, against a bare rumqttc publish of the same bytes
    Transfer,
    /// Every model of a folder on the native engine and on ONNX Runtime
    Inference(inference::Arguments),
    #[command(hide = true)]
    InferenceChild(inference::start::ChildArguments),
    /// Size and idle memory of edge-agent with one small model
    Agent {
        /// The executable
        #[arg(long, default_value = "target/release/edge-agent")]
        binary: PathBuf,
        /// The artifact to install, for example run/digits.cask of a quickstart folder
        #[arg(long)]
        artifact: PathBuf,
        /// An enrolment file of the same fleet
        #[arg(long)]
        enrolment: PathBuf,
    },
}

#[derive(Debug, Serialize)]
struct Results {
    schema: u32,
    comparisons: Vec<Comparison>,
    agent: Option<Footprint>,
    inference: Option<inference::Report>,
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    let console = Console::new(arguments.json, false);
    runtime_console::run("bench", arguments.json, || {
        // The engines' own errors are rows of the report; what is left is a folder or a library that is not there.
        let code = if matches!(arguments.what, What::Inference(_)) { ExitCode::Usage } else { ExitCode::Bug };
        let failure = |error: anyhow::Error| Failure::new(code, format!("{error:#}"));
        if let What::InferenceChild(child) = &arguments.what {
            console.data(&inference::start::child(child).map_err(failure)?, "");
            return Ok(ExitCode::Ok);
        }
        let results = measure(&arguments, &console).map_err(failure)?;
        console.data(&results, &text(&results));
        Ok(ExitCode::Ok)
    })
}

fn measure(arguments: &Arguments, console: &Console) -> anyhow::Result<Results> {
    let rounds = usize::from(arguments.rounds);
    let mut results = Results { schema: 1, comparisons: Vec::new(), agent: None, inference: None };
    match &arguments.what {
        What::Artifact => results.comparisons.push(benches::artifact::run(rounds)?),
        What::Transfer => match benches::transfer::run(rounds)? {
            Some(comparison) => results.comparisons.push(comparison),
            None => anyhow::bail!("mosquitto is not installed"),
        },
        What::Inference(arguments) => results.inference = Some(inference::run(arguments, console)?),
        // `main` has answered it.
        What::InferenceChild(_) => {}
        What::Agent { binary, artifact, enrolment } => {
            results.agent = Some(benches::agent::run(binary, artifact, enrolment)?);
        }
    }
    Ok(results)
}

fn text(results: &Results) -> String {
    let rows: Vec<Vec<String>> = results.comparisons.iter().map(Comparison::row).collect();
    let mut text = if rows.is_empty() { String::new() } else { table(&Comparison::HEADER, &rows) };
    if let Some(inference) = &results.inference {
        text.push_str(&inference.text());
    }
    if let Some(agent) = &results.agent {
        let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        text.push_str(&table(
            &["edge-agent", "size"],
            &[
                vec!["executable".to_owned(), megabytes(agent.binary_bytes)],
                vec!["installed artifact".to_owned(), megabytes(agent.artifact_bytes)],
                vec!["idle, resident".to_owned(), megabytes(agent.idle_resident_bytes)],
                vec!["idle, not backed by files".to_owned(), megabytes(agent.idle_anonymous_bytes)],
            ],
        ));
    }
    text
}
