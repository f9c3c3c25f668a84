//! The program `edge-agent`: keeps a device's models current and answers for them, with or without a network.

pub mod machine;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs `edge-agent` with `args`, whose first element is the program's name, and returns its exit code.
pub fn main_from(args: Vec<OsString>) -> ExitCode {
    let _ = args;
    ExitCode::from(2)
}
