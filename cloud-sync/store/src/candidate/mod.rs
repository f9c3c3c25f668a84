//! A slot that is being filled.
//!
//! The order of writes: a chunk's bytes go to their place in the file, then its record to the journal. Both are synced
//! every [`UNSYNCED_BYTES_MAX`] bytes and at the end; only then is the slot marked whole. So a kill loses nothing
//! that was put, and whatever a power cut leaves, a slot that is marked whole has all its bytes.

mod begin;
mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use runtime_artifact::{ArtifactError, ChunkRow, Manifest, Reason, VerifiedArtifact, check_stored, decode_chunk};
use runtime_disk::DiskError;
use runtime_trust::Digest;

pub(crate) use begin::begin;
use file::FileProgress;

use crate::journal::{Journal, Written};
use crate::layout::SlotPaths;
use crate::slot::{Slot, WantedFile, file_is_good, refused, slot_ref, whole_bytes};
use crate::store::Taken;
use crate::{SlotRef, StoreError};

/// Bytes of chunks written between two syncs: what a power cut may cost at most.
pub const UNSYNCED_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A part of a file's index that must be fetched before its chunks are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexNeed {
    /// Position of the file in [`Candidate::files`].
    pub file: u32,
    /// Number of the part.
    pub part: u32,
    /// Its length in bytes.
    pub bytes: u64,
    /// The digest under which it is asked for.
    pub digest: Digest,
}

/// A chunk that must be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkNeed {
    /// Position of the file in [`Candidate::files`].
    pub file: u32,
    /// Number of the row in that file's index.
    pub number: u32,
    /// The row; `row.stored_digest` is the digest under which it is asked for.
    pub row: ChunkRow,
}

/// A slot that is being filled, by one owner. Dropping it keeps what was written: [`Store::begin`] goes on from there.
///
/// [`Store::begin`]: crate::Store::begin
#[derive(Debug)]
pub struct Candidate {
    name: Digest,
    digest: Digest,
    manifest: Manifest,
    variants: Vec<String>,
    paths: SlotPaths,
    wanted: Vec<WantedFile>,
    /// Beside `wanted`, entry by entry; empty when the slot was whole from the beginning.
    files: Vec<FileProgress>,
    /// Where each plain chunk that is not written yet belongs.
    unwritten: BTreeMap<Digest, Vec<Written>>,
    /// Absent when the slot was whole from the beginning.
    journal: Option<Journal>,
    unsynced_bytes: u64,
    reused_bytes: u64,
    taken: Taken,
}

impl Candidate {
    /// How the state refers to the slot, finished or not; the engine is not chosen yet.
    pub fn slot_ref(&self) -> SlotRef {
        slot_ref(self.name, self.digest, &self.manifest)
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The different files that the slot needs.
    pub fn files(&self) -> &[WantedFile] {
        &self.wanted
    }

    /// Length of all files, in bytes.
    pub fn plain_bytes(&self) -> u64 {
        self.wanted.iter().map(|file| file.entry.bytes).sum()
    }

    /// Bytes that were copied from other slots instead of fetched.
    pub fn reused_bytes(&self) -> u64 {
        self.reused_bytes
    }

    /// Plain bytes that are not written yet.
    pub fn missing_bytes(&self) -> u64 {
        self.files.iter().map(FileProgress::missing_bytes).sum()
    }

    /// The index parts that must be fetched first, each digest once.
    pub fn missing_index(&self) -> Vec<IndexNeed> {
        let mut seen = BTreeSet::new();
        let mut needs = Vec::new();
        for (file, progress) in (0_u32..).zip(&self.files) {
            for (part, entry) in (0_u32..).zip(&progress.entry.index) {
                if progress.parts[part as usize].is_none() && seen.insert(entry.digest) {
                    needs.push(IndexNeed { file, part, bytes: entry.bytes, digest: entry.digest });
                }
            }
        }
        needs
    }

    /// Takes an index part as it came. When a file's index is complete, the chunks that other slots have are copied.
    ///
    /// A part that is not what the manifest says is refused and changes nothing.
    pub fn put_index(&mut self, need: &IndexNeed, bytes: &[u8]) -> Result<(), StoreError> {
        let wanted = self.missing_index().contains(need);
        if !wanted {
            if self.is_known_part(need) {
                return Ok(());
            }
            return Err(StoreError::NotAskedFor { what: format!("the index part {}", need.digest) });
        }
        check_stored(bytes, need.digest, need.bytes)?;
        self.taken.inner.disk.write_atomic(&self.paths.index_part(&need.digest), bytes)?;
        if self.learn_part(&need.digest, bytes)? {
            self.reuse()?;
        }
        Ok(())
    }

    /// Whether the part belongs to this artifact and is already there: carriers may deliver twice.
    fn is_known_part(&self, need: &IndexNeed) -> bool {
        let entry = self.wanted.get(need.file as usize).and_then(|file| file.entry.index.get(need.part as usize));
        entry.is_some_and(|entry| entry.digest == need.digest)
    }

    /// The chunks that must be fetched, in the order of the files, each plain chunk once. Complete only when
    /// [`missing_index`](Self::missing_index) is empty.
    pub fn missing(&self) -> Vec<ChunkNeed> {
        let mut seen = BTreeSet::new();
        let mut needs = Vec::new();
        for (file, progress) in (0_u32..).zip(&self.files) {
            for (number, chunk) in (0_u32..).zip(&progress.chunks) {
                if !chunk.written && seen.insert(chunk.row.plain_digest) {
                    needs.push(ChunkNeed { file, number, row: chunk.row });
                }
            }
        }
        needs
    }

    /// Takes a chunk as it came: checks it, decompresses it, checks that, and writes it.
    pub fn put_stored(&mut self, need: &ChunkNeed, stored: &[u8]) -> Result<(), StoreError> {
        let plain = decode_chunk(&need.row, stored)?;
        self.put(need, &plain)
    }

    /// Takes a chunk's plain bytes and writes them to every place where they belong. A chunk that is already there
    /// is fine: carriers may deliver twice. Bytes with another length or digest are refused and change nothing.
    pub fn put(&mut self, need: &ChunkNeed, plain: &[u8]) -> Result<(), StoreError> {
        let chunk = self.files.get(need.file as usize).and_then(|file| file.chunks.get(need.number as usize));
        if chunk.is_none_or(|chunk| chunk.row != need.row) {
            return Err(StoreError::NotAskedFor { what: format!("the chunk {}", need.row.plain_digest) });
        }
        if plain.len() as u64 != need.row.plain_bytes {
            let (found, expected) = (format!("{} bytes", plain.len()), need.row.plain_bytes.to_string());
            return Err(refused(Reason::PlainLength, "the chunk", found, expected));
        }
        let found = Digest::of(plain);
        if found != need.row.plain_digest {
            let expected = need.row.plain_digest.to_string();
            return Err(refused(Reason::PlainDigest, "the chunk", found.to_string(), expected));
        }
        self.write(&need.row.plain_digest, plain)?;
        Ok(())
    }

    /// Fills everything that is missing from an artifact that lies on this device: a sideload.
    pub fn fill_from(&mut self, artifact: &VerifiedArtifact) -> Result<(), StoreError> {
        if artifact.digest() != self.digest {
            return Err(StoreError::NotAskedFor { what: format!("the artifact {}", artifact.digest()) });
        }
        for need in self.missing_index() {
            let WantedFile { variant, role, .. } = &self.wanted[need.file as usize];
            let bytes = artifact.index_part(variant, role, need.part as usize)?;
            self.put_index(&need, &bytes)?;
        }
        for need in self.missing() {
            self.put_stored(&need, &artifact.read_chunk(&need.row)?)?;
        }
        Ok(())
    }

    /// Step 8 of the device's order of checks: every whole file has its digest. Then the slot is marked whole, durably.
    ///
    /// Files that have all their chunks and still another digest mean that index and manifest contradict each other:
    /// the artifact is refused and nothing of it is kept.
    pub fn finish(mut self) -> Result<Slot, StoreError> {
        let inner = Arc::clone(&self.taken.inner);
        if self.journal.is_some() {
            let missing = self.missing_index().len() + self.missing().len();
            if missing > 0 {
                return Err(StoreError::Incomplete { folder: self.name.to_string(), missing });
            }
            self.sync()?;
            self.check_whole_files()?;
            inner.disk.write_atomic(&self.paths.whole(), &whole_bytes(&self.variants))?;
            self.journal = None;
            // Of no use any more; should a power cut bring it back, nobody looks at it.
            match inner.disk.remove_file(&self.paths.journal()) {
                Ok(()) | Err(DiskError::NotFound { .. }) => {}
                Err(error) => tracing::warn!("a finished slot keeps its journal: failed to {error}"),
            }
        }
        let slot = Slot::open(&inner.disk, self.paths.clone(), self.name)?;
        inner.index.learn(&slot);
        Ok(slot)
    }

    /// Gives the candidate up and removes what was written.
    pub fn abandon(self) -> Result<(), StoreError> {
        let Self { taken, files, journal, .. } = self;
        drop((files, journal));
        taken.inner.remove_slot(&taken.slot)?;
        Ok(())
    }

    fn check_whole_files(&mut self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.taken.inner);
        for file in &self.wanted {
            if !file_is_good(&*inner.disk, &self.paths.file(&file.entry.digest), &file.entry) {
                let place = format!("file {} of variant {}", file.role, file.variant);
                let error = refused(
                    Reason::FileDigest,
                    &place,
                    "other bytes in its chunks".to_owned(),
                    file.entry.digest.to_string(),
                );
                inner.remove_slot(&self.name)?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Enters a part of an index wherever the manifest names its digest. True when that completed a file's index.
    fn learn_part(&mut self, digest: &Digest, bytes: &[u8]) -> Result<bool, StoreError> {
        let mut completed = false;
        for (number, file) in (0_u32..).zip(&mut self.files) {
            if file.learn_part(digest, bytes)? {
                completed = true;
                for (row, chunk) in (0_u32..).zip(&file.chunks) {
                    self.unwritten.entry(chunk.row.plain_digest).or_default().push((number, row));
                }
            }
        }
        Ok(completed)
    }

    /// Copies the missing chunks that other slots have. Their bytes are compared with the digest before they count;
    /// a slot that cannot be read costs nothing but the copy.
    fn reuse(&mut self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.taken.inner);
        let wanted: Vec<(Digest, u64)> = self
            .unwritten
            .iter()
            .filter_map(|(digest, places)| {
                let &(file, row) = places.first()?;
                Some((*digest, self.files[file as usize].chunks[row as usize].row.plain_bytes))
            })
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut reader = inner.index.reader();
        for (digest, bytes) in wanted {
            if let Some(plain) = reader.read(&digest, bytes) {
                self.reused_bytes += self.write(&digest, &plain)?;
            }
        }
        Ok(())
    }

    /// Writes a plain chunk whose digest was checked to every place where it is missing, and says how many bytes
    /// that were.
    fn write(&mut self, digest: &Digest, plain: &[u8]) -> Result<u64, StoreError> {
        let Some(journal) = &mut self.journal else { return Ok(0) };
        let Some(places) = self.unwritten.remove(digest) else { return Ok(0) };
        for (done, &(file, row)) in places.iter().enumerate() {
            let progress = &mut self.files[file as usize];
            if let Err(error) = progress.write(row, plain).and_then(|()| journal.append((file, row))) {
                // What is not in the journal is still missing.
                self.unwritten.insert(*digest, places[done..].to_vec());
                return Err(error.into());
            }
            progress.chunks[row as usize].written = true;
            self.unsynced_bytes += plain.len() as u64;
        }
        if self.unsynced_bytes >= UNSYNCED_BYTES_MAX {
            self.sync()?;
        }
        Ok(places.len() as u64 * plain.len() as u64)
    }

    /// Makes everything that was put survive a power cut: first the bytes, then what claims them.
    fn sync(&mut self) -> Result<(), StoreError> {
        for file in &mut self.files {
            file.sync()?;
        }
        if let Some(journal) = &mut self.journal {
            journal.sync()?;
        }
        self.unsynced_bytes = 0;
        Ok(())
    }
}

impl From<runtime_trust::Refusal> for StoreError {
    fn from(refusal: runtime_trust::Refusal) -> Self {
        Self::Refused(ArtifactError::Trust(refusal))
    }
}
