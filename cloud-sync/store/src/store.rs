//! The device folder as a whole: its lock, its state, its slots.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runtime_disk::{Disk, DiskError, EntryKind, Lock, RealDisk};
use runtime_trust::Digest;

use crate::candidate::{self, Candidate};
use crate::index::ChunkIndex;
use crate::layout::{Layout, SlotPaths};
use crate::state::STATE_BYTES_MAX;
use crate::{DeviceState, Slot, SlotRef, StoreError};

/// Entries of one folder that are looked at.
pub(crate) const ENTRIES_MAX: usize = 10_000;

/// The device folder, open in this process and in no other. Clones are handles to the same store.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// What all handles and candidates share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) layout: Layout,
    pub(crate) index: ChunkIndex,
    /// Slots that are being filled: garbage collection leaves them alone.
    open: Mutex<BTreeSet<Digest>>,
    state: Mutex<Committed>,
    // Last, so that the folder is released when everything else is closed.
    _lock: Box<dyn Lock>,
}

/// The state in memory.
#[derive(Debug)]
struct Committed {
    state: DeviceState,
    /// A state whose commit failed: it may be the one on the disk all the same.
    in_doubt: Option<DeviceState>,
}

/// What [`Store::collect_garbage`] removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Slots.
    pub slots: usize,
    /// Bytes in their files.
    pub bytes: u64,
}

/// A thread that panicked while it held one of these locks has left whole values behind.
pub(crate) fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens a device folder, creating what is missing.
    ///
    /// Errors: [`StoreError::InUse`] when another process has it, [`StoreError::Damaged`] when the state is not what
    /// this store wrote. A damaged chunk index is made again without an error.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_with(Arc::new(RealDisk), folder, true)
    }

    /// Opens a device folder on any disk, such as one in memory in a test. The chunk index is kept in memory.
    pub fn open_on(disk: Arc<dyn Disk>, folder: &Path) -> Result<Self, StoreError> {
        Self::open_with(disk, folder, false)
    }

    fn open_with(disk: Arc<dyn Disk>, folder: &Path, database: bool) -> Result<Self, StoreError> {
        let layout = Layout::new(folder);
        disk.create_folder(folder)?;
        let lock = disk.lock(folder)?;
        disk.create_folder(&layout.slots())?;
        disk.remove_leftovers(folder, ENTRIES_MAX)?;
        let state = match disk.read_bounded(&layout.state(), STATE_BYTES_MAX) {
            Ok(bytes) => DeviceState::parse(&bytes, &layout.state())?,
            Err(DiskError::NotFound { .. }) => DeviceState::default(),
            Err(DiskError::TooLarge { path, found, max }) => {
                return Err(StoreError::Damaged {
                    path,
                    found: format!("{found} bytes"),
                    expected: format!("at most {max}"),
                    next: "restore the folder from a copy, or empty it and enrol the device again",
                });
            }
            Err(error) => return Err(error.into()),
        };
        let index = ChunkIndex::new(Arc::clone(&disk), layout.clone(), database);
        let inner = Inner {
            disk,
            layout,
            index,
            open: Mutex::new(BTreeSet::new()),
            state: Mutex::new(Committed { state, in_doubt: None }),
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.inner.layout.folder()
    }

    /// What was last committed.
    pub fn state(&self) -> DeviceState {
        hold(&self.inner.state).state.clone()
    }

    /// Replaces the state as one step that survives a power cut: step 10 of the device's order of checks.
    ///
    /// A slot that becomes active or last good must be whole. Refusals above the limit are forgotten. After an error
    /// of the disk the old state stands in memory, and after a restart the old one or the new one.
    pub fn commit(&self, mut state: DeviceState) -> Result<(), StoreError> {
        state.trim();
        let mut committed = hold(&self.inner.state);
        self.check_new_slots(&committed.state, &state)?;
        let bytes = state.to_bytes();
        if bytes.len() as u64 > STATE_BYTES_MAX {
            return Err(StoreError::StateTooLarge { found: bytes.len() as u64, max: STATE_BYTES_MAX });
        }
        if let Err(error) = self.inner.disk.write_atomic(&self.inner.layout.state(), &bytes) {
            committed.in_doubt = Some(state);
            return Err(error.into());
        }
        *committed = Committed { state, in_doubt: None };
        Ok(())
    }

    /// Slots that the old state already relied on are not looked at: a commit that reports a damaged slot must work.
    fn check_new_slots(&self, old: &DeviceState, new: &DeviceState) -> Result<(), StoreError> {
        let relied_on = |state: &DeviceState| -> BTreeSet<String> {
            let slots = state.models.values().flat_map(|model| [&model.active, &model.last_good]).flatten();
            slots.map(|slot| slot.folder.clone()).collect()
        };
        for folder in relied_on(new).difference(&relied_on(old)) {
            let paths = self.inner.layout.slot(&parse_folder(folder)?);
            if !self.inner.disk.exists(&paths.whole())? {
                return Err(StoreError::NotWhole { folder: folder.clone(), found: "unfinished" });
            }
        }
        Ok(())
    }

    /// Starts or goes on filling a slot with `variants` of the artifact in this checked envelope.
    ///
    /// Room for everything is taken before it returns ([`StoreError::NoRoom`] says how much is missing). Chunks that
    /// an earlier life has written or that another slot has are not missing. A slot that is already whole, and still
    /// has its digests, gives a candidate with nothing missing. The envelope's signatures are not looked at:
    /// `runtime-trust` has checked them.
    ///
    /// Commit the candidate's [`SlotRef`] to the state before fetching, or a restart will collect what was fetched.
    pub fn begin(&self, envelope: &[u8], variants: &[&str]) -> Result<Candidate, StoreError> {
        candidate::begin(&self.inner, envelope, variants)
    }

    /// Opens a whole slot.
    pub fn slot(&self, slot: &SlotRef) -> Result<Slot, StoreError> {
        let name = parse_folder(&slot.folder)?;
        let paths = self.inner.layout.slot(&name);
        let opened = Slot::open(&self.inner.disk, paths.clone(), name)?;
        if opened.digest() != slot.digest {
            return Err(StoreError::Damaged {
                path: paths.folder().to_owned(),
                found: format!("the artifact {}", opened.digest()),
                expected: format!("{}, as the state says", slot.digest),
                next: "install the artifact again",
            });
        }
        Ok(opened)
    }

    /// Removes every slot that the state does not name and that is not being filled.
    pub fn collect_garbage(&self) -> Result<Collected, StoreError> {
        let inner = &self.inner;
        // Both locks to the end: nobody begins or commits a slot while it goes.
        let committed = hold(&inner.state);
        let open = hold(&inner.open);
        let states = std::iter::once(&committed.state).chain(&committed.in_doubt);
        let needed: BTreeSet<&str> = states.flat_map(DeviceState::folders).collect();
        let mut collected = Collected::default();
        for entry in inner.disk.list(&inner.layout.slots(), ENTRIES_MAX)? {
            let name = entry.name.to_string_lossy();
            let Ok(slot) = name.parse::<Digest>() else { continue };
            if entry.kind != EntryKind::Folder || needed.contains(&*name) || open.contains(&slot) {
                continue;
            }
            collected.bytes += inner.remove_slot(&slot)?;
            collected.slots += 1;
        }
        Ok(collected)
    }
}

impl Inner {
    /// Takes a slot for one candidate.
    pub(crate) fn take(self: &Arc<Self>, slot: Digest) -> Result<Taken, StoreError> {
        if !hold(&self.open).insert(slot) {
            return Err(StoreError::AlreadyBegun { folder: slot.to_string() });
        }
        Ok(Taken { inner: Arc::clone(self), slot })
    }

    /// Removes a slot's folder and returns how many bytes its files had. A crash in the middle leaves a slot that may
    /// still say that it is whole: nothing names it, and whoever begins it again finds what is missing.
    pub(crate) fn remove_slot(&self, slot: &Digest) -> Result<u64, StoreError> {
        let paths = self.layout.slot(slot);
        let mut bytes = 0;
        for entry in self.disk.list(paths.folder(), ENTRIES_MAX)? {
            if entry.kind == EntryKind::File {
                bytes += self.disk.file_bytes(&paths.folder().join(&entry.name))?;
            }
        }
        self.index.forget(slot);
        self.disk.remove_folder(paths.folder())?;
        Ok(bytes)
    }

    /// Takes back that a slot is whole, durably, before anything in it changes.
    pub(crate) fn unmark(&self, paths: &SlotPaths) -> Result<(), StoreError> {
        match self.disk.remove_file(&paths.whole()) {
            Ok(()) => Ok(self.disk.sync_folder(paths.folder())?),
            Err(DiskError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A slot that belongs to one candidate until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) inner: Arc<Inner>,
    pub(crate) slot: Digest,
}

impl Drop for Taken {
    fn drop(&mut self) {
        hold(&self.inner.open).remove(&self.slot);
    }
}

/// The name of a slot's folder; anything but a digest was not written by this store.
fn parse_folder(folder: &str) -> Result<Digest, StoreError> {
    folder.parse().map_err(|_| StoreError::NotWhole { folder: format!("{folder:?}"), found: "no slot's name" })
}
