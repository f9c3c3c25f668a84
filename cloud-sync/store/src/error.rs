//! What can go wrong in the store.

use std::path::PathBuf;

use runtime_artifact::ArtifactError;
use runtime_disk::DiskError;
use thiserror::Error;

/// What the caller can make of an error; programs turn it into an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The bytes that were offered are not what the signed manifest says: exit code 4.
    NotTrusted,
    /// This version cannot read it: exit code 5.
    Unsupported,
    /// The store is damaged: exit code 7.
    Damaged,
    /// Another process has the folder, or the disk is full: exit code 9.
    NoRoomOrInUse,
    /// The operating system refused, or the caller made a mistake: exit code 1.
    Other,
}

/// An operation of the store failed. What was active before still is.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another store has the folder open.
    #[error("open the device folder {}: it is in use by {}; stop that process or choose another folder", folder.display(), holder(*pid))]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The process that has it, when known.
        pid: Option<u32>,
    },
    /// The disk has no room for the artifact.
    #[error(
        "find room for the artifact: {missing_bytes} bytes are missing on the disk; remove something and try again"
    )]
    NoRoom {
        /// Bytes that would have to be freed.
        missing_bytes: u64,
    },
    /// A file of the store does not hold what this store wrote.
    #[error("read {}: found {found}, expected {expected}; {next}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: String,
        /// What to do.
        next: &'static str,
    },
    /// A file of the store was written by a newer version.
    #[error("read {}: found format {found}, expected {known}; use the version that wrote it or a newer one", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this version reads.
        known: u32,
    },
    /// The bytes that were offered are not the ones that were asked for.
    #[error(transparent)]
    Refused(#[from] ArtifactError),
    /// The slot is not there, or was never finished.
    #[error("open the slot {folder}: it is {found}, expected a whole one; install the artifact again")]
    NotWhole {
        /// Name of the slot's folder.
        folder: String,
        /// What it is instead.
        found: &'static str,
    },
    /// The manifest does not have the variant or the file.
    #[error("find {what} in the manifest: it lists {listed}")]
    NotInManifest {
        /// What was asked for.
        what: String,
        /// What there is.
        listed: String,
    },
    /// The same slot is already being filled in this process.
    #[error("begin the slot {folder}: it is already being filled; finish or drop that candidate first")]
    AlreadyBegun {
        /// Name of the slot's folder.
        folder: String,
    },
    /// Chunks are still missing.
    #[error("finish the slot {folder}: {missing} chunks or index parts are missing; fetch them first")]
    Incomplete {
        /// Name of the slot's folder.
        folder: String,
        /// How many.
        missing: usize,
    },
    /// What the caller gives does not belong to this candidate.
    #[error("put {what}: this candidate did not ask for it")]
    NotAskedFor {
        /// What was given.
        what: String,
    },
    /// The state would be larger than the store reads back.
    #[error("write the state: it has {found} bytes, at most {max} are allowed; remove models")]
    StateTooLarge {
        /// Its length in bytes.
        found: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// A file operation failed.
    #[error(transparent)]
    Disk(DiskError),
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl From<DiskError> for StoreError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::NoSpace { missing_bytes, .. } => Self::NoRoom { missing_bytes },
            DiskError::InUse { path, pid } => Self::InUse { folder: path, pid },
            other => Self::Disk(other),
        }
    }
}

impl StoreError {
    /// What the caller can make of it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::InUse { .. } | Self::NoRoom { .. } => ErrorClass::NoRoomOrInUse,
            Self::Damaged { .. } | Self::NotWhole { .. } => ErrorClass::Damaged,
            Self::NewerFormat { .. } => ErrorClass::Unsupported,
            Self::Refused(error) => match error.class() {
                runtime_artifact::ErrorClass::NotTrusted => ErrorClass::NotTrusted,
                runtime_artifact::ErrorClass::Unsupported => ErrorClass::Unsupported,
                runtime_artifact::ErrorClass::Disk => ErrorClass::Other,
            },
            Self::NotInManifest { .. }
            | Self::AlreadyBegun { .. }
            | Self::Incomplete { .. }
            | Self::NotAskedFor { .. }
            | Self::StateTooLarge { .. }
            | Self::Disk(_) => ErrorClass::Other,
        }
    }

    /// A stable kebab-case reason, for telemetry and `--json`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "in-use",
            Self::NoRoom { .. } => "no-room",
            Self::Damaged { .. } => "damaged-store",
            Self::NewerFormat { .. } => "unknown-format",
            Self::Refused(error) => error.reason(),
            Self::NotWhole { .. } => "not-whole",
            Self::NotInManifest { .. } => "not-in-manifest",
            Self::AlreadyBegun { .. } => "already-begun",
            Self::Incomplete { .. } => "incomplete",
            Self::NotAskedFor { .. } => "not-asked-for",
            Self::StateTooLarge { .. } => "too-large",
            Self::Disk(_) => "disk",
        }
    }
}
