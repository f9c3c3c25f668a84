//! An artifact whose every byte has been checked, and reading from it.

use std::path::Path;

use runtime_disk::{TEMPORARY_SUFFIX, WriteFile, remove_file, rename_durable};
use runtime_trust::Digest;

use crate::encoding::check_stored;
use crate::error::shown;
use crate::index::parse_part;
use crate::source::Source;
use crate::{ArtifactError, ChunkRow, FileEntry, Index, Manifest, Reason, decode_chunk, parse_index_part};

/// An artifact whose signature, index, chunks and files have all been checked.
///
/// The file stays open. It is read again when something is asked for, and every piece is checked again: a file that
/// was changed in the meantime gives an error, never other bytes.
#[derive(Debug)]
pub struct VerifiedArtifact {
    source: Source,
    envelope: Vec<u8>,
    manifest: Manifest,
    digest: Digest,
    layout: Layout,
}

/// Where everything lies in the file.
#[derive(Debug)]
pub(crate) struct Layout {
    files: Vec<FilePlace>,
    /// Every different chunk once, sorted by digest.
    chunks: Vec<ChunkPlace>,
}

#[derive(Debug)]
struct FilePlace {
    entry: FileEntry,
    /// Where its index parts begin.
    index_offset: u64,
    /// Where its chunks begin.
    chunks_offset: u64,
}

#[derive(Debug, Clone, Copy)]
struct ChunkPlace {
    stored_digest: Digest,
    stored_bytes: u32,
    offset: u64,
}

impl Layout {
    /// Walks the file from `start` in the order of the manifest and checks every byte of it.
    ///
    /// One index part, one chunk as stored and one plain are in memory at a time, and 48 bytes for every chunk
    /// that is really there.
    pub(crate) fn verify(source: &Source, manifest: &Manifest, start: u64) -> Result<Self, ArtifactError> {
        let mut layout = Self { files: Vec::new(), chunks: Vec::new() };
        let mut position = start;
        for variant in &manifest.variants {
            for (role, entry) in &variant.files {
                if layout.files.iter().any(|file| file.entry == *entry) {
                    continue;
                }
                position = layout
                    .verify_file(source, entry, position)
                    .map_err(|error| error.within(|| format!("file {role} of variant {}", variant.id)))?;
            }
        }
        if position != source.bytes() {
            return Err(ArtifactError::refused(
                Reason::TrailingBytes,
                "the end of the file",
                format!("{} bytes after the last chunk", source.bytes().saturating_sub(position)),
                "none",
            ));
        }
        layout.chunks.sort_unstable_by_key(|chunk| (chunk.stored_digest, chunk.offset));
        layout.chunks.dedup_by_key(|chunk| chunk.stored_digest);
        Ok(layout)
    }

    /// Checks one file and returns where it ends.
    fn verify_file(&mut self, source: &Source, entry: &FileEntry, start: u64) -> Result<u64, ArtifactError> {
        // Each part is at most 56 KiB and a manifest has room for a few hundred: far below 2^64.
        let chunks_offset = start.saturating_add(entry.index.iter().map(|part| part.bytes).sum());
        let file = FilePlace { entry: entry.clone(), index_offset: start, chunks_offset };
        let mut whole = Digest::stream();
        let mut end = chunks_offset;
        let chunks = &mut self.chunks;
        for_each_chunk(source, &file, &mut |row, offset, plain| {
            whole.update(&plain);
            if whole.bytes() > entry.bytes {
                return Err(wrong_length(whole.bytes(), entry.bytes));
            }
            // At most 56 KiB: the index part's check holds it.
            let stored_bytes = row.stored_bytes as u32;
            chunks.push(ChunkPlace { stored_digest: row.stored_digest, stored_bytes, offset });
            end = offset + row.stored_bytes;
            Ok(())
        })?;
        if whole.bytes() != entry.bytes {
            return Err(wrong_length(whole.bytes(), entry.bytes));
        }
        let found = whole.finish();
        if found != entry.digest {
            let expected = entry.digest.to_string();
            return Err(ArtifactError::refused(Reason::FileDigest, "the whole", found.to_string(), expected));
        }
        self.files.push(file);
        Ok(end)
    }
}

fn wrong_length(found: u64, expected: u64) -> ArtifactError {
    let found = format!("{found} bytes or more in the chunks");
    ArtifactError::refused(Reason::FileDigest, "the whole", found, format!("{expected} bytes"))
}

/// Reads part `number` of a file's index and checks its digest.
fn read_part(source: &Source, file: &FilePlace, number: usize) -> Result<Vec<u8>, ArtifactError> {
    let place = || format!("index part {number}");
    let part = file.entry.index[number];
    let before: u64 = file.entry.index[..number].iter().map(|part| part.bytes).sum();
    // At most 56 KiB: the manifest's check holds it.
    let bytes = source.read(file.index_offset.saturating_add(before), part.bytes as usize, &place())?;
    let found = Digest::of(&bytes);
    if found != part.digest {
        let (found, expected) = (found.to_string(), part.digest.to_string());
        return Err(ArtifactError::refused(Reason::IndexDigest, place(), found, expected));
    }
    Ok(bytes)
}

type Visit<'a> = dyn FnMut(&ChunkRow, u64, Vec<u8>) -> Result<(), ArtifactError> + 'a;

/// Decodes every chunk of a file in order and gives its row, its offset in the `.cask` and its plain bytes.
fn for_each_chunk(source: &Source, file: &FilePlace, visit: &mut Visit<'_>) -> Result<(), ArtifactError> {
    let mut offset = file.chunks_offset;
    let mut number = 0_u64;
    for part in 0..file.entry.index.len() {
        let rows = read_part(source, file, part)
            .and_then(|bytes| parse_part(&bytes).map_err(|error| error.within(|| format!("index part {part}"))))?;
        for row in &rows {
            let place = || format!("chunk {number}");
            // At most 56 KiB: the index part's check holds it.
            let stored = source.read(offset, row.stored_bytes as usize, &place())?;
            let plain = decode_chunk(row, &stored).map_err(|error| error.within(place))?;
            visit(row, offset, plain)?;
            offset += row.stored_bytes;
            number += 1;
        }
    }
    Ok(())
}

impl VerifiedArtifact {
    /// Only [`UnverifiedArtifact::verify`](crate::UnverifiedArtifact::verify) calls it.
    pub(crate) fn new(
        source: Source,
        envelope: Vec<u8>,
        manifest: Manifest,
        digest: Digest,
        layout: Layout,
    ) -> VerifiedArtifact {
        Self { source, envelope, manifest, digest, layout }
    }

    /// What it is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Digest of the manifest's exact bytes: the artifact's name in a fleet.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The signed envelope's exact bytes.
    pub fn envelope_bytes(&self) -> &[u8] {
        &self.envelope
    }

    /// The whole index of one file: about 100 bytes of memory for every chunk.
    pub fn index(&self, variant: &str, role: &str) -> Result<Index, ArtifactError> {
        let file = self.file(variant, role)?;
        let mut rows = Vec::new();
        for part in 0..file.entry.index.len() {
            rows.extend(parse_index_part(&read_part(&self.source, file, part)?)?);
        }
        Ok(Index { rows })
    }

    /// The exact bytes of one part of a file's index, as they travel.
    pub fn index_part(&self, variant: &str, role: &str, number: usize) -> Result<Vec<u8>, ArtifactError> {
        let file = self.file(variant, role)?;
        if number >= file.entry.index.len() {
            return Err(no_such(
                format!("index part {number} of file {} of variant {}", shown(role), shown(variant)),
                format!("a number below {}", file.entry.index.len()),
            ));
        }
        read_part(&self.source, file, number)
    }

    /// A chunk as it is stored, whichever file it belongs to; length and digest are checked again.
    pub fn read_chunk(&self, row: &ChunkRow) -> Result<Vec<u8>, ArtifactError> {
        let found = self.layout.chunks.binary_search_by_key(&row.stored_digest, |chunk| chunk.stored_digest);
        match found {
            Ok(at) => self.read_place(&self.layout.chunks[at]),
            Err(_) => Err(no_such(format!("the chunk {}", row.stored_digest), "a row of this artifact's index".into())),
        }
    }

    fn read_place(&self, chunk: &ChunkPlace) -> Result<Vec<u8>, ArtifactError> {
        let stored = self.source.read(chunk.offset, chunk.stored_bytes as usize, "the chunk")?;
        check_stored(&stored, chunk.stored_digest, u64::from(chunk.stored_bytes))?;
        Ok(stored)
    }

    /// Everything that a device may ask for by digest, as it travels: every index part, then every different chunk
    /// once. Stops at the visitor's first error.
    pub fn for_each_object<E: From<ArtifactError>>(
        &self,
        mut visit: impl FnMut(Digest, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for file in &self.layout.files {
            for (number, part) in file.entry.index.iter().enumerate() {
                visit(part.digest, &read_part(&self.source, file, number)?)?;
            }
        }
        for chunk in &self.layout.chunks {
            visit(chunk.stored_digest, &self.read_place(chunk)?)?;
        }
        Ok(())
    }

    /// How many objects [`for_each_object`](Self::for_each_object) visits.
    pub fn object_count(&self) -> u64 {
        let parts: usize = self.layout.files.iter().map(|file| file.entry.index.len()).sum();
        (parts + self.layout.chunks.len()) as u64
    }

    /// Writes the plain file to `to`, replacing it at once when the last byte is on the disk.
    pub fn extract(&self, variant: &str, role: &str, to: &Path) -> Result<(), ArtifactError> {
        let file = self.file(variant, role)?;
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(TEMPORARY_SUFFIX);
        let temporary = to.with_file_name(name);
        let written = self.write_plain(file, &temporary).and_then(|()| Ok(rename_durable(&temporary, to)?));
        if written.is_err() {
            // The first error is the one to tell.
            let _ = remove_file(&temporary);
        }
        written
    }

    fn write_plain(&self, file: &FilePlace, to: &Path) -> Result<(), ArtifactError> {
        let output = WriteFile::create(to)?;
        output.reserve(file.entry.bytes)?;
        let mut written = 0;
        for_each_chunk(&self.source, file, &mut |_, _, plain| {
            output.write_at(written, &plain)?;
            written += plain.len() as u64;
            Ok(())
        })?;
        output.sync()?;
        Ok(())
    }

    /// The plain file in memory; a longer one than `bytes_max` is refused before it is read.
    pub fn read_file(&self, variant: &str, role: &str, bytes_max: u64) -> Result<Vec<u8>, ArtifactError> {
        let file = self.file(variant, role)?;
        if file.entry.bytes > bytes_max {
            return Err(ArtifactError::refused(
                Reason::TooLarge,
                format!("file {role} of variant {variant}"),
                format!("{} bytes", file.entry.bytes),
                format!("at most {bytes_max}"),
            ));
        }
        let mut bytes = Vec::new();
        for_each_chunk(&self.source, file, &mut |_, _, plain| {
            bytes.extend_from_slice(&plain);
            Ok(())
        })?;
        Ok(bytes)
    }

    fn file(&self, variant: &str, role: &str) -> Result<&FilePlace, ArtifactError> {
        let entry = self.manifest.variant(variant).and_then(|found| found.files.get(role)).ok_or_else(|| {
            let listed: Vec<String> = self
                .manifest
                .variants
                .iter()
                .flat_map(|variant| variant.files.keys().map(|role| format!("{role} of {}", variant.id)))
                .collect();
            no_such(format!("file {} of variant {}", shown(role), shown(variant)), listed.join(", "))
        })?;
        let place = self.layout.files.iter().find(|file| file.entry == *entry);
        Ok(place.expect("verification has placed every entry of the manifest"))
    }
}

fn no_such(found: String, expected: String) -> ArtifactError {
    ArtifactError::refused(Reason::NoSuchFile, "the request", found, expected)
}
