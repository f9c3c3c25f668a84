//! Making a `.cask`.

use std::collections::BTreeMap;
use std::path::Path;

use runtime_disk::{DiskError, TEMPORARY_SUFFIX, WriteFile, remove_file, rename_durable};
use runtime_trust::{Digest, Envelope};
use thiserror::Error;

use crate::cut::cut;
use crate::encode::Encoder;
use crate::header::{HEADER_BYTES, Header};
use crate::limits::{ENVELOPE_BYTES_MAX, MANIFEST_BYTES_MAX};
use crate::{ArtifactError, ChunkRow, FileEntry, Index, IndexPart, Manifest, UnverifiedArtifact};

/// Bytes copied at a time when a file gets another envelope.
const COPY_BYTES: usize = 1024 * 1024;

/// Why nothing was packed.
#[derive(Debug, Error)]
pub enum PackError {
    /// The draft does not have the variant.
    #[error("pack file {role:?} of variant {variant:?}: the draft of the manifest has no such variant; add it first")]
    UnknownVariant {
        /// The variant that was named.
        variant: String,
        /// The role of the file.
        role: String,
    },
    /// The variant already has a file in this role.
    #[error("pack file {role:?} of variant {variant:?}: it is already there; pack each role once")]
    DuplicateFile {
        /// The variant.
        variant: String,
        /// The role.
        role: String,
    },
    /// A file without bytes cannot be cut into chunks.
    #[error("pack file {role:?} of variant {variant:?}: found 0 bytes, expected at least 1")]
    EmptyFile {
        /// The variant.
        variant: String,
        /// The role.
        role: String,
    },
    /// A border lies outside the file.
    #[error("pack file {role:?} of variant {variant:?}: found a border at byte {found}, expected at most {bytes}")]
    BorderOutside {
        /// The variant.
        variant: String,
        /// The role.
        role: String,
        /// The border.
        found: u64,
        /// Length of the file.
        bytes: u64,
    },
    /// The manifest is longer than a device reads.
    #[error("seal the manifest: found {found} bytes, expected at most {max}; pack fewer variants or smaller files")]
    ManifestTooLarge {
        /// Its length in bytes.
        found: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The envelope is longer than a device reads.
    #[error("attach the envelope: found {found} bytes, expected at most {max}; use fewer signatures")]
    EnvelopeTooLarge {
        /// Its length in bytes.
        found: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The envelope signs another manifest.
    #[error("attach the envelope: found a signed manifest {found}, expected {expected}; sign this file's own manifest")]
    OtherManifest {
        /// Digest of the signed payload.
        found: Digest,
        /// Digest of this file's manifest.
        expected: Digest,
    },
    /// The manifest or the envelope breaks a rule that a reader would refuse.
    #[error(transparent)]
    Refused(#[from] ArtifactError),
    /// The file could not be written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The compressor failed: in practice no memory.
    #[error("compress a chunk: {0}")]
    Compress(#[from] std::io::Error),
}

/// Collects the files of an artifact. Everything packed is in memory until the result is written.
pub struct Packer {
    manifest: Manifest,
    encoder: Encoder,
    /// Index parts and chunks of each packed file, in the order of the file.
    objects: BTreeMap<(String, String), Vec<u8>>,
}

impl Packer {
    /// Starts from a manifest whose variants have no files yet. (Entries that stand in the draft are dropped: they
    /// would describe bytes that nobody packed.)
    pub fn new(mut draft: Manifest) -> Result<Self, PackError> {
        for variant in &mut draft.variants {
            variant.files.clear();
        }
        Ok(Self { manifest: draft, encoder: Encoder::new()?, objects: BTreeMap::new() })
    }

    /// Cuts a file into chunks, compresses them and enters it into the manifest.
    ///
    /// `borders` are offsets at which a cut is welcome, in any order: where tensors begin and end. Takes time: about
    /// a second for a megabyte of weights.
    pub fn add_file(&mut self, variant: &str, role: &str, bytes: &[u8], borders: &[u64]) -> Result<(), PackError> {
        let names = || (variant.to_owned(), role.to_owned());
        let Some(at) = self.manifest.variants.iter().position(|found| found.id == variant) else {
            let (variant, role) = names();
            return Err(PackError::UnknownVariant { variant, role });
        };
        if self.manifest.variants[at].files.contains_key(role) {
            let (variant, role) = names();
            return Err(PackError::DuplicateFile { variant, role });
        }
        if bytes.is_empty() {
            let (variant, role) = names();
            return Err(PackError::EmptyFile { variant, role });
        }
        let length = bytes.len() as u64;
        if let Some(&found) = borders.iter().find(|&&border| border > length) {
            let (variant, role) = names();
            return Err(PackError::BorderOutside { variant, role, found, bytes: length });
        }
        // Each is at most the length of a slice, so it is a usize.
        let mut borders: Vec<usize> = borders.iter().map(|&border| border as usize).collect();
        borders.retain(|&border| border > 0 && border < bytes.len());
        borders.sort_unstable();
        borders.dedup();
        let (entry, objects) = encode_file(bytes, &borders, &mut self.encoder)?;
        self.manifest.variants[at].files.insert(role.to_owned(), entry);
        self.objects.insert(names(), objects);
        Ok(())
    }

    /// Checks the manifest as a reader would and gives what is left to sign.
    pub fn unsigned(self) -> Result<Unsigned, PackError> {
        self.manifest.check()?;
        let manifest_bytes = self.manifest.to_bytes();
        let found = manifest_bytes.len();
        if found > MANIFEST_BYTES_MAX {
            return Err(PackError::ManifestTooLarge { found, max: MANIFEST_BYTES_MAX });
        }
        let mut content = Vec::new();
        let mut written: Vec<&FileEntry> = Vec::new();
        for variant in &self.manifest.variants {
            for (role, entry) in &variant.files {
                if !written.contains(&entry) {
                    written.push(entry);
                    content.extend_from_slice(&self.objects[&(variant.id.clone(), role.clone())]);
                }
            }
        }
        Ok(Unsigned { manifest_bytes, content })
    }

    /// Signs the manifest with every key in `keys` (release's) and gives the bytes of the `.cask`.
    #[cfg(feature = "signing")]
    pub fn seal(self, keys: &[&runtime_trust::SigningKey]) -> Result<Vec<u8>, PackError> {
        let unsigned = self.unsigned()?;
        let payload = unsigned.manifest_bytes().to_vec();
        let envelope = Envelope::sign(runtime_trust::PayloadType::Manifest, payload, keys);
        unsigned.attach(&envelope.to_bytes())
    }
}

/// Index parts and chunks of one file, and its entry in the manifest.
fn encode_file(bytes: &[u8], borders: &[usize], encoder: &mut Encoder) -> Result<(FileEntry, Vec<u8>), std::io::Error> {
    let mut index = Index::default();
    let mut chunks = Vec::new();
    let mut start = 0;
    for cut in cut(bytes, borders, encoder)? {
        let plain = &bytes[start..cut.end];
        index.rows.push(ChunkRow {
            stored_bytes: cut.stored.len() as u64,
            stored_digest: Digest::of(&cut.stored),
            encoding: cut.encoding,
            plain_bytes: plain.len() as u64,
            plain_digest: Digest::of(plain),
        });
        chunks.extend(cut.stored);
        start = cut.end;
    }
    let parts = index.to_parts();
    let entry = FileEntry {
        bytes: bytes.len() as u64,
        digest: Digest::of(bytes),
        index: parts.iter().map(|part| IndexPart { bytes: part.len() as u64, digest: Digest::of(part) }).collect(),
    };
    let mut objects = parts.concat();
    objects.append(&mut chunks);
    Ok((entry, objects))
}

/// A packed artifact that waits for its envelope.
pub struct Unsigned {
    manifest_bytes: Vec<u8>,
    content: Vec<u8>,
}

impl Unsigned {
    /// The exact bytes to sign.
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.manifest_bytes
    }

    /// Digest of the manifest: the artifact's name in a fleet.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest_bytes)
    }

    /// Puts the envelope before the content and gives the bytes of the `.cask`. The signatures are not looked at.
    pub fn attach(&self, envelope: &[u8]) -> Result<Vec<u8>, PackError> {
        check_envelope(envelope, self.digest())?;
        let file_bytes = HEADER_BYTES + envelope.len() + self.content.len();
        let header = Header { envelope_bytes: envelope.len(), file_bytes: file_bytes as u64 };
        let mut bytes = Vec::with_capacity(file_bytes);
        bytes.extend(header.to_bytes());
        bytes.extend_from_slice(envelope);
        bytes.extend_from_slice(&self.content);
        Ok(bytes)
    }
}

fn check_envelope(envelope: &[u8], expected: Digest) -> Result<(), PackError> {
    if envelope.len() > ENVELOPE_BYTES_MAX {
        return Err(PackError::EnvelopeTooLarge { found: envelope.len(), max: ENVELOPE_BYTES_MAX });
    }
    let found = Digest::of(Envelope::parse(envelope).map_err(ArtifactError::from)?.payload());
    if found != expected {
        return Err(PackError::OtherManifest { found, expected });
    }
    Ok(())
}

impl UnverifiedArtifact {
    /// Writes the same artifact under another envelope of the same manifest (one with a further signature) to `to`,
    /// which may be the file that is open; it is replaced at once when the last byte is on the disk.
    pub fn write_with_envelope(&self, envelope: &[u8], to: &Path) -> Result<(), PackError> {
        check_envelope(envelope, self.manifest_digest_unverified())?;
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(TEMPORARY_SUFFIX);
        let temporary = to.with_file_name(name);
        let written = self.copy_with_envelope(envelope, &temporary).and_then(|()| Ok(rename_durable(&temporary, to)?));
        if written.is_err() {
            // The first error is the one to tell.
            let _ = remove_file(&temporary);
        }
        written
    }

    fn copy_with_envelope(&self, envelope: &[u8], to: &Path) -> Result<(), PackError> {
        let output = WriteFile::create(to)?;
        let mut from = (HEADER_BYTES + self.header.envelope_bytes) as u64;
        let mut at = (HEADER_BYTES + envelope.len()) as u64;
        let file_bytes = at + (self.header.file_bytes - from);
        output.write_at(0, &Header { envelope_bytes: envelope.len(), file_bytes }.to_bytes())?;
        output.write_at(HEADER_BYTES as u64, envelope)?;
        while from < self.header.file_bytes {
            let length = (self.header.file_bytes - from).min(COPY_BYTES as u64) as usize;
            output.write_at(at, &self.source.read(from, length, "the content")?)?;
            from += length as u64;
            at += length as u64;
        }
        output.sync()?;
        Ok(())
    }
}
