//! Which plain chunks lie in which slot, so that an update copies what has not changed.
//!
//! Everything here can be made again from the slots and nothing depends on it but speed: a chunk that is found is
//! compared with its digest before it counts, and one that is not found is fetched. On a real disk the table is a
//! sled database, opened when it is first needed. sled makes no promise that this store could rely on (a durable
//! write makes no fsync, and one flipped byte panics inside it or silently loses data), so every value has a
//! checksum, panics are caught, and a damaged database is renamed aside, removed and made again.

mod memory;
mod reader;
mod sled_table;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use runtime_disk::{Disk, EntryKind};
use runtime_trust::Digest;

use self::memory::MemoryTable;
pub(crate) use self::reader::ChunkReader;
use self::sled_table::SledTable;
use crate::layout::Layout;
use crate::slot::Slot;
use crate::store::{ENTRIES_MAX, hold};

/// Where a plain chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Name of the slot.
    pub(crate) slot: Digest,
    /// Name of the file in it.
    pub(crate) file: Digest,
    /// Where the chunk begins in the file.
    pub(crate) offset: u64,
}

/// Places of one chunk that are tried.
const PLACES_MAX: usize = 8;

/// The table is damaged and has to be made again.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) String);

/// What a chunk index can do; every operation may find that the table is damaged.
trait Table: std::fmt::Debug + Send {
    /// The slots whose chunks are in the table.
    fn slots(&mut self) -> Result<BTreeSet<Digest>, Broken>;
    /// Adds all chunks of a slot.
    fn insert(&mut self, slot: &Digest, chunks: &[(Digest, Place)]) -> Result<(), Broken>;
    /// Removes a slot and its chunks.
    fn remove(&mut self, slot: &Digest) -> Result<(), Broken>;
    /// Some places of a chunk.
    fn find(&mut self, chunk: &Digest) -> Result<Vec<Place>, Broken>;
}

/// The chunk index of a store.
#[derive(Debug)]
pub(crate) struct ChunkIndex {
    disk: Arc<dyn Disk>,
    layout: Layout,
    /// Whether to keep it in a database on the real disk.
    database: bool,
    /// Absent until it is first needed: a device that only serves never opens it.
    table: Mutex<Option<Box<dyn Table>>>,
}

impl ChunkIndex {
    pub(crate) fn new(disk: Arc<dyn Disk>, layout: Layout, database: bool) -> Self {
        Self { disk, layout, database, table: Mutex::new(None) }
    }

    /// A reader of chunks for one pass over many of them.
    pub(crate) fn reader(&self) -> ChunkReader<'_> {
        ChunkReader::new(self)
    }

    /// Adds a slot that has become whole. Trouble is logged: it costs a later update some bytes.
    pub(crate) fn learn(&self, slot: &Slot) {
        self.with_table(|table| insert_slot(table, slot));
    }

    /// Forgets a slot that is about to be removed. A database that nobody has opened yet forgets it when it is opened.
    pub(crate) fn forget(&self, slot: &Digest) {
        if hold(&self.table).is_some() {
            self.with_table(|table| table.remove(slot));
        }
    }

    fn find(&self, chunk: &Digest) -> Vec<Place> {
        let mut places = self.with_table(|table| table.find(chunk));
        places.truncate(PLACES_MAX);
        places
    }

    /// Runs an operation; on a damaged table makes it again and repeats, and in the end does it in memory.
    fn with_table<T: Default>(&self, operation: impl Fn(&mut dyn Table) -> Result<T, Broken>) -> T {
        let mut held = hold(&self.table);
        if let Some(table) = &mut *held {
            match operation(&mut **table) {
                Ok(result) => return result,
                Err(Broken(why)) => tracing::warn!("the chunk index is damaged and is made again: {why}"),
            }
            // Before its folder is moved away.
            *held = None;
            self.discard_database();
        }
        for attempt in 0..3 {
            let last = attempt == 2;
            let opened = if self.database && !last {
                SledTable::open(&self.layout.chunks()).map(|table| Box::new(table) as Box<dyn Table>)
            } else {
                Ok(Box::<MemoryTable>::default() as Box<dyn Table>)
            };
            let done = opened.and_then(|mut table| {
                self.reconcile(&mut *table)?;
                let result = operation(&mut *table)?;
                Ok((table, result))
            });
            match done {
                Ok((table, result)) => {
                    *held = Some(table);
                    return result;
                }
                Err(Broken(why)) => {
                    tracing::warn!("the chunk index is damaged and is made again: {why}");
                    self.discard_database();
                }
            }
        }
        T::default()
    }

    /// Makes the table agree with the slots that are on the disk.
    fn reconcile(&self, table: &mut dyn Table) -> Result<(), Broken> {
        let mut known = table.slots()?;
        for slot in self.whole_slots() {
            if !known.remove(&slot.name()) {
                insert_slot(table, &slot)?;
            }
        }
        for gone in known {
            table.remove(&gone)?;
        }
        Ok(())
    }

    fn whole_slots(&self) -> Vec<Slot> {
        let entries = self.disk.list(&self.layout.slots(), ENTRIES_MAX).unwrap_or_default();
        entries
            .into_iter()
            .filter(|entry| entry.kind == EntryKind::Folder)
            .filter_map(|entry| entry.name.to_string_lossy().parse::<Digest>().ok())
            .filter_map(|name| Slot::open(&self.disk, self.layout.slot(&name), name).ok())
            .collect()
    }

    /// Moves a damaged database aside and removes it. What cannot be removed is left for the next time.
    fn discard_database(&self) {
        if !self.database {
            return;
        }
        let (from, aside) = (self.layout.chunks(), self.layout.chunks_damaged());
        let exists = |path| self.disk.exists(path).unwrap_or(false);
        let mut steps = Ok(());
        if exists(&aside) {
            steps = self.disk.remove_folder(&aside);
        }
        if exists(&from) {
            steps = steps.and_then(|()| self.disk.rename(&from, &aside)).and_then(|()| self.disk.remove_folder(&aside));
        }
        if let Err(error) = steps {
            tracing::warn!("a damaged chunk index stays on the disk: failed to {error}");
        }
    }
}

fn insert_slot(table: &mut dyn Table, slot: &Slot) -> Result<(), Broken> {
    let mut chunks = Vec::new();
    for entry in slot.entries() {
        // An index part that is gone or damaged: the slot is as good as ever, its chunks are just not found.
        let Ok(rows) = slot.rows(&entry) else { continue };
        let place = |offset| Place { slot: slot.name(), file: entry.digest, offset };
        chunks.extend(rows.into_iter().map(|(offset, row)| (row.plain_digest, place(offset))));
    }
    table.insert(&slot.name(), &chunks)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use runtime_disk::RealDisk;

    use super::*;

    fn index(folder: &std::path::Path) -> ChunkIndex {
        let layout = Layout::new(folder);
        RealDisk.create_folder(&layout.slots()).unwrap();
        ChunkIndex::new(Arc::new(RealDisk), layout, true)
    }

    #[test]
    fn slots_that_are_gone_are_forgotten_when_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let gone = Digest::of(b"gone");
        index(folder.path()).with_table(|table| table.insert(&gone, &[]));
        let index = index(folder.path());
        assert_eq!(index.with_table(|table| table.slots()), BTreeSet::new());
    }

    #[test]
    fn a_damaged_table_is_made_again_and_in_the_end_kept_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let index = index(folder.path());
        index.with_table(|table| table.slots());
        let kept = folder.path().join("chunks/mark");
        runtime_disk::write_atomic(&kept, b"of the first database").unwrap();
        // Damaged once: the operation is repeated on a new database.
        let calls = Cell::new(0);
        let count = |good_from: u32| {
            let calls = &calls;
            move |_: &mut dyn Table| {
                calls.set(calls.get() + 1);
                if calls.get() < good_from { Err(Broken("a test".to_owned())) } else { Ok(calls.get()) }
            }
        };
        assert_eq!(index.with_table(count(2)), 2);
        assert!(!kept.exists() && folder.path().join("chunks").exists());
        assert!(!folder.path().join("chunks-damaged").exists());
        // Damaged whenever it is a database: the operation is done in memory.
        calls.set(0);
        assert_eq!(index.with_table(count(4)), 4);
        assert!(!folder.path().join("chunks").exists());
        // An operation that no table can do gives nothing, and the next one starts afresh.
        calls.set(0);
        assert_eq!(index.with_table(count(100)), 0);
        assert_eq!(index.with_table(|table| table.slots()), BTreeSet::new());
    }
}
