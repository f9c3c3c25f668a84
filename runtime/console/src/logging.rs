//! Logs on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The environment variable with a log filter such as `info,cloud_sync_link=debug`.
const LOG_ENV: &str = "CASK_LOG";

/// Sends logs to standard error, once per process; later calls change nothing.
///
/// `verbose` is the number of `-v` flags: 0 warnings, 1 info, 2 debug, 3 and more trace. `CASK_LOG` overrides it.
pub fn init_logging(verbose: u8, json: bool) {
    init_logging_quiet(verbose, json, &[]);
}

/// [`init_logging`], but the targets in `silent` log nothing without a `-v`: libraries that call ordinary events
/// errors.
pub fn init_logging_quiet(verbose: u8, json: bool, silent: &[&str]) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let mut directives = level.to_owned();
    if verbose == 0 {
        directives.extend(silent.iter().map(|target| format!(",{target}=off")));
    }
    let filter = EnvFilter::try_from_env(LOG_ENV).unwrap_or_else(|_| EnvFilter::new(directives));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    // A second initialisation (tests, the quickstart running a program in its own process) keeps the first.
    let _ = if json { builder.json().try_init() } else { builder.try_init() };
}
