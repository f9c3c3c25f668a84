//! Finding and starting the shared library, once a process.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use runtime_engine::{EngineError, catch_panic};

use crate::engine::NAME;
use crate::ffi::{self, ProbeError, Probed};

/// The oldest ONNX Runtime 1.x whose functions this crate can use.
pub const MINOR_VERSION_MIN: u32 = ort::MINOR_VERSION;

/// What the system's search is asked for, in this order, when no path is given.
const SEARCH_NAMES: [&str; 2] = ["libonnxruntime.so", "libonnxruntime.so.1"];

/// The library of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryInfo {
    /// The file.
    pub path: PathBuf,
    /// What it calls its version, for example `1.32.0`.
    pub version: String,
}

/// A started library.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) info: LibraryInfo,
    pub(crate) environment: Environment,
}

/// ONNX Runtime allows one environment a process, and `ort` keeps one library.
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

/// Loads and starts the library at `path`, or the one that the system's search finds; a second call gives the first's.
pub(crate) fn open(path: Option<&Path>) -> Result<Loaded, EngineError> {
    let mut slot = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = slot.as_ref() {
        return same(loaded, path);
    }
    let (probed, asked) = match path {
        Some(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            (usable(path.clone().into_os_string())?, path)
        }
        None => search()?,
    };
    let path = probed.path.clone().filter(|path| path.is_absolute()).unwrap_or(asked);
    let loaded = catch_panic(NAME, || start(&probed, path))?;
    tracing::debug!(path = %loaded.info.path.display(), version = loaded.info.version, "ONNX Runtime is loaded");
    Ok(slot.insert(loaded).clone())
}

/// The library that runs already, unless another file is asked for.
fn same(loaded: &Loaded, path: Option<&Path>) -> Result<Loaded, EngineError> {
    let is_same = |path: &Path| {
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        real(path) == real(&loaded.info.path)
    };
    match path {
        Some(path) if !is_same(path) => Err(missing(
            path.display().to_string(),
            format!("{} at work in this process", loaded.info.path.display()),
            "one library a process".to_owned(),
        )),
        _ => Ok(loaded.clone()),
    }
}

fn search() -> Result<(Probed, PathBuf), EngineError> {
    let mut first = None;
    for name in SEARCH_NAMES {
        match usable(OsString::from(name)) {
            Ok(probed) => return Ok((probed, PathBuf::from(name))),
            // A library that is there and does not fit says more than one that is not there.
            Err(error @ EngineError::NoLibrary { .. }) if first.is_none() => first = Some(error),
            Err(_) => {}
        }
    }
    Err(first.unwrap_or_else(|| missing(SEARCH_NAMES.join(", "), "nothing".to_owned(), needed())))
}

fn usable(name: OsString) -> Result<Probed, EngineError> {
    let refused = |found: String| missing(name.to_string_lossy().into_owned(), found, needed());
    let probed = ffi::probe(&name).map_err(|error| match error {
        ProbeError::NotLoaded(why) => refused(format!("no library that loads ({why})")),
        ProbeError::Foreign(what) => refused(what.to_owned()),
    })?;
    let fits = minor(&probed.version).is_some_and(|minor| minor >= MINOR_VERSION_MIN);
    if !fits || !probed.has_api(MINOR_VERSION_MIN) {
        return Err(refused(format!("version {}", probed.version)));
    }
    Ok(probed)
}

/// The second number of a version 1.x.y.
fn minor(version: &str) -> Option<u32> {
    let mut numbers = version.split('.');
    (numbers.next()? == "1").then_some(())?;
    numbers.next()?.parse().ok()
}

fn needed() -> String {
    format!("ONNX Runtime 1.{MINOR_VERSION_MIN} or a later 1.x")
}

fn missing(library: String, found: String, expected: String) -> EngineError {
    EngineError::NoLibrary { engine: NAME.into(), library, found, expected }
}

fn start(probed: &Probed, path: PathBuf) -> Result<Loaded, EngineError> {
    let internal = |reason: String| EngineError::Internal { engine: NAME.into(), reason };
    let builder = ort::init_from(&path).map_err(|error| internal(error.to_string()))?;
    let environment = builder
        .with_name("cask")
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build()
        .map_err(|error| internal(format!("ONNX Runtime: {error}")))?;
    environment.set_log_level(LogLevel::Warning);
    Ok(Loaded { info: LibraryInfo { path, version: probed.version.clone() }, environment })
}

/// Whatever stops a load or a run comes back as an error, too, so that here nothing is louder than a debug message.
fn log(level: LogLevel, _category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Fatal => tracing::error!(target: "onnxruntime", location, "{message}"),
        LogLevel::Error | LogLevel::Warning => tracing::debug!(target: "onnxruntime", location, "{message}"),
        LogLevel::Info | LogLevel::Verbose => tracing::trace!(target: "onnxruntime", location, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_1_x_have_a_minor_version() {
        for (version, expected) in
            [("1.32.0", Some(32)), ("1.24", Some(24)), ("1.4.0-dev", Some(4)), ("2.0.0", None), ("1", None), ("", None)]
        {
            assert_eq!(minor(version), expected, "{version}");
        }
    }
}
