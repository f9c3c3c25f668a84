//! `edge-agent config`

use runtime_console::{ExitCode, Failure};
use serde::Serialize;

use super::Context;
use crate::config::{KEYS, document};

/// Print every configuration key, as a commented agent.toml
///
/// Each key can also be given as an environment variable and, where a command uses it, as a flag.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge-agent config > agent/agent.toml")]
pub(super) struct Args {}

#[derive(Serialize)]
struct Keys {
    schema: u32,
    keys: Vec<KeyRow>,
}

#[derive(Serialize)]
struct KeyRow {
    name: &'static str,
    takes: String,
    default: &'static str,
    example: &'static str,
    variable: String,
    flag: String,
    doc: &'static str,
}

pub(super) fn run(context: &Context, _args: &Args) -> Result<ExitCode, Failure> {
    let row = |key: &crate::config::Key| KeyRow {
        name: key.name,
        takes: key.kind.describe(),
        default: key.default,
        example: key.example,
        variable: key.variable(),
        flag: format!("--{}", key.flag()),
        doc: key.doc,
    };
    context.console.data(&Keys { schema: 1, keys: KEYS.iter().map(row).collect() }, &document());
    Ok(ExitCode::Ok)
}
