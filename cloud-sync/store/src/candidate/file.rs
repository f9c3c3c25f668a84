//! One file of a slot that is being filled.

use runtime_artifact::{ChunkRow, FileEntry, Reason, parse_index_part};
use runtime_disk::{Access, Disk, DiskError, WriteAt};
use runtime_trust::Digest;

use crate::StoreError;
use crate::layout::SlotPaths;
use crate::slot::refused;

/// A file that is written chunk by chunk, each chunk once.
#[derive(Debug)]
pub(super) struct FileProgress {
    pub(super) entry: FileEntry,
    /// The rows of each index part that is there.
    pub(super) parts: Vec<Option<Vec<ChunkRow>>>,
    /// All chunks in order; empty until every index part is there.
    pub(super) chunks: Vec<Chunk>,
    file: Box<dyn WriteAt>,
    unsynced: bool,
}

/// A chunk of the file.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) row: ChunkRow,
    pub(super) offset: u64,
    pub(super) written: bool,
}

impl FileProgress {
    /// Opens or creates the file and takes room for all of it.
    pub(super) fn open(disk: &dyn Disk, paths: &SlotPaths, entry: FileEntry) -> Result<Self, DiskError> {
        let path = paths.file(&entry.digest);
        let file = match disk.open_write(&path) {
            Ok(file) => {
                // Longer than its entry after some damage: what lies behind would change the digest.
                if disk.file_bytes(&path)? > entry.bytes {
                    file.set_bytes(entry.bytes)?;
                }
                file
            }
            Err(DiskError::NotFound { .. }) => disk.create_new(&path, Access::Shared)?,
            Err(error) => return Err(error),
        };
        file.reserve(entry.bytes)?;
        let parts = vec![None; entry.index.len()];
        Ok(Self { entry, parts, chunks: Vec::new(), file, unsynced: true })
    }

    /// Takes the rows of an index part if this file names it. True when that completed the index.
    pub(super) fn learn_part(&mut self, digest: &Digest, bytes: &[u8]) -> Result<bool, StoreError> {
        let mut changed = false;
        for (part, entry) in self.parts.iter_mut().zip(&self.entry.index) {
            if entry.digest == *digest && part.is_none() {
                *part = Some(parse_index_part(bytes)?);
                changed = true;
            }
        }
        if !changed || self.parts.iter().any(Option::is_none) {
            return Ok(false);
        }
        let rows = self.parts.iter().flatten().flatten();
        let bytes: u64 = rows.clone().map(|row| row.plain_bytes).sum();
        if bytes != self.entry.bytes {
            let (found, expected) = (format!("{bytes} bytes in the chunks"), self.entry.bytes.to_string());
            return Err(refused(Reason::FileDigest, &format!("file {}", self.entry.digest), found, expected));
        }
        let mut offset = 0;
        self.chunks = rows
            .map(|&row| {
                let chunk = Chunk { row, offset, written: false };
                offset += row.plain_bytes;
                chunk
            })
            .collect();
        Ok(true)
    }

    /// Whether the bytes at the chunk's place have its digest.
    pub(super) fn holds(&self, row: u32) -> bool {
        let Some(chunk) = self.chunks.get(row as usize) else { return false };
        // At most 1 MiB: the index part's check holds it.
        let mut plain = vec![0; chunk.row.plain_bytes as usize];
        self.file.read_at(chunk.offset, &mut plain).is_ok() && Digest::of(&plain) == chunk.row.plain_digest
    }

    /// Writes a chunk's bytes to its place.
    pub(super) fn write(&mut self, row: u32, plain: &[u8]) -> Result<(), DiskError> {
        self.unsynced = true;
        self.file.write_at(self.chunks[row as usize].offset, plain)
    }

    /// Makes what was written survive a power cut.
    pub(super) fn sync(&mut self) -> Result<(), DiskError> {
        if self.unsynced {
            self.file.sync()?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Plain bytes that are not written yet.
    pub(super) fn missing_bytes(&self) -> u64 {
        if self.chunks.is_empty() {
            return self.entry.bytes;
        }
        self.chunks.iter().filter(|chunk| !chunk.written).map(|chunk| chunk.row.plain_bytes).sum()
    }
}
