//! The three programs as child processes of this one.
//!
//! The quickstart carries `distill`, `fleet` and `edge-agent` in its own executable: a child process whose
//! first argument is [`RUN_PROGRAM`] behaves as the program named by the second. Nothing is shared between
//! the processes but files, sockets and the broker, exactly as on separate machines.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The hidden first argument that turns this executable into one of the three programs.
pub const RUN_PROGRAM: &str = "__program";

/// How often the state of a child process is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The largest output of a command that is read, in bytes.
const LOG_TAIL_BYTES_MAX: u64 = 4096;

/// Runs the program that the arguments name, if they begin with [`RUN_PROGRAM`].
pub fn run_as_program(arguments: &[OsString]) -> Option<ExitCode> {
    if arguments.get(1).map(OsString::as_os_str) != Some(OsStr::new(RUN_PROGRAM)) {
        return None;
    }
    let own: Vec<OsString> = arguments[2..].to_vec();
    match own.first().and_then(|name| name.to_str()) {
        Some("distill") => {
            distill_pipeline::tune_allocator();
            Some(distill_pipeline::main_from(own))
        }
        Some("fleet") => Some(cloud_sync_fleet::main_from(own)),
        Some("edge-agent") => Some(cloud_sync_agent::main_from(own)),
        _ => None,
    }
}

/// An executable that understands [`RUN_PROGRAM`].
#[derive(Debug, Clone)]
pub struct Programs {
    executable: PathBuf,
    passphrase: String,
}

impl Programs {
    /// Programs carried by `executable`; key files are opened with `passphrase`.
    pub fn new(executable: PathBuf, passphrase: String) -> Self {
        Programs { executable, passphrase }
    }

    /// A command line of `program`, without standard input.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(&self.executable);
        command.arg(RUN_PROGRAM).arg(program).stdin(Stdio::null());
        // The environment of whoever runs the quickstart must not steer the programs inside it.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CASK_")) {
            command.env_remove(name);
        }
        command.env("CASK_PASSPHRASE", &self.passphrase);
        command
    }

    /// The executable that carries the programs.
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// The passphrase of the key files.
    pub fn passphrase(&self) -> &str {
        &self.passphrase
    }

    /// Runs `program` to its end with `--json` and returns the object that it prints.
    pub fn json<S: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = S>) -> Result<Value> {
        self.object(program, arguments, Stdio::piped())
    }

    /// The same for a program that takes its time: its progress bars are shown.
    pub fn json_with_progress<S: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Value> {
        self.object(program, arguments, Stdio::inherit())
    }

    fn object<S: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = S>,
        errors: Stdio,
    ) -> Result<Value> {
        let mut command = self.command(program);
        command.args(arguments).arg("--json").stdout(Stdio::piped()).stderr(errors);
        let output = command.output().with_context(|| format!("{program} could not be started"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!(
                "{} ended with {}\n{}",
                shown(&command),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("{} printed no JSON object: {last}", shown(&command)))
    }

    /// Runs `program` to its end and returns its exit code and standard error.
    pub fn exit_code<S: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<(i32, String)> {
        let mut command = self.command(program);
        let output = command.args(arguments).output().with_context(|| format!("{program} could not be started"))?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((output.status.code().context("the program was killed by a signal")?, errors))
    }

    /// Starts `program` as a daemon whose standard error goes to `log`; it is killed when the handle is dropped.
    pub fn daemon<S: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = S>,
        log: &Path,
    ) -> Result<Daemon> {
        let mut command = self.command(program);
        #[allow(clippy::disallowed_methods)]
        // A log file that only this process writes; it need not survive a power cut.
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("log file {}", log.display()))?;
        command.args(arguments).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().with_context(|| format!("{program} could not be started"))?;
        Ok(Daemon { name: program.to_owned(), child, log: log.to_owned() })
    }
}

/// A command line as a person would type it.
fn shown(command: &Command) -> String {
    let words: Vec<String> = command.get_args().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}

/// A running program.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` gives a value; fails when the program ends first or `limit` passes.
    pub fn wait_until<T>(&mut self, what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(value) = ready() {
                return Ok(value);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} before {what}\n{}", self.name, self.log_tail());
            }
            if start.elapsed() > limit {
                bail!("{} did not reach «{what}» within {} s\n{}", self.name, limit.as_secs(), self.log_tail());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Ends the program as a power cut would: SIGKILL, no chance to tidy up.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Lets the program run on after this process has ended.
    pub fn keep(self) {
        std::mem::forget(self);
    }

    fn log_tail(&self) -> String {
        let Ok(file) = runtime_disk::ReadFile::open(&self.log) else { return String::new() };
        let start = file.len().saturating_sub(LOG_TAIL_BYTES_MAX);
        let mut tail = vec![0; usize::try_from(file.len() - start).unwrap_or(0)];
        match file.read_at(start, &mut tail) {
            Ok(()) => format!("the end of {}:\n{}", self.log.display(), String::from_utf8_lossy(&tail)),
            Err(_) => String::new(),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both calls fail only when the program has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
