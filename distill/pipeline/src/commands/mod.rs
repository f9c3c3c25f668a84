//! The command line: one file per subcommand, each with its `Args` and its `run`.

mod check;
mod completions;
mod evaluate;
mod init;
mod inspect;
mod pack;
mod quantize;
mod run;
mod verify;

use std::ffi::OsString;

use clap::{Parser, Subcommand};
use runtime_console::{Console, ExitCode, Failure, GlobalArgs, init_logging};
use runtime_inference::{Engines, ISA_VARIABLE, check_isa};

use crate::error::{At as _, PipelineError};

/// Makes a model that devices can trust: distils a student, quantizes it within an accuracy budget, seals it.
#[derive(Debug, Parser)]
#[command(
    name = "distill",
    version,
    about,
    long_about = None,
    after_help = "Example: distill init model.onnx --data data.npz --out recipe.toml && distill run recipe.toml",
    after_long_help = EXIT_CODES,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Example:
  distill init model.onnx --data data.npz --out recipe.toml
  distill run recipe.toml

Exit codes:
  0  done
  1  a bug in the program
  2  wrong usage, recipe or data
  3  budget not met; the best result was kept
  4  not trusted
  5  unsupported operator, format or engine
  6  the device that was asked for is not there
  8  the sealed model did not pass its self-test on this machine
  9  no room on the disk, or in use

Results go to standard output, everything else to standard error.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a recipe: teacher, student, int8 within the budget, sealed artifact
    ///
    /// Leaves in the run folder: teacher.onnx, student.onnx, student.int8.onnx, NAME.cask, metrics.json, the recipe as
    /// run, log.jsonl, and test_outputs.npz with the int8 model's answer to every test sample. Every figure comes from
    /// the device's own engine. The test part is read once, at the end; training and budget are judged on the
    /// validation part. The same recipe, data and machine give the same bytes.
    Run(run::Args),
    /// Write a commented recipe for a model and its data
    ///
    /// The recipe quantizes the model as it is; everything else stands in it as a comment. Without labels in the data
    /// the budget is agreement with the float model.
    Init(init::Args),
    /// Check a recipe, its data and its models without training anything
    ///
    /// Looks for unknown keys, values that are no numbers, labels out of range, classes without samples, samples that
    /// stand in two parts, shapes that do not fit, and operators that cannot be trained or run.
    Check(check::Args),
    /// Quantize an ONNX model to int8
    ///
    /// Writes a QDQ model: s8 weights with one scale for each output channel, int32 biases, u8 activations.
    Quantize(quantize::Args),
    /// Measure a model on labelled data with a device's engine
    Evaluate(evaluate::Args),
    /// Seal a finished ONNX model into a .cask
    ///
    /// Answers golden samples with the device's own engine, runs the self-test of devices here, and signs.
    Pack(pack::Args),
    /// Show what a .cask says about itself, without checking its signature
    Inspect(inspect::Args),
    /// Check a .cask's signature and every byte of it
    ///
    /// Memory stays under 64 MB, whatever the file claims. Exit code 4 when it is not what release signed, 5 when this
    /// version cannot read it.
    Verify(verify::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

/// Parses `args`, runs the subcommand, prints its result or error.
pub(crate) fn main_from(args: Vec<OsString>) -> std::process::ExitCode {
    let json = args.iter().any(|arg| arg == "--json");
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, json),
    };
    init_logging(cli.global.verbose, cli.global.json);
    let console = Console::new(cli.global.json, cli.global.quiet);
    runtime_console::run("distill", cli.global.json, || {
        let run = || {
            let isa = forced_isa(std::env::var_os(ISA_VARIABLE))?;
            dispatch(cli.command, &console, &Engines::standard().with_isa(isa))
        };
        run().map_err(|error| Failure::classified(&error))
    })
}

/// The instruction set that `CASK_ISA` forces; empty is the same as unset.
fn forced_isa(value: Option<OsString>) -> Result<Option<String>, PipelineError> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    let name = value.to_string_lossy().into_owned();
    check_isa(&name).at(ISA_VARIABLE)?;
    Ok(Some(name))
}

fn dispatch(command: Command, console: &Console, engines: &Engines) -> Result<ExitCode, PipelineError> {
    match command {
        Command::Run(args) => run::run(&args, console, engines),
        Command::Init(args) => init::run(&args, console),
        Command::Check(args) => check::run(&args, console, engines),
        Command::Quantize(args) => quantize::run(&args, console, engines),
        Command::Evaluate(args) => evaluate::run(&args, console, engines),
        Command::Pack(args) => pack::run(&args, console, engines),
        Command::Inspect(args) => inspect::run(&args, console),
        Command::Verify(args) => verify::run(&args, console),
        Command::Completions(args) => completions::run(&args, console),
    }
}

/// Help and version are no errors; anything else is wrong usage, told as JSON when that was asked for.
fn refuse(error: &clap::Error, json: bool) -> std::process::ExitCode {
    if error.use_stderr() && json {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        return runtime_console::run("distill", true, || Err(Failure::usage(first)));
    }
    // A closed standard output leaves nobody to tell.
    let _ = error.print();
    if error.use_stderr() { ExitCode::Usage.into() } else { ExitCode::Ok.into() }
}

/// A share as a percentage for people.
fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// The completion script for the whole command line.
fn script(shell: runtime_console::Shell) -> String {
    runtime_console::completions::<Cli>(shell)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_subcommand_has_an_example() {
        let command = Cli::command();
        command.clone().debug_assert();
        for subcommand in command.get_subcommands() {
            let help = subcommand.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = subcommand.get_name();
            assert!(help.contains(&format!("distill {name}")), "{name} has no example: {help:?}");
        }
    }
}
