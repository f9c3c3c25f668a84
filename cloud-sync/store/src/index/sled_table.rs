//! The chunk index as a sled database.
//!
//! ```text
//!   "c" chunk slot   file (32 bytes), offset (8, little-endian), checksum (8)
//!   "s" slot         checksum (8): all chunks of this slot are in
//! ```
//!
//! Chunk, slot and file are raw digests; a checksum is the first 8 bytes of SHA-256 over key and value.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use runtime_trust::{DIGEST_BYTES, Digest};

use super::{Broken, Place, Table};

/// sled's page cache. Its default is 1 GiB.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// How long a database that was just closed is waited for.
const CLOSING_MAX: Duration = Duration::from_secs(3);
const CLOSING_POLL: Duration = Duration::from_millis(5);

const CHECKSUM_BYTES: usize = 8;
const CHUNK: u8 = b'c';
const SLOT: u8 = b's';

/// Never used again after it was found to be damaged.
#[derive(Debug)]
pub(super) struct SledTable {
    /// Taken only when this is dropped.
    database: Option<sled::Db>,
}

impl Drop for SledTable {
    fn drop(&mut self) {
        // Closing a damaged database writes to it, and may panic like everything else.
        let database = self.database.take();
        let _ = catch_unwind(AssertUnwindSafe(move || drop(database)));
    }
}

impl SledTable {
    pub(super) fn open(folder: &Path) -> Result<Self, Broken> {
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(CACHE_BYTES)
            // No thread that wakes an idle device; every change is flushed where it is made.
            .flush_every_ms(None);
        guarded(|| open_after_close(&config)).map(|database| Self { database: Some(database) })
    }

    fn database(&self) -> &sled::Db {
        self.database.as_ref().expect("it is taken only when this is dropped")
    }

    fn write(&self, batch: sled::Batch) -> Result<(), Broken> {
        guarded(|| self.database().apply_batch(batch))?;
        guarded(|| self.database().flush()).map(|_| ())
    }
}

/// sled's own threads may hold a database for a moment after it was closed. Nobody else opens it: the store has a lock.
fn open_after_close(config: &sled::Config) -> sled::Result<sled::Db> {
    let start = Instant::now();
    loop {
        match config.open() {
            Err(sled::Error::Io(error)) if is_locked(&error) && start.elapsed() < CLOSING_MAX => {
                std::thread::sleep(CLOSING_POLL);
            }
            opened => return opened,
        }
    }
}

/// sled wraps the error of the system call in one of kind `Other`, as text.
fn is_locked(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::WouldBlock || error.to_string().contains("could not acquire lock")
}

/// Damage shows as an error or as a panic inside sled; neither may go further.
fn guarded<T>(operation: impl FnOnce() -> sled::Result<T>) -> Result<T, Broken> {
    match catch_unwind(AssertUnwindSafe(operation)) {
        Ok(result) => result.map_err(|error| Broken(error.to_string())),
        Err(_) => Err(Broken("it panicked".to_owned())),
    }
}

fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut stream = Digest::stream();
    stream.update(key);
    stream.update(value);
    let digest = stream.finish();
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&digest.as_bytes()[..CHECKSUM_BYTES]);
    checksum
}

/// The value with its checksum behind it.
fn sealed(key: &[u8], value: &[u8]) -> Vec<u8> {
    [value, &checksum(key, value)].concat()
}

/// The value before its checksum.
fn unsealed<'a>(key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], Broken> {
    let at = sealed.len().checked_sub(CHECKSUM_BYTES);
    let (value, found) = sealed.split_at(at.ok_or_else(|| Broken("a value is too short".to_owned()))?);
    if found != checksum(key, value) {
        return Err(Broken("a value has another checksum".to_owned()));
    }
    Ok(value)
}

fn slot_key(slot: &Digest) -> Vec<u8> {
    [&[SLOT], slot.as_bytes().as_slice()].concat()
}

fn chunk_key(chunk: &Digest, slot: &Digest) -> Vec<u8> {
    [&[CHUNK], chunk.as_bytes().as_slice(), slot.as_bytes().as_slice()].concat()
}

/// The digest at `at`, in a key or value of any length.
fn digest_at(bytes: &[u8], at: usize) -> Result<Digest, Broken> {
    let digest = bytes.get(at..at + DIGEST_BYTES).and_then(|bytes| bytes.try_into().ok());
    digest.map(Digest::from_bytes).ok_or_else(|| Broken("a key or value is too short".to_owned()))
}

impl Table for SledTable {
    fn slots(&mut self) -> Result<BTreeSet<Digest>, Broken> {
        let mut slots = BTreeSet::new();
        let mut rows = self.database().scan_prefix([SLOT]);
        while let Some((key, value)) = guarded(|| rows.next().transpose())? {
            unsealed(&key, &value)?;
            slots.insert(digest_at(&key, 1)?);
        }
        Ok(slots)
    }

    fn insert(&mut self, slot: &Digest, chunks: &[(Digest, Place)]) -> Result<(), Broken> {
        let mut batch = sled::Batch::default();
        for (chunk, place) in chunks {
            let key = chunk_key(chunk, slot);
            let value = [place.file.as_bytes().as_slice(), &place.offset.to_le_bytes()].concat();
            batch.insert(key.clone(), sealed(&key, &value));
        }
        let key = slot_key(slot);
        batch.insert(key.clone(), sealed(&key, &[]));
        self.write(batch)
    }

    fn remove(&mut self, slot: &Digest) -> Result<(), Broken> {
        let mut batch = sled::Batch::default();
        batch.remove(slot_key(slot));
        let mut rows = self.database().scan_prefix([CHUNK]);
        while let Some((key, _)) = guarded(|| rows.next().transpose())? {
            if digest_at(&key, 1 + DIGEST_BYTES)? == *slot {
                batch.remove(key);
            }
        }
        self.write(batch)
    }

    fn find(&mut self, chunk: &Digest) -> Result<Vec<Place>, Broken> {
        let mut places = Vec::new();
        let prefix = [&[CHUNK], chunk.as_bytes().as_slice()].concat();
        let mut rows = self.database().scan_prefix(prefix);
        while let Some((key, value)) = guarded(|| rows.next().transpose())? {
            let value = unsealed(&key, &value)?;
            let offset = value.get(DIGEST_BYTES..).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
            places.push(Place {
                slot: digest_at(&key, 1 + DIGEST_BYTES)?,
                file: digest_at(value, 0)?,
                offset: offset.ok_or_else(|| Broken("a value has another length".to_owned()))?,
            });
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(slot: &Digest, count: u64) -> Vec<(Digest, Place)> {
        let place = |offset| Place { slot: *slot, file: Digest::of(b"file"), offset };
        (0..count).map(|number| (Digest::of(&number.to_le_bytes()), place(number * 100))).collect()
    }

    #[test]
    fn a_database_that_is_just_being_closed_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let first = SledTable::open(folder.path()).unwrap();
        let closing = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(first);
        });
        let second = SledTable::open(folder.path());
        closing.join().unwrap();
        second.unwrap();
    }

    #[test]
    fn finds_what_was_inserted_after_it_was_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        {
            let mut table = SledTable::open(folder.path()).unwrap();
            table.insert(&one, &chunks(&one, 500)).unwrap();
            table.insert(&two, &chunks(&two, 3)).unwrap();
        }
        let mut table = SledTable::open(folder.path()).unwrap();
        assert_eq!(table.slots().unwrap(), [one, two].into());
        let place = |slot, offset| Place { slot, file: Digest::of(b"file"), offset };
        let mut found = table.find(&Digest::of(&2_u64.to_le_bytes())).unwrap();
        found.sort();
        let mut expected = [place(one, 200), place(two, 200)];
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!(table.find(&Digest::of(&499_u64.to_le_bytes())).unwrap(), [place(one, 49_900)]);
        assert_eq!(table.find(&Digest::of(b"unknown")).unwrap(), []);
        table.remove(&one).unwrap();
        assert_eq!(table.slots().unwrap(), [two].into());
        assert_eq!(table.find(&Digest::of(&2_u64.to_le_bytes())).unwrap(), [place(two, 200)]);
        assert_eq!(table.database().len(), 3 + 1, "nothing of the removed slot is left");
    }

    #[test]
    fn a_value_that_sled_gives_back_changed_is_damage() {
        let slot = Digest::of(b"slot");
        let chunk = Digest::of(&0_u64.to_le_bytes());
        let (by_chunk, by_slot) = (chunk_key(&chunk, &slot), slot_key(&slot));
        let rows: [(&[u8], &[u8]); 5] = [
            (&by_chunk, &[]),
            (&by_chunk, &[0; DIGEST_BYTES + 8 + CHECKSUM_BYTES]),
            (&by_slot, &[]),
            (&by_slot, &[0; CHECKSUM_BYTES]),
            (b"c", b"a key that was cut"),
        ];
        for (key, value) in rows {
            let folder = tempfile::tempdir().unwrap();
            let mut table = SledTable::open(folder.path()).unwrap();
            table.insert(&slot, &chunks(&slot, 1)).unwrap();
            table.database().insert(key, value).unwrap();
            let damaged = table.slots().is_err() || table.find(&chunk).is_err() || table.remove(&slot).is_err();
            assert!(damaged, "{key:?} as {value:?} was believed");
        }
        // Right in form and with its checksum, but too short for a place.
        let folder = tempfile::tempdir().unwrap();
        let mut table = SledTable::open(folder.path()).unwrap();
        table.database().insert(by_chunk.clone(), sealed(&by_chunk, &[1; DIGEST_BYTES])).unwrap();
        assert!(table.find(&chunk).is_err());
    }

    #[test]
    fn a_panic_inside_is_damage() {
        let Err(Broken(why)) = guarded(|| -> sled::Result<()> { panic!("as sled does on a flipped byte") }) else {
            panic!("the panic was lost");
        };
        assert_eq!(why, "it panicked");
    }
}
