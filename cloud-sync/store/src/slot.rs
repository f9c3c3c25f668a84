//! A finished slot: the verified files of one artifact, ready to be loaded.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime_artifact::limits::{ENVELOPE_BYTES_MAX, INDEX_PART_BYTES_MAX};
use runtime_artifact::{ArtifactError, ChunkRow, FileEntry, Manifest, Reason, parse_index_part};
use runtime_disk::{Disk, DiskError};
use runtime_trust::{Digest, Envelope};
use serde::{Deserialize, Serialize};

use crate::layout::{SlotPaths, slot_name};
use crate::{SlotRef, StoreError};

/// The file `whole`, in bytes: at most 16 names of 63 characters.
const WHOLE_BYTES_MAX: u64 = 4 * 1024;

const WHOLE_FORMAT: u32 = 1;

const AGAIN: &str = "install the artifact again";

/// The file that says that a slot is whole.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    format: u32,
    variants: Vec<String>,
}

/// What `whole` holds for a slot with these variants.
pub(crate) fn whole_bytes(variants: &[String]) -> Vec<u8> {
    let whole = Whole { format: WHOLE_FORMAT, variants: variants.to_vec() };
    serde_json::to_vec(&whole).expect("an integer and texts have a JSON form")
}

/// A slot in which every file had its digest when it was finished.
#[derive(Debug, Clone)]
pub struct Slot {
    disk: Arc<dyn Disk>,
    paths: SlotPaths,
    name: Digest,
    digest: Digest,
    envelope: Vec<u8>,
    manifest_bytes: Vec<u8>,
    manifest: Manifest,
    variants: Vec<String>,
}

impl Slot {
    /// Reads what a slot says about itself; its files are read and checked when they are asked for.
    pub(crate) fn open(disk: &Arc<dyn Disk>, paths: SlotPaths, name: Digest) -> Result<Self, StoreError> {
        let whole = match disk.read_bounded(&paths.whole(), WHOLE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(DiskError::NotFound { .. }) => {
                let found = if disk.exists(paths.folder())? { "unfinished" } else { "not there" };
                return Err(StoreError::NotWhole { folder: name.to_string(), found });
            }
            Err(error) => return Err(error.into()),
        };
        let damaged = |path: PathBuf, found: String, expected: &str| StoreError::Damaged {
            path,
            found,
            expected: expected.to_owned(),
            next: AGAIN,
        };
        let whole: Whole = serde_json::from_slice(&whole)
            .map_err(|error| damaged(paths.whole(), error.to_string(), "format and variants"))?;
        if whole.format != WHOLE_FORMAT {
            return Err(StoreError::NewerFormat { path: paths.whole(), found: whole.format, known: WHOLE_FORMAT });
        }
        let envelope = disk.read_bounded(&paths.envelope(), ENVELOPE_BYTES_MAX as u64)?;
        let manifest_bytes = Envelope::parse(&envelope)
            .map_err(|error| damaged(paths.envelope(), error.to_string(), "the signed envelope"))?
            .payload()
            .to_vec();
        let digest = Digest::of(&manifest_bytes);
        let found = slot_name(&digest, &whole.variants);
        if found != name {
            let found = format!("an artifact and variants that belong into slot {found}");
            return Err(damaged(paths.folder().to_owned(), found, "those of its name"));
        }
        let manifest = Manifest::parse(&manifest_bytes)?;
        Ok(Self {
            disk: Arc::clone(disk),
            paths,
            name,
            digest,
            envelope,
            manifest_bytes,
            manifest,
            variants: whole.variants,
        })
    }

    /// How the state refers to this slot; the engine is not chosen yet.
    pub fn slot_ref(&self) -> SlotRef {
        slot_ref(self.name, self.digest, &self.manifest)
    }

    /// Name of the slot's folder.
    pub(crate) fn name(&self) -> Digest {
        self.name
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest's exact bytes.
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.manifest_bytes
    }

    /// The signed envelope's exact bytes.
    pub fn envelope_bytes(&self) -> &[u8] {
        &self.envelope
    }

    /// Digest of the manifest: the artifact's name in a fleet.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Ids of the variants whose files are here, sorted.
    pub fn variants(&self) -> &[String] {
        &self.variants
    }

    /// Where a file lies, without looking at it. Its name is its digest.
    pub fn file(&self, variant: &str, role: &str) -> Result<PathBuf, StoreError> {
        Ok(self.paths.file(&self.entry(variant, role)?.digest))
    }

    /// A whole file, at most `bytes_max` bytes. Its digest is checked: flipped bits on the disk never reach an engine.
    pub fn read_file(&self, variant: &str, role: &str, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        let entry = self.entry(variant, role)?;
        let path = self.paths.file(&entry.digest);
        let bytes = match self.disk.read_bounded(&path, bytes_max) {
            Err(DiskError::NotFound { path }) => {
                return Err(StoreError::Damaged {
                    path,
                    found: "nothing".to_owned(),
                    expected: format!("{} bytes", entry.bytes),
                    next: AGAIN,
                });
            }
            other => other?,
        };
        let found = Digest::of(&bytes);
        if found != entry.digest {
            return Err(StoreError::Damaged {
                path,
                found: format!("{} bytes with the digest {found}", bytes.len()),
                expected: format!("{} bytes with the digest in its name", entry.bytes),
                next: AGAIN,
            });
        }
        Ok(bytes)
    }

    fn entry(&self, variant: &str, role: &str) -> Result<&FileEntry, StoreError> {
        let here = self.variants.iter().any(|id| id == variant);
        self.manifest.variant(variant).filter(|_| here).and_then(|found| found.files.get(role)).ok_or_else(|| {
            StoreError::NotInManifest {
                what: format!("file {role:?} of variant {variant:?} in this slot"),
                listed: format!("the variants {}", self.variants.join(", ")),
            }
        })
    }

    /// The different files of the wanted variants, in the manifest's order.
    pub(crate) fn entries(&self) -> Vec<FileEntry> {
        wanted_files(&self.manifest, &self.variants).into_iter().map(|file| file.entry).collect()
    }

    /// Every chunk of a file, with its offset, from the index parts that were kept.
    pub(crate) fn rows(&self, entry: &FileEntry) -> Result<Vec<(u64, ChunkRow)>, StoreError> {
        let mut rows = Vec::new();
        let mut offset = 0_u64;
        for part in &entry.index {
            let path = self.paths.index_part(&part.digest);
            let bytes = self.disk.read_bounded(&path, INDEX_PART_BYTES_MAX as u64)?;
            for row in parse_index_part(&bytes)? {
                rows.push((offset, row));
                offset = offset.saturating_add(row.plain_bytes);
            }
        }
        Ok(rows)
    }
}

pub(crate) fn slot_ref(name: Digest, digest: Digest, manifest: &Manifest) -> SlotRef {
    SlotRef {
        digest,
        number: manifest.number,
        version: manifest.version.to_string(),
        engine: String::new(),
        folder: name.to_string(),
    }
}

/// One file that a slot needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedFile {
    /// A variant that has it; when several share it, the first one.
    pub variant: String,
    /// Its role in that variant.
    pub role: String,
    /// Its entry in the manifest.
    pub entry: FileEntry,
}

/// The different files (by digest) of the variants, in the manifest's order.
pub(crate) fn wanted_files(manifest: &Manifest, variants: &[String]) -> Vec<WantedFile> {
    let mut seen = BTreeSet::new();
    let mut files = Vec::new();
    for variant in manifest.variants.iter().filter(|variant| variants.contains(&variant.id)) {
        for (role, entry) in &variant.files {
            if seen.insert(entry.digest) {
                files.push(WantedFile { variant: variant.id.clone(), role: role.clone(), entry: entry.clone() });
            }
        }
    }
    files
}

/// A refusal of an artifact, made by this crate.
pub(crate) fn refused(reason: Reason, place: &str, found: String, expected: String) -> StoreError {
    StoreError::Refused(ArtifactError::Refused { reason, place: place.to_owned(), found, expected })
}

/// Bytes read at a time while a file's digest is computed.
const READ_BYTES: usize = 256 * 1024;

/// Whether the file has the length and digest of its entry; a missing or unreadable one does not.
pub(crate) fn file_is_good(disk: &dyn Disk, path: &Path, entry: &FileEntry) -> bool {
    let Ok(file) = disk.open_read(path) else { return false };
    if file.bytes() != entry.bytes {
        return false;
    }
    let mut stream = Digest::stream();
    let mut buffer = vec![0; READ_BYTES.min(usize::try_from(entry.bytes).unwrap_or(READ_BYTES))];
    while stream.bytes() < entry.bytes {
        let left = usize::try_from(entry.bytes - stream.bytes()).unwrap_or(READ_BYTES);
        let piece = &mut buffer[..left.min(READ_BYTES)];
        if file.read_at(stream.bytes(), piece).is_err() {
            return false;
        }
        stream.update(piece);
    }
    stream.finish() == entry.digest
}
