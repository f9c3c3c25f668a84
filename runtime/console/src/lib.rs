//! What every program prints, and how every program ends.
//!
//! Standard output carries data: a human table, or one JSON object with `--json`. Everything else
//! (errors, hints, notes, progress, logs) goes to standard error, and is readable without colour.
//! A program ends with one code of the one table in [`ExitCode`].
//!
//! This crate never decides anything about models, trust or the network: it only prints.

mod args;
mod exit_code;
mod failure;
mod logging;
mod output;
mod passphrase;
mod progress;
mod run;

pub use args::{GlobalArgs, Shell, completions};
pub use exit_code::ExitCode;
pub use failure::{Classified, Failure};
pub use logging::{init_logging, init_logging_quiet};
pub use output::{Console, human_bytes, table};
pub use passphrase::{PASSPHRASE_ENV, PassphraseArgs};
pub use progress::Progress;
pub use run::run;
