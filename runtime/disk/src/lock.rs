//! One owner per folder, held by the kernel: the lock goes with the process, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use crate::{DiskError, disk::Lock, read_bounded};

/// The file inside a locked folder that carries the lock and the owner's process number.
/// It stays when the lock is released: removing it would let two owners lock two different files.
pub const LOCK_FILE: &str = "lock";

/// More than any process number has digits.
const LOCK_FILE_BYTES_MAX: u64 = 32;

/// A folder that no other process, and no other part of this one, can lock until this is dropped.
#[derive(Debug)]
pub struct FolderLock {
    folder: PathBuf,
    // Closing it releases the lock.
    _file: File,
}

impl FolderLock {
    /// Locks an existing folder, or says which process holds it ([`DiskError::InUse`]).
    pub fn acquire(folder: &Path) -> Result<Self, DiskError> {
        let path = folder.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            // The number inside belongs to the holder until the lock is ours.
            .truncate(false)
            .open(&path)
            .map_err(|error| DiskError::from_io(&path, "open", error, || 1))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DiskError::InUse { path: folder.to_owned(), pid: holder_of(&path) });
            }
            Err(TryLockError::Error(error)) => {
                return Err(DiskError::from_io(&path, "lock", error, || 1));
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| DiskError::from_io(&path, "write", error, || 1))?;
        Ok(Self { folder: folder.to_owned(), _file: file })
    }

    /// The locked folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Lock for FolderLock {}

fn holder_of(path: &Path) -> Option<u32> {
    let bytes = read_bounded(path, LOCK_FILE_BYTES_MAX).ok()?;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}
