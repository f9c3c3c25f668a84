//! Where the passphrase of a key file comes from.

use std::io::IsTerminal;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;

use crate::Failure;

/// The environment variable that holds a passphrase.
pub const PASSPHRASE_ENV: &str = "CASK_PASSPHRASE";

/// A passphrase is read up to this many bytes.
const PASSPHRASE_BYTES_MAX: u64 = 4096;

/// How to get the passphrase of a key file. The first source that is given wins: file, command,
/// the environment variable `CASK_PASSPHRASE`, then a prompt when a terminal is there.
#[derive(Debug, Clone, Default, Args)]
pub struct PassphraseArgs {
    /// Read the passphrase from the first line of this file
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_command", help_heading = "Keys")]
    pub passphrase_file: Option<PathBuf>,
    /// Read the passphrase from the first line that this shell command prints
    #[arg(long, value_name = "COMMAND", help_heading = "Keys")]
    pub passphrase_command: Option<String>,
}

impl PassphraseArgs {
    /// The passphrase for `what` ("release key"), without its line end.
    ///
    /// With `confirm` a prompt asks twice (for new keys). Exit 2 when no source gives one.
    pub fn read(&self, what: &str, confirm: bool) -> Result<Vec<u8>, Failure> {
        if let Some(path) = &self.passphrase_file {
            let bytes = runtime_disk::read_bounded(path, PASSPHRASE_BYTES_MAX)
                .map_err(|error| Failure::from_error(&error, crate::ExitCode::Usage).with_context("passphrase file"))?;
            return first_line(&bytes, &path.display().to_string());
        }
        if let Some(command) = &self.passphrase_command {
            return first_line(&command_output(command)?, "the passphrase command");
        }
        if let Some(value) = std::env::var_os(PASSPHRASE_ENV) {
            let text = value.into_string().map_err(|_| Failure::usage(format!("{PASSPHRASE_ENV} is not UTF-8")))?;
            return Ok(text.into_bytes());
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::usage(format!("no passphrase for the {what}"))
                .with_hint(format!("set {PASSPHRASE_ENV}, or give --passphrase-file or --passphrase-command")));
        }
        prompt(what, confirm)
    }
}

fn prompt(what: &str, confirm: bool) -> Result<Vec<u8>, Failure> {
    let ask = |text: String| {
        rpassword::prompt_password(text)
            .map_err(|error| Failure::usage(format!("no passphrase from the terminal: {error}")))
    };
    let first = ask(format!("Passphrase for the {what}: "))?;
    if confirm && ask(format!("The same again for the {what}: "))? != first {
        return Err(Failure::usage("the two passphrases differ").with_hint("start again"));
    }
    Ok(first.into_bytes())
}

fn command_output(command: &str) -> Result<Vec<u8>, Failure> {
    let fail = |what: String| Failure::usage(format!("passphrase command `{command}`: {what}"));
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| fail(format!("could not be started: {error}")))?;
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        // The limit stands on the same line; a longer output is cut and then refused for having no line end.
        #[allow(clippy::disallowed_methods)]
        stdout.take(PASSPHRASE_BYTES_MAX).read_to_end(&mut output).map_err(|error| fail(error.to_string()))?;
    }
    let status = child.wait().map_err(|error| fail(error.to_string()))?;
    if status.success() { Ok(output) } else { Err(fail(format!("ended with {status}"))) }
}

fn first_line(bytes: &[u8], source: &str) -> Result<Vec<u8>, Failure> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(Failure::usage(format!("{source} gives an empty passphrase")));
    }
    Ok(line.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Result<Vec<u8>, Failure> {
        PassphraseArgs { passphrase_file: None, passphrase_command: Some(text.to_owned()) }.read("test key", false)
    }

    #[test]
    fn a_command_gives_its_first_line() {
        assert_eq!(command("printf 'open sesame\\r\\nsecond'").expect("a passphrase"), b"open sesame");
    }

    #[test]
    fn a_command_that_fails_or_prints_nothing_is_an_error() {
        let failed = command("exit 7").expect_err("exit 7");
        assert!(failed.message().contains("exit status: 7"), "{failed}");
        let empty = command("true").expect_err("no output");
        assert!(empty.message().contains("empty passphrase"), "{empty}");
    }
}
