//! What can go wrong with a file, always with its path.

use std::io;
use std::path::{Path, PathBuf};

/// A file operation that failed: the path, what happened, and numbers where they help.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Nothing is there.
    #[error("find {}: no such file or folder", path.display())]
    NotFound {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// Something is there that must not be.
    #[error("create {}: it is already there", path.display())]
    AlreadyExists {
        /// The path that was to be created.
        path: PathBuf,
    },
    /// The file is longer than its reader allows.
    #[error("read {}: it has {found} bytes, at most {max} are allowed", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes found; for a pipe or a growing file a lower bound.
        found: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// The folder has more entries than its reader allows.
    #[error("list {}: it has more than the {max} entries that are allowed", path.display())]
    TooManyEntries {
        /// The folder.
        path: PathBuf,
        /// Entries allowed.
        max: usize,
    },
    /// The file ends before the part that was asked for.
    #[error("read {}: bytes {offset} to {} are wanted, the file has {found}", path.display(),
        offset.saturating_add(*wanted))]
    TooShort {
        /// The file.
        path: PathBuf,
        /// Where the wanted part begins.
        offset: u64,
        /// Bytes wanted from there.
        wanted: u64,
        /// Bytes in the file.
        found: u64,
    },
    /// The device is full.
    #[error("write {}: no space left, at least {missing_bytes} more bytes are needed; \
        free some and try again", path.display())]
    NoSpace {
        /// The file that could not be written.
        path: PathBuf,
        /// Bytes that this write lacked, at least.
        missing_bytes: u64,
    },
    /// Another process holds the folder.
    #[error("lock {}: it is in use by {}; stop that process or choose another folder", path.display(), holder(*pid))]
    InUse {
        /// The locked folder.
        path: PathBuf,
        /// The process that holds it, when it has already written its number.
        pid: Option<u32>,
    },
    /// Anything else that the operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// A verb: what was tried.
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl DiskError {
    /// The file or folder that the error is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::NotFound { path }
            | Self::AlreadyExists { path }
            | Self::TooLarge { path, .. }
            | Self::TooManyEntries { path, .. }
            | Self::TooShort { path, .. }
            | Self::NoSpace { path, .. }
            | Self::InUse { path, .. }
            | Self::Io { path, .. } => path,
        }
    }

    /// True when nothing is at the path.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Wraps `source`; for a full device `missing_bytes` tells what the caller lacked.
    pub(crate) fn from_io(
        path: &Path,
        action: &'static str,
        source: io::Error,
        missing_bytes: impl FnOnce() -> u64,
    ) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            io::ErrorKind::AlreadyExists => Self::AlreadyExists { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { path, missing_bytes: missing_bytes().max(1) }
            }
            _ => Self::Io { path, action, source },
        }
    }
}
