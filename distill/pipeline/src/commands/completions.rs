//! `distill completions`: a script that completes this command line.

use runtime_console::{Console, ExitCode, Shell};

use crate::error::Result;

/// Arguments of `distill completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: distill completions bash > /etc/bash_completion.d/distill")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &Args, console: &Console) -> Result<ExitCode> {
    console.raw(&super::script(args.shell));
    Ok(ExitCode::Ok)
}
