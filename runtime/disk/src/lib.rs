//! Bounded reads, durable atomic replacement, locks and free space: the only I/O below layer 2.
//!
//! Nothing is read without a limit, every error names its path, and a file that must survive a
//! power cut is replaced by one function ([`write_atomic`]). Code that decides something across a
//! crash takes a [`Disk`], so that its tests run on [`MemoryDisk`], which can lose power at any
//! operation and loses what was not synced. Code that only moves bytes calls the functions here.
//!
//! Not promised: [`remove_file`] and [`remove_folder`] may be undone by a power cut until
//! [`sync_folder`]; a crash inside [`write_atomic`] can leave a temporary file beside the path,
//! which [`Disk::remove_leftovers`] sweeps up.
//!
//! Never here: knowledge of what the files mean.
#![allow(
    clippy::disallowed_methods,
    reason = "this crate is what the ban points to: it wraps std::fs with limits, paths and durability"
)]

mod disk;
mod error;
mod file;
mod lock;
mod memory;
mod real;

use std::path::Path;

pub use disk::{Access, Append, Disk, Entry, EntryKind, Lock, ReadAt, TEMPORARY_SUFFIX, WriteAt};
pub use error::DiskError;
pub use file::{AppendFile, ReadFile, WriteFile};
pub use lock::{FolderLock, LOCK_FILE};
pub use memory::MemoryDisk;
pub use real::RealDisk;

/// The whole file, at most `bytes_max` bytes; a longer one is [`DiskError::TooLarge`].
pub fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, DiskError> {
    RealDisk.read_bounded(path, bytes_max)
}

/// Replaces a file as one step that survives a power cut: [`Disk::write_atomic`].
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    RealDisk.write_atomic(path, bytes)
}

/// [`write_atomic`] for secrets: mode 0600 from creation on.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    RealDisk.write_private(path, bytes)
}

/// Creates a folder and its missing parents, durably; one that exists is fine.
pub fn create_folder(folder: &Path) -> Result<(), DiskError> {
    RealDisk.create_folder(folder)
}

/// Removes a file.
pub fn remove_file(path: &Path) -> Result<(), DiskError> {
    RealDisk.remove_file(path)
}

/// Removes a folder with all that is in it.
pub fn remove_folder(folder: &Path) -> Result<(), DiskError> {
    RealDisk.remove_folder(folder)
}

/// Renames a file or folder so that the new name survives a power cut. Sync the content first.
pub fn rename_durable(from: &Path, to: &Path) -> Result<(), DiskError> {
    RealDisk.rename_durable(from, to)
}

/// The entries of a folder sorted by name; more than `entries_max` is an error.
pub fn list(folder: &Path, entries_max: usize) -> Result<Vec<Entry>, DiskError> {
    RealDisk.list(folder, entries_max)
}

/// The length of a file.
pub fn file_bytes(path: &Path) -> Result<u64, DiskError> {
    RealDisk.file_bytes(path)
}

/// Whether anything is at the path (a dangling link counts).
pub fn exists(path: &Path) -> Result<bool, DiskError> {
    RealDisk.exists(path)
}

/// Bytes that this process may still write to the file system that holds `path`.
pub fn free_bytes(path: &Path) -> Result<u64, DiskError> {
    RealDisk.free_bytes(path)
}

/// Returns when the names in `folder` would survive a power cut.
pub fn sync_folder(folder: &Path) -> Result<(), DiskError> {
    RealDisk.sync_folder(folder)
}
