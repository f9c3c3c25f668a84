//! A disk in memory for tests: it forgets what was not synced and fails on order.
//!
//! Its rules are the worst that a journalling file system may do: unsynced writes survive a crash
//! in any subset, torn at any byte; unsynced names survive as a prefix of the order in which they
//! were made; syncing a file says nothing about its name, and syncing a folder nothing about others.

mod open;
mod state;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::DiskError;
use crate::disk::{Access, Append, Disk, Entry, EntryKind, Lock, ReadAt, WriteAt};
use open::{MemoryFile, MemoryLock};
use state::{FileNode, FolderNode, Node, State, Verdict, io_error, power_is_off};

/// A disk in memory. Clones are handles to the same disk, as two processes would have.
#[derive(Clone, Debug)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self { state: Arc::new(Mutex::new(State::new())) }
    }

    /// Changing operations so far (create, write, sync, rename, ...): a test counts those of a
    /// good run, then cuts the power after each.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// After `operations` more changing operations the power is off until a crash method is called.
    /// The operation that meets the cut was handed to the disk: it may survive.
    pub fn cut_power_after(&self, operations: u64) {
        let mut state = self.state();
        state.plan.power_until = Some(state.operations + operations);
    }

    /// After `operations` more changing operations the next one, alone, fails with an I/O error.
    pub fn fail_after(&self, operations: u64) {
        let mut state = self.state();
        state.plan.fail_at = Some(state.operations + operations);
    }

    /// From now on only `bytes_left` more bytes fit.
    pub fn fill_up(&self, bytes_left: u64) {
        self.state().leave_free(bytes_left);
    }

    /// Ends [`MemoryDisk::fill_up`].
    pub fn free_up(&self) {
        self.state().free_up();
    }

    /// Cuts the power and starts again: everything that was not synced is gone, open files are dead.
    pub fn crash(&self) {
        self.state().crash(&mut |_| 0);
    }

    /// Like [`MemoryDisk::crash`], but what was not synced survives in part, as `seed` decides.
    pub fn crash_torn(&self, seed: u64) {
        let mut random = seed;
        self.state().crash(&mut |max| {
            // SplitMix64: small, and every seed gives another choice.
            random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            usize::try_from(mixed % (max as u64 + 1)).expect("the remainder is at most `max`")
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock left whole operations behind.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn readable(&self, path: &Path) -> Result<MutexGuard<'_, State>, DiskError> {
        let state = self.state();
        if !state.powered() {
            return Err(power_is_off(path, "read"));
        }
        Ok(state)
    }

    /// Counts the operation, does it, and reports the power cut that met it.
    fn change<T>(
        &self,
        path: &Path,
        action: &'static str,
        change: impl FnOnce(&mut State) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        let mut state = self.state();
        let verdict = state.begin(path, action)?;
        let done = change(&mut state)?;
        match verdict {
            Verdict::Go => Ok(done),
            Verdict::Issued => Err(power_is_off(path, action)),
        }
    }

    fn handle(&self, path: &Path, number: usize, life: u64) -> MemoryFile {
        MemoryFile { disk: self.clone(), path: path.to_owned(), number, life }
    }

    fn create(&self, path: &Path, replace: bool) -> Result<MemoryFile, DiskError> {
        let (number, life) = self.change(path, "create", |state| {
            let (folder, name) = state.place(path)?;
            let number = match state.find(path) {
                Ok(_) if !replace => {
                    return Err(DiskError::AlreadyExists { path: path.to_owned() });
                }
                Ok(_) => {
                    let (number, _) = state.file(path)?;
                    state.file_at(number).resize(0);
                    number
                }
                Err(_) => state.add(folder, name, Node::File(FileNode::default())),
            };
            Ok((number, state.life))
        })?;
        Ok(self.handle(path, number, life))
    }
}

impl Disk for MemoryDisk {
    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadAt>, DiskError> {
        let state = self.readable(path)?;
        let (number, _) = state.file(path)?;
        Ok(Box::new(self.handle(path, number, state.life)))
    }

    fn create_new(&self, path: &Path, _access: Access) -> Result<Box<dyn WriteAt>, DiskError> {
        Ok(Box::new(self.create(path, false)?))
    }

    fn create_file(&self, path: &Path) -> Result<Box<dyn WriteAt>, DiskError> {
        Ok(Box::new(self.create(path, true)?))
    }

    fn open_write(&self, path: &Path) -> Result<Box<dyn WriteAt>, DiskError> {
        let state = self.readable(path)?;
        let (number, _) = state.file(path)?;
        Ok(Box::new(self.handle(path, number, state.life)))
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn Append>, DiskError> {
        if !self.exists(path)? {
            self.create(path, false)?;
            self.sync_folder(path.parent().unwrap_or(Path::new("")))?;
        }
        let state = self.readable(path)?;
        let (number, _) = state.file(path)?;
        Ok(Box::new(self.handle(path, number, state.life)))
    }

    fn read_bounded(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>, DiskError> {
        let state = self.readable(path)?;
        let (_, file) = state.file(path)?;
        let found = file.live.len() as u64;
        if found > bytes_max {
            return Err(DiskError::TooLarge { path: path.to_owned(), found, max: bytes_max });
        }
        Ok(file.live.clone())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.change(from, "rename", |state| {
            let node = state.find(from)?;
            let (from_folder, from_name) = state.place(from)?;
            let (to_folder, to_name) = state.place(to)?;
            if let Ok(existing) = state.find(to) {
                let fits = match (state.node(node), state.node(existing)) {
                    (Node::File(_), Node::File(_)) => true,
                    (Node::Folder(_), Node::Folder(folder)) => folder.live.is_empty(),
                    _ => false,
                };
                if !fits {
                    return Err(io_error(to, "rename", "something else has that name"));
                }
            }
            if from_folder == to_folder {
                state.shift(from_folder, &from_name, to_name);
            } else {
                state.set(to_folder, to_name, node);
                state.unset(from_folder, &from_name);
            }
            Ok(())
        })
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), DiskError> {
        let mut state = self.state();
        if let Verdict::Issued = state.begin(folder, "sync")? {
            return Err(power_is_off(folder, "sync"));
        }
        let (number, _) = state.folder(folder)?;
        state.sync_names(number);
        Ok(())
    }

    fn create_folder(&self, folder: &Path) -> Result<(), DiskError> {
        let mut at = PathBuf::new();
        for part in folder.components() {
            at.push(part);
            if self.readable(&at)?.find(&at).is_ok() {
                // A file in the way is an error.
                self.readable(&at)?.folder(&at)?;
                continue;
            }
            self.change(&at, "create folder", |state| {
                let (parent, name) = state.place(&at)?;
                state.add(parent, name, Node::Folder(FolderNode::default()));
                Ok(())
            })?;
            self.sync_folder(at.parent().unwrap_or(Path::new("")))?;
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> Result<(), DiskError> {
        self.change(path, "remove", |state| {
            state.file(path)?;
            let (folder, name) = state.place(path)?;
            state.unset(folder, &name);
            Ok(())
        })
    }

    fn remove_folder(&self, folder: &Path) -> Result<(), DiskError> {
        for entry in self.list(folder, usize::MAX)? {
            let path = folder.join(&entry.name);
            match entry.kind {
                EntryKind::Folder => self.remove_folder(&path)?,
                EntryKind::File | EntryKind::Other => self.remove_file(&path)?,
            }
        }
        self.change(folder, "remove folder", |state| {
            let (parent, name) = state.place(folder)?;
            state.unset(parent, &name);
            Ok(())
        })
    }

    fn list(&self, folder: &Path, entries_max: usize) -> Result<Vec<Entry>, DiskError> {
        let state = self.readable(folder)?;
        let (_, node) = state.folder(folder)?;
        if node.live.len() > entries_max {
            return Err(DiskError::TooManyEntries { path: folder.to_owned(), max: entries_max });
        }
        let entry = |(name, number): (&std::ffi::OsString, &usize)| Entry {
            name: name.clone(),
            kind: match state.node(*number) {
                Node::File(_) => EntryKind::File,
                Node::Folder(_) => EntryKind::Folder,
            },
        };
        Ok(node.live.iter().map(entry).collect())
    }

    fn file_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        Ok(self.readable(path)?.file(path)?.1.live.len() as u64)
    }

    fn exists(&self, path: &Path) -> Result<bool, DiskError> {
        Ok(self.readable(path)?.find(path).is_ok())
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        Ok(self.readable(path)?.free_bytes())
    }

    fn lock(&self, folder: &Path) -> Result<Box<dyn Lock>, DiskError> {
        let mut state = self.readable(folder)?;
        let (number, _) = state.folder(folder)?;
        if state.locked.contains(&number) {
            return Err(DiskError::InUse { path: folder.to_owned(), pid: Some(std::process::id()) });
        }
        state.locked.push(number);
        Ok(Box::new(MemoryLock { disk: self.clone(), number, life: state.life }))
    }
}
