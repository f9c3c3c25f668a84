//! Open files of the real disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::disk::{Access, Append, ReadAt, WriteAt, folder_of};
use crate::{DiskError, free_bytes, sync_folder};

/// The unit of `st_blocks`, whatever the file system's own block is.
const BLOCK_BYTES: u64 = 512;

/// A file open for positioned reads from several threads.
#[derive(Debug)]
pub struct ReadFile {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl ReadFile {
    /// Opens a regular file; anything else (a pipe, a folder) is refused, because it has no positions.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let file = OpenOptions::new()
            .read(true)
            // A pipe without a writer would block the open for ever; a regular file does not notice.
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(|error| DiskError::from_io(path, "open", error, || 0))?;
        let metadata = file.metadata().map_err(|error| DiskError::from_io(path, "inspect", error, || 0))?;
        if !metadata.is_file() {
            return Err(DiskError::Io {
                path: path.to_owned(),
                action: "open",
                source: io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"),
            });
        }
        Ok(Self { file, path: path.to_owned(), bytes: metadata.len() })
    }

    /// Bytes in the file when it was opened.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether the file was empty when it was opened.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills `buffer` from `offset`; [`DiskError::TooShort`] when the file ends before that.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        read_exact_at(&self.file, &self.path, offset, buffer)
    }
}

impl ReadAt for ReadFile {
    fn bytes(&self) -> u64 {
        self.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        Self::read_at(self, offset, buffer)
    }
}

fn read_exact_at(file: &File, path: &Path, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
    let wanted = buffer.len() as u64;
    file.read_exact_at(buffer, offset).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return DiskError::TooShort {
                path: path.to_owned(),
                offset,
                wanted,
                found: file.metadata().map_or(0, |metadata| metadata.len()),
            };
        }
        DiskError::from_io(path, "read", error, || 0)
    })
}

/// A file open for positioned writes from several threads; also called a sparse file, as gaps take no room.
#[derive(Debug)]
pub struct WriteFile {
    file: File,
    path: PathBuf,
}

impl WriteFile {
    /// Creates a file, or empties the one that is there. The name is durable after [`sync_folder`].
    pub fn create(path: &Path) -> Result<Self, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Self::open_with(path, "create", &options)
    }

    /// Creates a file that must not exist yet.
    pub fn create_new(path: &Path, access: Access) -> Result<Self, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        if access == Access::Private {
            options.mode(0o600);
        }
        Self::open_with(path, "create", &options)
    }

    /// Opens an existing file and keeps its content.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        Self::open_with(path, "open", OpenOptions::new().read(true).write(true))
    }

    fn open_with(path: &Path, action: &'static str, options: &OpenOptions) -> Result<Self, DiskError> {
        let file = options.open(path).map_err(|error| {
            // A name needs room too: one block is what a full disk lacks at least.
            DiskError::from_io(path, action, error, || 1)
        })?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Writes all of `bytes` at `offset`; a gap before it reads as zeros.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut written = 0;
        while written < bytes.len() {
            let rest = &bytes[written..];
            match self.file.write_at(rest, offset + written as u64) {
                Ok(0) => return Err(self.io_error(io::ErrorKind::WriteZero.into(), rest)),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io_error(error, rest)),
            }
        }
        Ok(())
    }

    fn io_error(&self, error: io::Error, unwritten: &[u8]) -> DiskError {
        let lacked = || (unwritten.len() as u64).saturating_sub(free_bytes(&self.path).unwrap_or(0));
        DiskError::from_io(&self.path, "write", error, lacked)
    }

    /// Fills `buffer` from `offset`; [`DiskError::TooShort`] when the file ends before that.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        read_exact_at(&self.file, &self.path, offset, buffer)
    }

    /// Cuts the file or lengthens it with zeros that take no room yet.
    pub fn set_len(&self, bytes: u64) -> Result<(), DiskError> {
        self.file.set_len(bytes).map_err(|error| DiskError::from_io(&self.path, "resize", error, || bytes))
    }

    /// Takes room for `bytes` now; [`DiskError::NoSpace`] says how much is missing, and then nothing is taken.
    pub fn reserve(&self, bytes: u64) -> Result<(), DiskError> {
        if bytes == 0 {
            return Ok(());
        }
        let before = self.file.metadata().map_err(|error| DiskError::from_io(&self.path, "inspect", error, || 0))?;
        let taken = before.blocks().saturating_mul(BLOCK_BYTES);
        let free = free_bytes(&self.path)?;
        let missing_bytes = bytes.saturating_sub(taken).saturating_sub(free);
        // Looked at first: ext4 takes all there is before it says that it is not enough.
        if missing_bytes > 0 {
            return Err(DiskError::NoSpace { path: self.path.clone(), missing_bytes });
        }
        match rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            // The file system cannot reserve: the look above is the best there is.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.set_len(bytes.max(before.len())),
            Err(error) => {
                // Give back what was taken before it failed.
                let _ = self.file.set_len(before.len());
                let error = error.into();
                Err(DiskError::from_io(&self.path, "reserve room for", error, || 1))
            }
        }
    }

    /// Returns when content and length would survive a power cut.
    pub fn sync(&self) -> Result<(), DiskError> {
        self.file.sync_all().map_err(|error| DiskError::from_io(&self.path, "sync", error, || 1))
    }
}

impl WriteAt for WriteFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        Self::write_at(self, offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        Self::read_at(self, offset, buffer)
    }

    fn set_bytes(&self, bytes: u64) -> Result<(), DiskError> {
        self.set_len(bytes)
    }

    fn reserve(&self, bytes: u64) -> Result<(), DiskError> {
        Self::reserve(self, bytes)
    }

    fn sync(&self) -> Result<(), DiskError> {
        Self::sync(self)
    }
}

/// A file that only grows at its end. One writer at a time: hold the folder's lock.
#[derive(Debug)]
pub struct AppendFile {
    file: WriteFile,
    bytes: u64,
}

impl AppendFile {
    /// Opens a file to append to; a missing one is created and its name is synced.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let file = match WriteFile::open(path) {
            Ok(file) => file,
            Err(DiskError::NotFound { .. }) => {
                let file = WriteFile::create_new(path, Access::Shared)?;
                sync_folder(folder_of(path))?;
                file
            }
            Err(error) => return Err(error),
        };
        let bytes = crate::file_bytes(path)?;
        Ok(Self { file, bytes })
    }

    /// Bytes in the file.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing was ever appended.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Adds all of `bytes`, or nothing when the write fails.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        if let Err(error) = self.file.write_at(self.bytes, bytes) {
            // Half a record would be read as damage later; the length before it is still good.
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Returns when everything appended so far would survive a power cut.
    pub fn sync(&mut self) -> Result<(), DiskError> {
        self.file.sync()
    }
}

impl Append for AppendFile {
    fn bytes(&self) -> u64 {
        self.len()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        Self::append(self, bytes)
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        Self::sync(self)
    }
}
