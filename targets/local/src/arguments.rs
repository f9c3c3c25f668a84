//! The command line of the quickstart.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use runtime_console::{Console, ExitCode, Failure};

use crate::layout::Layout;
use crate::programs::{Programs, RUN_PROGRAM, run_as_program};
use crate::stage::{Broker, MODEL, Stage};
use crate::story::Story;

/// Train, quantize, seal, roll out, serve, attack and roll back a model: the whole of Cask on this machine
///
/// Runs `distill`, `fleet serve` and three `edge-agent`s as processes of their own, over an MQTT broker on
/// loopback. Needs no network. Ends with a table, and with exit code 0 only if every row of it held.
#[derive(Debug, Parser)]
#[command(
    name = "quickstart",
    version,
    after_help = "Example:\n  cargo quickstart\n  cargo quickstart --keep --dir /tmp/cask"
)]
struct Arguments {
    /// Print one JSON object on standard output instead of the table
    #[arg(long)]
    json: bool,
    /// Leave everything running, and say how to talk to it
    #[arg(long)]
    keep: bool,
    /// Work in this folder, which must be empty or absent, and leave it there [default: a temporary folder]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// Runs the quickstart, or the program that the arguments name.
pub fn main_from(arguments: Vec<OsString>) -> std::process::ExitCode {
    if let Some(code) = run_as_program(&arguments) {
        return code;
    }
    let arguments = Arguments::parse_from(arguments);
    runtime_console::init_logging(0, false);
    runtime_console::run("quickstart", arguments.json, || {
        quickstart(&arguments).map_err(|error| {
            error.downcast::<Failure>().unwrap_or_else(|error| Failure::new(ExitCode::Bug, format!("{error:#}")))
        })
    })
}

fn quickstart(arguments: &Arguments) -> Result<ExitCode> {
    let console = Console::new(arguments.json, false);
    let (root, temporary) = work_folder(arguments)?;
    let programs = Programs::new(std::env::current_exe().context("this executable has no path")?, passphrase()?);
    let mut stage = Stage::new(Layout::create(&root)?, programs.clone(), Broker::Embedded);
    let mut story = Story::new(&mut stage, &console);
    story.tell()?;
    let shortfalls = story.shortfalls();
    let report = story.report;
    console.data(&report, &format!("\n{}", report.table()));
    if arguments.keep {
        console.note(&how_to_talk(&stage, &programs));
        stage.keep();
        std::mem::forget(temporary);
    }
    if shortfalls.is_empty() {
        return Ok(ExitCode::Ok);
    }
    Err(Failure::new(ExitCode::Bug, format!("the story did not hold:\n  {}", shortfalls.join("\n  "))).into())
}

/// The folder to work in, and the guard that removes it at the end when it is a temporary one.
fn work_folder(arguments: &Arguments) -> Result<(PathBuf, Option<tempfile::TempDir>)> {
    match &arguments.dir {
        Some(folder) => {
            let occupied = runtime_disk::exists(folder)? && !runtime_disk::list(folder, 1_000)?.is_empty();
            if occupied {
                return Err(Failure::usage(format!("the folder {} is not empty", folder.display()))
                    .with_hint("name another one with --dir, or remove it")
                    .into());
            }
            Ok((folder.clone(), None))
        }
        None => {
            let temporary = tempfile::Builder::new().prefix("cask-quickstart-").tempdir()?;
            Ok((temporary.path().to_owned(), Some(temporary)))
        }
    }
}

/// A passphrase of this run alone; key files never lie on a disk unencrypted, not even for two minutes.
fn passphrase() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(hex::encode(bytes))
}

fn how_to_talk(stage: &Stage, programs: &Programs) -> String {
    let root = stage.layout.root().display();
    let address = stage.address(0).map(|address| address.to_string()).unwrap_or_default();
    let folder = stage.devices[0].folder.display();
    let zeros = vec!["0"; 64].join(",");
    // This executable is all three programs, so nothing has to be built to go on.
    let program = |name: &str| format!("{} {RUN_PROGRAM} {name}", programs.executable().display());
    let (agent, fleet) = (program("edge-agent"), program("fleet"));
    format!(
        "\nEverything is still running.\n\n\
         Ask a device:\n  curl -s http://{address}/v2/models/{MODEL}\n  \
         curl -s http://{address}/v2/models/{MODEL}/infer -d '{{\"inputs\":[{{\"name\":\"input\",\
         \"shape\":[1,1,8,8],\"datatype\":\"FP32\",\"data\":[{zeros}]}}]}}'\n\n\
         The artifact:   {root}/run/digits.cask\n\
         Its root:       {root}/fleet/trust/root.json\n\
         Check it:       {agent} verify {root}/run/digits.cask --root {root}/fleet/trust/root.json\n\
         A device:       {agent} --dir {folder} status\n\
         The fleet:      CASK_PASSPHRASE={passphrase} {fleet} --dir {root}/fleet device list\n\n\
         Stop it:        pkill -f {marker}",
        passphrase = programs.passphrase(),
        marker = RUN_PROGRAM,
    )
}
