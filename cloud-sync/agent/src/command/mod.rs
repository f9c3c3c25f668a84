//! The command line: one file per subcommand, each with its arguments and what it does.

mod bench;
mod completions;
mod config;
mod doctor;
mod enroll;
mod infer;
mod install;
mod rollback;
mod run;
mod status;
mod verify;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode as ProcessExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use runtime_console::{Console, ExitCode, Failure, GlobalArgs};
use runtime_inference::{ISA_VARIABLE, IsaError, check_isa};

use crate::folder::AgentFolder;

/// What every subcommand is given.
pub(crate) struct Context {
    pub(crate) console: Console,
    pub(crate) folder: AgentFolder,
    pub(crate) global: GlobalArgs,
    /// The instruction set that the environment forces; this machine has it.
    pub(crate) isa: Option<String>,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 a bug, 2 wrong usage or configuration, 4 not trusted, 5 unsupported,
6 unreachable, 7 damaged store, 8 self-test failed on this device, 9 no room or in use.

Example, a device that joins a fleet:
  edge-agent enroll camera-7.json
  edge-agent run &
  edge-agent status
  edge-agent infer picture.png";

/// Keeps a device's models current and answers for them, with or without a network.
#[derive(Debug, Parser)]
#[command(name = "edge-agent", version, after_help = AFTER_HELP, max_term_width = 110)]
pub(crate) struct Cli {
    /// The agent's folder: enrolment, configuration, installed models, sockets
    #[arg(long, global = true, env = "CASK_AGENT_DIR", default_value = "agent", value_name = "DIR", hide_env = true)]
    dir: PathBuf,
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Enroll(enroll::Args),
    Run(run::Args),
    Status(status::Args),
    Infer(infer::Args),
    Install(install::Args),
    Verify(verify::Args),
    Rollback(rollback::Args),
    Bench(bench::Args),
    Doctor(doctor::Args),
    Config(config::Args),
    Completions(completions::Args),
}

/// Runs `edge-agent` with `args`, whose first element is the program's name, and returns its exit code.
pub fn main_from(args: Vec<OsString>) -> ProcessExitCode {
    let json = args.iter().any(|arg| arg == "--json");
    match Cli::try_parse_from(args) {
        Ok(cli) => {
            let json = cli.global.json;
            runtime_console::run("edge-agent", json, || cli.run())
        }
        Err(error) => report(&error, json),
    }
}

/// Help and versions end well; anything else is wrong usage, also as JSON when that was asked for.
fn report(error: &clap::Error, json: bool) -> ProcessExitCode {
    let asked_for = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if json && error.use_stderr() && !asked_for {
        let text = error.to_string();
        let message = text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned();
        return runtime_console::run("edge-agent", true, || Err(Failure::usage(message)));
    }
    // A reader that went away (`| head`) ends the output silently.
    let _ = error.print();
    if error.use_stderr() { ExitCode::Usage.into() } else { ExitCode::Ok.into() }
}

/// The instruction set that `CASK_ISA` forces; empty is the same as unset.
fn forced_isa(value: Option<OsString>) -> Result<Option<String>, Failure> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    let name = value.to_string_lossy().into_owned();
    check_isa(&name).map_err(|error| isa_failure(&error).with_context(ISA_VARIABLE))?;
    Ok(Some(name))
}

fn isa_failure(error: &IsaError) -> Failure {
    let code = match error {
        IsaError::Unknown { .. } => ExitCode::Usage,
        IsaError::Missing { .. } => ExitCode::Unreachable,
    };
    Failure::new(code, format!("failed to {error}"))
}

impl Cli {
    fn run(self) -> Result<ExitCode, Failure> {
        let console = Console::new(self.global.json, self.global.quiet);
        let isa = forced_isa(std::env::var_os(ISA_VARIABLE))?;
        let context = Context { console, folder: AgentFolder::new(self.dir), global: self.global, isa };
        if !matches!(self.command, Command::Run(_)) {
            runtime_console::init_logging(context.global.verbose, context.global.json);
        }
        match self.command {
            Command::Enroll(args) => enroll::run(&context, &args),
            Command::Run(args) => run::run(&context, &args),
            Command::Status(args) => status::run(&context, &args),
            Command::Infer(args) => infer::run(&context, &args),
            Command::Install(args) => install::run(&context, &args),
            Command::Verify(args) => verify::run(&context, &args),
            Command::Rollback(args) => rollback::run(&context, &args),
            Command::Bench(args) => bench::run(&context, &args),
            Command::Doctor(args) => doctor::run(&context, &args),
            Command::Config(args) => config::run(&context, &args),
            Command::Completions(args) => completions::run(&context, &args),
        }
    }
}
