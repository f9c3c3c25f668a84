//! Beginning to fill a slot, or going on after a stop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use runtime_artifact::limits::INDEX_PART_BYTES_MAX;
use runtime_artifact::{Manifest, Reason};
use runtime_disk::DiskError;
use runtime_trust::{Digest, Envelope};

use super::{Candidate, FileProgress};
use crate::StoreError;
use crate::journal::{Journal, Written};
use crate::layout::slot_name;
use crate::slot::{WantedFile, file_is_good, refused, wanted_files};
use crate::store::{ENTRIES_MAX, Inner};

/// Room that is kept for what is small: the envelope, the journal, names.
const ROOM_FOR_SMALL_FILES_BYTES: u64 = 256 * 1024;

/// [`Store::begin`](crate::Store::begin).
pub(crate) fn begin(inner: &Arc<Inner>, envelope: &[u8], variants: &[&str]) -> Result<Candidate, StoreError> {
    let payload = Envelope::parse(envelope)?.payload().to_vec();
    let manifest = Manifest::parse(&payload)?;
    let variants = choose(&manifest, variants)?;
    check_entries(&manifest, &variants)?;
    let digest = Digest::of(&payload);
    let name = slot_name(&digest, &variants);
    let paths = inner.layout.slot(&name);
    let mut candidate = Candidate {
        name,
        digest,
        wanted: wanted_files(&manifest, &variants),
        manifest,
        variants,
        paths,
        files: Vec::new(),
        unwritten: BTreeMap::new(),
        journal: None,
        unsynced_bytes: 0,
        reused_bytes: 0,
        taken: inner.take(name)?,
    };
    let was_whole = inner.disk.exists(&candidate.paths.whole())?;
    if was_whole {
        let good =
            |file: &WantedFile| file_is_good(&*inner.disk, &candidate.paths.file(&file.entry.digest), &file.entry);
        if candidate.wanted.iter().all(good) {
            return Ok(candidate);
        }
        tracing::warn!("slot {name} says that it is whole but has other bytes: it is repaired");
        inner.unmark(&candidate.paths)?;
    }
    candidate.open_files(envelope)?;
    candidate.load_index()?;
    candidate.recover(was_whole)?;
    candidate.reuse()?;
    Ok(candidate)
}

/// The wanted variants, sorted, each once.
fn choose(manifest: &Manifest, variants: &[&str]) -> Result<Vec<String>, StoreError> {
    let wanted: BTreeSet<&str> = variants.iter().copied().collect();
    let unknown = wanted.iter().find(|id| manifest.variant(id).is_none());
    if unknown.is_some() || wanted.is_empty() {
        let listed: Vec<&str> = manifest.variants.iter().map(|variant| variant.id.as_str()).collect();
        let what = unknown.map_or("a variant, of which none was named,".to_owned(), |id| format!("variant {id:?}"));
        return Err(StoreError::NotInManifest { what, listed: listed.join(", ") });
    }
    Ok(wanted.into_iter().map(str::to_owned).collect())
}

/// One digest with two lengths is a lie, which files named by digest could not tell apart.
fn check_entries(manifest: &Manifest, variants: &[String]) -> Result<(), StoreError> {
    let mut lengths = BTreeMap::new();
    let wanted = manifest.variants.iter().filter(|variant| variants.contains(&variant.id));
    for entry in wanted.flat_map(|variant| variant.files.values()) {
        let bytes = *lengths.entry(entry.digest).or_insert(entry.bytes);
        if bytes != entry.bytes {
            let found = format!("{} bytes", entry.bytes);
            return Err(refused(Reason::BadValue, &format!("file {}", entry.digest), found, bytes.to_string()));
        }
    }
    Ok(())
}

impl Candidate {
    /// Takes room for everything, or leaves the disk as it was.
    fn open_files(&mut self, envelope: &[u8]) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.taken.inner);
        let is_new = !inner.disk.exists(self.paths.folder())?;
        let opened = self.check_room().and_then(|()| self.create_files(envelope));
        if let Err(error) = opened {
            self.files.clear();
            if is_new && inner.disk.exists(self.paths.folder())? {
                inner.remove_slot(&self.name)?;
            }
            return Err(error);
        }
        Ok(())
    }

    /// Asks the disk before anything is written, so that the answer names all that is missing.
    fn check_room(&self) -> Result<(), StoreError> {
        let disk = &self.taken.inner.disk;
        let mut needed = ROOM_FOR_SMALL_FILES_BYTES;
        for file in &self.wanted {
            let there = match disk.file_bytes(&self.paths.file(&file.entry.digest)) {
                Ok(bytes) => bytes,
                Err(DiskError::NotFound { .. }) => 0,
                Err(error) => return Err(error.into()),
            };
            let index: u64 = file.entry.index.iter().map(|part| part.bytes).sum();
            needed = needed.saturating_add(index).saturating_add(file.entry.bytes.saturating_sub(there));
        }
        let free = disk.free_bytes(&self.taken.inner.layout.slots())?;
        if free < needed {
            return Err(StoreError::NoRoom { missing_bytes: needed - free });
        }
        Ok(())
    }

    fn create_files(&mut self, envelope: &[u8]) -> Result<(), StoreError> {
        let disk = Arc::clone(&self.taken.inner.disk);
        disk.create_folder(self.paths.folder())?;
        disk.remove_leftovers(self.paths.folder(), ENTRIES_MAX)?;
        disk.write_atomic(&self.paths.envelope(), envelope)?;
        for file in &self.wanted {
            self.files.push(FileProgress::open(&*disk, &self.paths, file.entry.clone())?);
        }
        // The names of the files; the content follows when the chunks are synced.
        disk.sync_folder(self.paths.folder())?;
        Ok(())
    }

    /// Reads the index parts that an earlier life has fetched. A damaged one is fetched again.
    fn load_index(&mut self) -> Result<(), StoreError> {
        let disk = Arc::clone(&self.taken.inner.disk);
        for need in self.missing_index() {
            match disk.read_bounded(&self.paths.index_part(&need.digest), INDEX_PART_BYTES_MAX as u64) {
                Ok(bytes) if Digest::of(&bytes) == need.digest => {
                    self.learn_part(&need.digest, &bytes)?;
                }
                Ok(_) | Err(DiskError::NotFound { .. } | DiskError::TooLarge { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Believes what the journal claims, chunk by chunk, where the bytes have their digest; of a slot that was whole
    /// once, every chunk is such a claim.
    fn recover(&mut self, was_whole: bool) -> Result<(), StoreError> {
        let disk = Arc::clone(&self.taken.inner.disk);
        let mut claims = Journal::read(&*disk, &self.paths, &self.name)?;
        if was_whole {
            claims = all_chunks(&self.files);
        }
        claims.retain(|&(file, row)| self.files.get(file as usize).is_some_and(|file| file.holds(row)));
        for &(file, row) in &claims {
            self.files[file as usize].chunks[row as usize].written = true;
        }
        for places in self.unwritten.values_mut() {
            places.retain(|place| !claims.contains(place));
        }
        self.unwritten.retain(|_, places| !places.is_empty());
        self.journal = Some(Journal::start(&*disk, &self.paths, self.name, &claims)?);
        Ok(())
    }
}

fn all_chunks(files: &[FileProgress]) -> BTreeSet<Written> {
    (0_u32..)
        .zip(files)
        .flat_map(|(number, file)| (0..file.chunks.len() as u32).map(move |row| (number, row)))
        .collect()
}
