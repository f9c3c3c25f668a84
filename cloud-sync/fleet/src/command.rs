//! The command line of `fleet`: arguments, and one file per subcommand.

mod artifact_list;
mod artifact_push;
mod artifact_show;
mod artifact_sign;
mod artifact_update;
mod broker_certificate;
mod device_enroll;
mod device_list;
mod device_show;
mod keys_new;
mod keys_show;
mod release;
mod rollout_rollback;
mod rollout_start;
mod rollout_status;
mod run_serve;
mod session;
mod shown;
mod target;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use runtime_console::{Classified, Console, Failure, GlobalArgs, Shell, completions};

use crate::folder::{FOLDER_DEFAULT, FleetFolder};

/// The environment variable with the fleet folder.
const FOLDER_ENV: &str = "CASK_FLEET_DIR";
/// What is silent unless `CASK_LOG` says otherwise: the embedded broker logs an error for every goodbye.
#[cfg(feature = "embedded-broker")]
const SILENT: &[&str] = &["rumqttd"];
#[cfg(not(feature = "embedded-broker"))]
const SILENT: &[&str] = &[];

/// Keys, artifacts, rollouts and devices of a fleet.
///
/// A fleet lives in one folder (--dir). While `fleet serve` runs there, the other commands talk to it through its
/// admin socket; otherwise they open the folder themselves. `keys`, `broker` and `artifact sign` need neither.
#[derive(Debug, Parser)]
#[command(
    name = "fleet",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "Example, from nothing to a device:\n  \
        export CASK_PASSPHRASE=...\n  \
        fleet keys new\n  \
        fleet serve &\n  \
        fleet artifact push digits.cask\n  \
        fleet device enroll camera-1 --out camera-1.json\n  \
        fleet rollout start digits --wait\n\n\
        Exit codes: 0 ok, 1 a bug, 2 usage or configuration, 4 not trusted, 5 unsupported, 6 unreachable,\n\
        7 damaged store, 8 self-test failed (rollout start --wait), 9 no room or in use."
)]
struct Arguments {
    #[command(flatten)]
    global: GlobalArgs,
    /// The fleet folder
    #[arg(long, global = true, value_name = "FOLDER", env = FOLDER_ENV, default_value = FOLDER_DEFAULT, hide_env_values = true)]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make and show keys
    #[command(subcommand)]
    Keys(Keys),
    Serve(run_serve::Arguments),
    /// Store, list, show, sign artifacts
    #[command(subcommand)]
    Artifact(Artifact),
    /// Start, watch and take back rollouts
    #[command(subcommand)]
    Rollout(Rollout),
    /// List, show and enroll devices
    #[command(subcommand)]
    Device(Device),
    /// Prepare a broker of your own
    #[command(subcommand)]
    Broker(Broker),
    /// Print the completion script of a shell
    #[command(after_help = "Example:\n  fleet completions bash > ~/.local/share/bash-completion/completions/fleet")]
    Completions(Completions),
}

#[derive(Debug, Subcommand)]
enum Keys {
    New(keys_new::Arguments),
    Show(keys_show::Arguments),
}

#[derive(Debug, Subcommand)]
enum Artifact {
    Push(artifact_push::Arguments),
    List(artifact_list::Arguments),
    Show(artifact_show::Arguments),
    Sign(artifact_sign::Arguments),
    Update(artifact_update::Arguments),
}

#[derive(Debug, Subcommand)]
enum Rollout {
    Start(rollout_start::Arguments),
    Status(rollout_status::Arguments),
    Rollback(rollout_rollback::Arguments),
}

#[derive(Debug, Subcommand)]
enum Device {
    List(device_list::Arguments),
    Show(device_show::Arguments),
    Enroll(device_enroll::Arguments),
}

#[derive(Debug, Subcommand)]
enum Broker {
    Certificate(broker_certificate::Arguments),
}

#[derive(Debug, Args)]
struct Completions {
    /// The shell
    shell: Shell,
}

/// What every subcommand gets.
pub(crate) struct Context {
    /// The fleet folder.
    pub(crate) folder: FleetFolder,
    /// Where results go.
    pub(crate) console: Console,
}

/// Runs `fleet` with the arguments of the process, program name first, and returns its exit code.
pub fn main_from(args: Vec<OsString>) -> ExitCode {
    let json = args.iter().any(|arg| arg == "--json");
    runtime_console::run("fleet", json, || {
        let Some(arguments) = parse(args)? else { return Ok(runtime_console::ExitCode::Ok) };
        runtime_console::init_logging_quiet(arguments.global.verbose, arguments.global.json, SILENT);
        let console = Console::new(arguments.global.json, arguments.global.quiet);
        let context = Context { folder: FleetFolder::new(arguments.dir), console };
        dispatch(&context, arguments.command).map(|()| runtime_console::ExitCode::Ok)
    })
}

/// The arguments; none when help or the version was asked for and printed.
fn parse(args: Vec<OsString>) -> Result<Option<Arguments>, Failure> {
    let matches = match Arguments::command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => {
            Console::new(false, false).raw(&error.to_string());
            return Ok(None);
        }
        Err(error) => return Err(usage_failure(&error)),
    };
    Arguments::from_arg_matches(&matches).map(Some).map_err(|error| usage_failure(&error))
}

/// clap prints "error: " itself, and its tips in lines of their own.
fn usage_failure(error: &clap::Error) -> Failure {
    let text = error.to_string();
    Failure::usage(text.trim().trim_start_matches("error: ").to_owned())
}

fn dispatch(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Keys(Keys::New(arguments)) => keys_new::run(context, arguments),
        Command::Keys(Keys::Show(arguments)) => keys_show::run(context, arguments),
        Command::Serve(arguments) => wait(run_serve::run(context, arguments)),
        Command::Artifact(Artifact::Push(arguments)) => wait(artifact_push::run(context, arguments)),
        Command::Artifact(Artifact::List(arguments)) => wait(artifact_list::run(context, arguments)),
        Command::Artifact(Artifact::Show(arguments)) => wait(artifact_show::run(context, arguments)),
        Command::Artifact(Artifact::Sign(arguments)) => artifact_sign::run(context, arguments),
        Command::Artifact(Artifact::Update(arguments)) => wait(artifact_update::run(context, arguments)),
        Command::Rollout(Rollout::Start(arguments)) => wait(rollout_start::run(context, arguments)),
        Command::Rollout(Rollout::Status(arguments)) => wait(rollout_status::run(context, arguments)),
        Command::Rollout(Rollout::Rollback(arguments)) => wait(rollout_rollback::run(context, arguments)),
        Command::Device(Device::List(arguments)) => wait(device_list::run(context, arguments)),
        Command::Device(Device::Show(arguments)) => wait(device_show::run(context, arguments)),
        Command::Device(Device::Enroll(arguments)) => wait(device_enroll::run(context, arguments)),
        Command::Broker(Broker::Certificate(arguments)) => broker_certificate::run(context, arguments),
        Command::Completions(Completions { shell }) => {
            context.console.raw(&completions::<Arguments>(shell));
            Ok(())
        }
    }
}

fn wait(future: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(&error, runtime_console::ExitCode::NoRoom))?;
    runtime.block_on(future)
}

/// An error of the fleet as a command's failure.
pub(crate) fn failed<E: Classified + 'static>(error: E) -> Failure {
    Failure::classified(&error)
}

/// The system's clock, in seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
