//! Reading chunks out of other slots.

use std::collections::BTreeMap;

use runtime_artifact::limits::CHUNK_PLAIN_BYTES_MAX;
use runtime_disk::ReadAt;
use runtime_trust::Digest;

use super::ChunkIndex;

/// Files kept open during one pass.
const OPEN_FILES_MAX: usize = 32;

/// Reads chunks for one pass over many of them; keeps the files open.
pub(crate) struct ChunkReader<'a> {
    index: &'a ChunkIndex,
    /// By slot and file; absent where it could not be opened.
    files: BTreeMap<(Digest, Digest), Option<Box<dyn ReadAt>>>,
}

impl<'a> ChunkReader<'a> {
    pub(super) fn new(index: &'a ChunkIndex) -> Self {
        Self { index, files: BTreeMap::new() }
    }

    /// The chunk's bytes from a place where they still have its digest, or nothing.
    pub(crate) fn read(&mut self, chunk: &Digest, bytes: u64) -> Option<Vec<u8>> {
        let length = usize::try_from(bytes).ok().filter(|&length| length <= CHUNK_PLAIN_BYTES_MAX)?;
        for place in self.index.find(chunk) {
            let Some(file) = self.open(place.slot, place.file) else { continue };
            let mut plain = vec![0; length];
            if file.read_at(place.offset, &mut plain).is_ok() && Digest::of(&plain) == *chunk {
                return Some(plain);
            }
        }
        None
    }

    fn open(&mut self, slot: Digest, file: Digest) -> Option<&dyn ReadAt> {
        if self.files.len() >= OPEN_FILES_MAX && !self.files.contains_key(&(slot, file)) {
            self.files.clear();
        }
        let opened = self.files.entry((slot, file)).or_insert_with(|| {
            let path = self.index.layout.slot(&slot).file(&file);
            self.index.disk.open_read(&path).ok()
        });
        opened.as_deref()
    }
}
