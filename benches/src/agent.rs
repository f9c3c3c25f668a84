//! What the daemon costs: the size of its executable, and its resident memory when idle with one small model.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

/// The longest that the agent may take to listen.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// How long it idles before it is measured.
const IDLE: Duration = Duration::from_secs(3);

/// The largest file of /proc or of the agent that is read, in bytes.
const STATE_BYTES_MAX: u64 = 64 * 1024;

/// The figures.
#[derive(Debug, Clone, Serialize)]
pub struct Footprint {
    /// Bytes of the executable.
    pub binary_bytes: u64,
    /// Bytes of the installed artifact.
    pub artifact_bytes: u64,
    /// Resident bytes (VmRSS) after idling with the model active.
    pub idle_resident_bytes: u64,
    /// Of those, bytes not backed by files (RssAnon).
    pub idle_anonymous_bytes: u64,
}

/// Installs `artifact` under the enrolment `enrolment` into a new folder, runs the agent offline and measures it.
pub fn run(agent: &Path, artifact: &Path, enrolment: &Path) -> Result<Footprint> {
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("agent");
    let call = |arguments: &[&Path]| -> Result<()> {
        let mut command = Command::new(agent);
        command.arg("--dir").arg(&state).args(arguments).stdout(Stdio::null());
        let status = command.status().with_context(|| format!("{} could not be started", agent.display()))?;
        ensure!(status.success(), "{} {arguments:?} ended with {status}", agent.display());
        Ok(())
    };
    call(&[Path::new("enroll"), enrolment])?;
    call(&[Path::new("install"), artifact])?;
    let child = Command::new(agent)
        .arg("--dir")
        .arg(&state)
        .args(["run", "--http-listen", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let running = Running(child);
    wait_for(&state.join("agent.json"))?;
    std::thread::sleep(IDLE);
    let status = runtime_disk::read_bounded(Path::new(&format!("/proc/{}/status", running.0.id())), STATE_BYTES_MAX)?;
    let status = String::from_utf8_lossy(&status).into_owned();
    Ok(Footprint {
        binary_bytes: runtime_disk::file_bytes(agent)?,
        artifact_bytes: runtime_disk::file_bytes(artifact)?,
        idle_resident_bytes: kibibytes(&status, "VmRSS:")? * 1024,
        idle_anonymous_bytes: kibibytes(&status, "RssAnon:")? * 1024,
    })
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(file: &Path) -> Result<()> {
    let start = Instant::now();
    while !runtime_disk::exists(file)? {
        if start.elapsed() > READY_LIMIT {
            bail!("the agent did not write {}", file.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn kibibytes(status: &str, key: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key} in /proc"))?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
