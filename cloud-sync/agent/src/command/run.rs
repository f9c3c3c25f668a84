//! `edge-agent run`

use runtime_console::{ExitCode, Failure};

use super::Context;
use crate::config::{Config, Flags, Settings};
use crate::daemon;
use crate::device::Device;
use crate::folder::FolderError;
use crate::outcome::failed;

/// Run the agent: serve what is installed, follow the fleet
///
/// Serves the active model at once, with or without a network, then connects to the fleet's broker and follows its
/// deployments. Stops on SIGTERM or SIGINT. When it listens, agent.json in the folder says where, and "ready" is
/// printed on standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge-agent --dir /var/lib/edge-agent run --http-listen 127.0.0.1:8000")]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    let config = load(context, &args.flags)?;
    let settings = Settings { isa: context.isa.clone(), ..config.settings() };
    runtime_console::init_logging(settings.verbose.max(context.global.verbose), context.global.json);
    for (name, near) in crate::config::unknown_variables(&environment_names()) {
        let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        tracing::warn!("the environment variable {name} is no configuration key and changes nothing{near}");
    }
    let enrolment = match context.folder.enrolment() {
        Ok(enrolment) => Some(enrolment),
        // A folder with a root and without a fleet serves what was installed by hand.
        Err(FolderError::NotEnrolled(_)) => None,
        Err(error) => return Err(failed(&error)),
    };
    let device = Device::open(&context.folder, enrolment.as_ref(), settings)?;
    daemon::run(device, enrolment, &context.console)
}

/// The configuration of the folder, with what the process was given.
pub(super) fn load(context: &Context, flags: &Flags) -> Result<Config, Failure> {
    Config::load(context.folder.path(), &|name| std::env::var_os(name), flags).map_err(|error| failed(&error))
}

/// The names of the process's variables.
pub(super) fn environment_names() -> Vec<String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
}
