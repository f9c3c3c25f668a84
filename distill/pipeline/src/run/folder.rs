//! The folder that a run leaves behind: models, figures, the recipe as run, a log with one JSON object per line.

use std::path::{Path, PathBuf};
use std::time::Instant;

use runtime_disk::AppendFile;
use serde::Serialize;
use serde_json::Value;

use super::metrics::Metrics;
use crate::error::Result;

/// Name of the log.
const LOG: &str = "log.jsonl";

/// A run folder that is being filled.
pub(super) struct RunFolder {
    path: PathBuf,
    log: AppendFile,
    start: Instant,
}

impl RunFolder {
    /// Creates the folder, or takes over one that exists: files of the same names are replaced, the log begins anew.
    pub(super) fn create(path: &Path) -> Result<Self> {
        runtime_disk::create_folder(path)?;
        let log = path.join(LOG);
        runtime_disk::write_atomic(&log, b"")?;
        Ok(RunFolder { path: path.to_owned(), log: AppendFile::open(&log)?, start: Instant::now() })
    }

    /// Replaces a file at once.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        Ok(runtime_disk::write_atomic(&self.path.join(name), bytes)?)
    }

    /// Adds a line to the log: the event, the milliseconds since the start, and the fields of `value`.
    pub(super) fn log(&mut self, event: &str, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::json!({ "event": event, "elapsed_ms": self.start.elapsed().as_millis() as u64 });
        let value = serde_json::to_value(value).expect("events are maps with string keys");
        match value {
            Value::Object(fields) => line.as_object_mut().expect("made as an object above").extend(fields),
            other => line["value"] = other,
        }
        let text = format!("{line}\n");
        Ok(self.log.append(text.as_bytes())?)
    }

    /// Seconds since the run began.
    pub(super) fn seconds(&self) -> f64 {
        (self.start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
    }

    /// Writes `metrics.json` and brings the log to the disk.
    pub(super) fn write_metrics(&mut self, metrics: &Metrics) -> Result<()> {
        let mut bytes = serde_json::to_vec_pretty(metrics).expect("metrics are maps with string keys");
        bytes.push(b'\n');
        self.write("metrics.json", &bytes)?;
        Ok(self.log.sync()?)
    }
}
