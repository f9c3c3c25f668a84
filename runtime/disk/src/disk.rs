//! The file operations that Cask uses, as a trait: the real disk and its double in memory obey the same rules.
//!
//! The operations that promise something across a power cut (`write_atomic`, `write_private`,
//! `rename_durable`) are written once, here, out of the small ones, so that the double tests
//! the very sequence of steps that the real disk performs.

use std::ffi::OsString;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::DiskError;

/// Names tried for a temporary file before giving up; each one taken is a leftover of a crash.
const TEMPORARY_NAMES_MAX: u32 = 1000;

/// How the temporary files of [`Disk::write_atomic`] end; see [`Disk::remove_leftovers`].
pub const TEMPORARY_SUFFIX: &str = ".cask-tmp";

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever the process's umask lets (0666 less the umask).
    Shared,
    /// Only the owner (0600), from the moment the file exists.
    Private,
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name inside the folder.
    pub name: OsString,
    /// What the name stands for; a symbolic link counts as `Other`.
    pub kind: EntryKind,
}

/// What an [`Entry`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A link, a socket, a device.
    Other,
}

/// Positioned reads of one open file.
pub trait ReadAt: Debug + Send + Sync {
    /// Bytes in the file when it was opened.
    fn bytes(&self) -> u64;

    /// Fills `buffer` from `offset`; [`DiskError::TooShort`] when the file ends before that.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError>;
}

/// Positioned writes to one open file. Nothing is promised across a power cut before [`WriteAt::sync`].
pub trait WriteAt: Debug + Send + Sync {
    /// Writes all of `bytes` at `offset`; a gap before it reads as zeros.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Fills `buffer` from `offset`; [`DiskError::TooShort`] when the file ends before that.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError>;

    /// Cuts the file or lengthens it with zeros that take no room yet.
    fn set_bytes(&self, bytes: u64) -> Result<(), DiskError>;

    /// Takes room for `bytes` now, so that later writes below that length do not meet a full disk.
    fn reserve(&self, bytes: u64) -> Result<(), DiskError>;

    /// Returns when content and length would survive a power cut (the name may not: see [`Disk::sync_folder`]).
    fn sync(&self) -> Result<(), DiskError>;
}

/// Writes at the end of one open file. A crash leaves a prefix of what was appended after the last sync,
/// or, past that prefix, garbage of the right length: records need a checksum.
pub trait Append: Debug + Send + Sync {
    /// Bytes in the file.
    fn bytes(&self) -> u64;

    /// Adds all of `bytes`, or nothing when the disk is full.
    fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError>;

    /// Returns when everything appended so far would survive a power cut.
    fn sync(&mut self) -> Result<(), DiskError>;
}

/// Holds a folder for one owner until it is dropped.
pub trait Lock: Debug + Send + Sync {}

/// The file operations of one disk. Implementors give the small ones; the durable ones come with the trait.
pub trait Disk: Debug + Send + Sync {
    /// Opens a file for positioned reads.
    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadAt>, DiskError>;

    /// Creates a file that must not exist yet and opens it for writing.
    fn create_new(&self, path: &Path, access: Access) -> Result<Box<dyn WriteAt>, DiskError>;

    /// Creates a file, or empties the one that is there, and opens it for writing.
    fn create_file(&self, path: &Path) -> Result<Box<dyn WriteAt>, DiskError>;

    /// Opens an existing file for writing and keeps its content.
    fn open_write(&self, path: &Path) -> Result<Box<dyn WriteAt>, DiskError>;

    /// Opens a file for appending; a missing one is created and its name is synced.
    fn open_append(&self, path: &Path) -> Result<Box<dyn Append>, DiskError>;

    /// At most `bytes_max` bytes: the whole file, or [`DiskError::TooLarge`].
    fn read_bounded(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>, DiskError>;

    /// Gives a file or folder another name at once, replacing a file of that name;
    /// it may be undone by a power cut: see [`Disk::rename_durable`].
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError>;

    /// Returns when the names in `folder` would survive a power cut.
    fn sync_folder(&self, folder: &Path) -> Result<(), DiskError>;

    /// Creates a folder and its missing parents, durably; one that exists is fine.
    fn create_folder(&self, folder: &Path) -> Result<(), DiskError>;

    /// Removes a file. A power cut may bring it back until the folder is synced.
    fn remove_file(&self, path: &Path) -> Result<(), DiskError>;

    /// Removes a folder with all that is in it; links are removed, never followed.
    fn remove_folder(&self, folder: &Path) -> Result<(), DiskError>;

    /// The entries of a folder sorted by name; [`DiskError::TooManyEntries`] above `entries_max`.
    fn list(&self, folder: &Path, entries_max: usize) -> Result<Vec<Entry>, DiskError>;

    /// The length of a file.
    fn file_bytes(&self, path: &Path) -> Result<u64, DiskError>;

    /// Whether anything is at the path.
    fn exists(&self, path: &Path) -> Result<bool, DiskError>;

    /// Bytes that this process may still write to the file system that holds `path`.
    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError>;

    /// Takes the folder for one owner; [`DiskError::InUse`] when another has it.
    fn lock(&self, folder: &Path) -> Result<Box<dyn Lock>, DiskError>;

    /// Replaces a file as one step: after a crash at any instant the path holds the old bytes or
    /// the new ones, whole, and the new ones once this has returned. A symbolic link at the path is replaced.
    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
        replace(self, path, bytes, Access::Shared)
    }

    /// [`Disk::write_atomic`] for secrets: only the owner can read the file, from its creation on.
    fn write_private(&self, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
        replace(self, path, bytes, Access::Private)
    }

    /// [`Disk::rename`] that survives a power cut once it has returned. Sync the content first.
    fn rename_durable(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.rename(from, to)?;
        // The new name first: were the old one's removal to survive alone, the file would be lost.
        self.sync_folder(folder_of(to))?;
        if folder_of(from) != folder_of(to) {
            self.sync_folder(folder_of(from))?;
        }
        Ok(())
    }

    /// Removes the temporary files that a crash inside `write_atomic` left in `folder`, and says how many.
    /// Call it while holding the folder's lock: a write under way would lose its file.
    fn remove_leftovers(&self, folder: &Path, entries_max: usize) -> Result<usize, DiskError> {
        let mut removed = 0;
        for entry in self.list(folder, entries_max)? {
            let is_temporary = entry.name.to_string_lossy().ends_with(TEMPORARY_SUFFIX);
            if is_temporary && entry.kind == EntryKind::File {
                self.remove_file(&folder.join(&entry.name))?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// The folder that holds `path`; `.` for a bare name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// Write a temporary file, sync it, give it the name, sync the name.
fn replace<D: Disk + ?Sized>(disk: &D, path: &Path, bytes: &[u8], access: Access) -> Result<(), DiskError> {
    let (temporary, file) = create_temporary(disk, path, access)?;
    let written = file.write_at(0, bytes).and_then(|()| {
        // Before the rename: a name that survives must never point at content that does not.
        file.sync()
    });
    drop(file);
    if let Err(error) = written.and_then(|()| disk.rename(&temporary, path)) {
        // The first error is the one to tell; a temporary file that stays is swept up later.
        let _ = disk.remove_file(&temporary);
        return Err(error);
    }
    disk.sync_folder(folder_of(path))
}

fn create_temporary<D: Disk + ?Sized>(
    disk: &D,
    path: &Path,
    access: Access,
) -> Result<(PathBuf, Box<dyn WriteAt>), DiskError> {
    // Unique in this process; another process's or an earlier life's name is met with `AlreadyExists`.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(DiskError::Io {
            path: path.to_owned(),
            action: "write",
            source: std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path has no file name"),
        });
    };
    let process = std::process::id();
    let mut tries = 0;
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{process}-{number}{TEMPORARY_SUFFIX}"));
        let temporary = folder_of(path).join(temporary);
        match disk.create_new(&temporary, access) {
            Ok(file) => return Ok((temporary, file)),
            Err(DiskError::AlreadyExists { .. }) if tries < TEMPORARY_NAMES_MAX => tries += 1,
            Err(error) => return Err(error),
        }
    }
}
