//! Arguments that every program has, and shell completions.

use clap::{Args, CommandFactory};

/// Flags that every subcommand of every program understands.
#[derive(Debug, Clone, Default, Args)]
pub struct GlobalArgs {
    /// Print one JSON object on standard output instead of text
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// Print only the result and errors
    #[arg(long, short, global = true, help_heading = "Output")]
    pub quiet: bool,
    /// Log more on standard error (-v: info, -vv: debug, -vvv: trace)
    #[arg(long, short, global = true, action = clap::ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,
}

/// The completion script of the program `C` for `shell`, as text for standard output.
pub fn completions<C: CommandFactory>(shell: clap_complete::Shell) -> String {
    let mut command = C::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

pub use clap_complete::Shell;
