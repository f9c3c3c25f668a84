//! The chunk index in memory: for a disk in memory, and when the database cannot be had.

use std::collections::{BTreeMap, BTreeSet};

use runtime_trust::Digest;

use super::{Broken, Place, Table};

/// Never damaged.
#[derive(Debug, Default)]
pub(super) struct MemoryTable {
    slots: BTreeSet<Digest>,
    /// One place of a chunk in each slot.
    places: BTreeMap<(Digest, Digest), Place>,
}

impl Table for MemoryTable {
    fn slots(&mut self) -> Result<BTreeSet<Digest>, Broken> {
        Ok(self.slots.clone())
    }

    fn insert(&mut self, slot: &Digest, chunks: &[(Digest, Place)]) -> Result<(), Broken> {
        self.slots.insert(*slot);
        self.places.extend(chunks.iter().map(|&(chunk, place)| ((chunk, *slot), place)));
        Ok(())
    }

    fn remove(&mut self, slot: &Digest) -> Result<(), Broken> {
        self.slots.remove(slot);
        self.places.retain(|(_, of), _| of != slot);
        Ok(())
    }

    fn find(&mut self, chunk: &Digest) -> Result<Vec<Place>, Broken> {
        let (first, last) = (Digest::from_bytes([0; 32]), Digest::from_bytes([255; 32]));
        Ok(self.places.range((*chunk, first)..=(*chunk, last)).map(|(_, place)| *place).collect())
    }
}
