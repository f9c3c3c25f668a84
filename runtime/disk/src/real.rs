//! The operating system's disk.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use crate::disk::{Access, Append, Disk, Entry, EntryKind, Lock, ReadAt, WriteAt, folder_of};
use crate::{AppendFile, DiskError, FolderLock, ReadFile, WriteFile};

/// Folders that [`Disk::create_folder`] creates above each other at most.
const FOLDER_DEPTH_MAX: usize = 64;

/// The operating system's disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

fn failed<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> DiskError + 'a {
    move |error| DiskError::from_io(path, action, error, || 1)
}

impl Disk for RealDisk {
    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadAt>, DiskError> {
        Ok(Box::new(ReadFile::open(path)?))
    }

    fn create_new(&self, path: &Path, access: Access) -> Result<Box<dyn WriteAt>, DiskError> {
        Ok(Box::new(WriteFile::create_new(path, access)?))
    }

    fn create_file(&self, path: &Path) -> Result<Box<dyn WriteAt>, DiskError> {
        Ok(Box::new(WriteFile::create(path)?))
    }

    fn open_write(&self, path: &Path) -> Result<Box<dyn WriteAt>, DiskError> {
        Ok(Box::new(WriteFile::open(path)?))
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn Append>, DiskError> {
        Ok(Box::new(AppendFile::open(path)?))
    }

    fn read_bounded(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>, DiskError> {
        let file = fs::File::open(path).map_err(failed(path, "open"))?;
        let metadata = file.metadata().map_err(failed(path, "inspect"))?;
        let too_large = |found| DiskError::TooLarge { path: path.to_owned(), found, max: bytes_max };
        if metadata.len() > bytes_max {
            return Err(too_large(metadata.len()));
        }
        // A pipe says length 0 and a file may grow: one byte above the limit tells.
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(failed(path, "read"))?;
        if bytes.len() as u64 > bytes_max {
            return Err(too_large(bytes.len() as u64));
        }
        Ok(bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        fs::rename(from, to).map_err(|error| {
            let missing = if error.kind() == io::ErrorKind::NotFound && from.exists() { to } else { from };
            DiskError::from_io(missing, "rename", error, || 1)
        })
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), DiskError> {
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder, "sync"))
    }

    fn create_folder(&self, folder: &Path) -> Result<(), DiskError> {
        let mut missing = Vec::new();
        let mut at = folder;
        while !at.is_dir() && missing.len() < FOLDER_DEPTH_MAX {
            missing.push(at);
            at = folder_of(at);
        }
        for folder in missing.into_iter().rev() {
            match fs::create_dir(folder) {
                Ok(()) => self.sync_folder(folder_of(folder))?,
                // Somebody else was quicker; a file in the way is told by what follows.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
                Err(error) => return Err(failed(folder, "create folder")(error)),
            }
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> Result<(), DiskError> {
        fs::remove_file(path).map_err(failed(path, "remove"))
    }

    fn remove_folder(&self, folder: &Path) -> Result<(), DiskError> {
        fs::remove_dir_all(folder).map_err(failed(folder, "remove folder"))
    }

    fn list(&self, folder: &Path, entries_max: usize) -> Result<Vec<Entry>, DiskError> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed(folder, "list"))? {
            let entry = entry.map_err(failed(folder, "list"))?;
            if entries.len() == entries_max {
                return Err(DiskError::TooManyEntries { path: folder.to_owned(), max: entries_max });
            }
            let kind = entry.file_type().map_err(failed(folder, "list"))?;
            entries.push(Entry {
                name: entry.file_name(),
                kind: match kind {
                    kind if kind.is_file() => EntryKind::File,
                    kind if kind.is_dir() => EntryKind::Folder,
                    _ => EntryKind::Other,
                },
            });
        }
        entries.sort();
        Ok(entries)
    }

    fn file_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        Ok(fs::metadata(path).map_err(failed(path, "inspect"))?.len())
    }

    fn exists(&self, path: &Path) -> Result<bool, DiskError> {
        match fs::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(path, "inspect")(error)),
        }
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        // A file that does not exist yet lies on its folder's file system.
        let at = if path.exists() { path } else { folder_of(path) };
        let status = rustix::fs::statvfs(at).map_err(|error| failed(at, "read the free space of")(error.into()))?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    fn lock(&self, folder: &Path) -> Result<Box<dyn Lock>, DiskError> {
        Ok(Box::new(FolderLock::acquire(folder)?))
    }
}
