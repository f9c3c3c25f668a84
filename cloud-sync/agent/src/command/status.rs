//! `edge-agent status`

use runtime_console::{ExitCode, Failure};

use super::Context;
use crate::admin::{AdminClient, Request};
use crate::config::{Flags, Settings};
use crate::device::Device;
use crate::local::Local;
use crate::status::Status;

/// Show what runs, what is installed, what was refused and why
///
/// Asks the agent that runs in the folder; without one it reads the folder.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge-agent status --json")]
pub(super) struct Args {}

pub(super) fn run(context: &Context, _args: &Args) -> Result<ExitCode, Failure> {
    let status: Status = match AdminClient::connect(&context.folder)? {
        Some(agent) => agent.ask(Request::Status {})?,
        None => open(context, &Flags::default())?.status(),
    };
    context.console.data(&status, &status.human());
    Ok(ExitCode::Ok)
}

/// Opens the folder, because no agent runs in it.
pub(super) fn open(context: &Context, flags: &Flags) -> Result<Local, Failure> {
    let settings = Settings { isa: context.isa.clone(), ..super::run::load(context, flags)?.settings() };
    let enrolment = context.folder.enrolment().ok();
    require_folder(context)?;
    let device = Device::open(&context.folder, enrolment.as_ref(), settings)?;
    let trust = device.trust()?;
    Ok(Local::new(device, &trust))
}

/// A typo in `--dir` must not make a new folder.
pub(super) fn require_folder(context: &Context) -> Result<(), Failure> {
    if runtime_disk::exists(context.folder.path()).unwrap_or(false) {
        return Ok(());
    }
    let message = format!("failed to find an agent's folder at {}", context.folder.path().display());
    Err(Failure::usage(message).with_hint("name it with --dir or CASK_AGENT_DIR; `edge-agent enroll FILE` makes one"))
}
