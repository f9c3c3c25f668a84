//! `edge-agent completions`

use runtime_console::{ExitCode, Failure, Shell};

use super::{Cli, Context};

/// Print a shell's completion script
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge-agent completions bash > /etc/bash_completion.d/edge-agent")]
pub(super) struct Args {
    /// Which shell
    shell: Shell,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    context.console.raw(&runtime_console::completions::<Cli>(args.shell));
    Ok(ExitCode::Ok)
}
