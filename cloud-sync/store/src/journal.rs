//! Which chunks of an unfinished slot have been written.
//!
//! An append-only file; integers little-endian:
//!
//! ```text
//!   offset  bytes
//!        0      8  "CASKJRNL"
//!        8      4  format: 1
//!       12      4  reserved, zero
//!       16     32  name of the slot
//!       48   16 n  records:  0  4  number of the file in the slot
//!                            4  4  number of the row in the file's index
//!                            8  8  the first bytes of SHA-256 over the slot's name and the two numbers
//! ```
//!
//! A record follows its chunk's bytes, but a power cut may keep the record and lose the bytes, so a record is a
//! claim: the reader compares the chunk with its digest. It may also tear the last records, so reading ends at the
//! first bad one, and the journal is written anew before it is appended to.

use std::collections::BTreeSet;

use runtime_disk::{Append, Disk, DiskError};
use runtime_trust::Digest;

use crate::layout::SlotPaths;

const MAGIC: [u8; 8] = *b"CASKJRNL";
const JOURNAL_FORMAT: u32 = 1;
const HEADER_BYTES: usize = 48;
const RECORD_BYTES: usize = 16;

/// A manifest has room for a few hundred index parts of 754 rows: that many records take under 5 MiB.
const JOURNAL_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// File and row of a chunk that was written.
pub(crate) type Written = (u32, u32);

/// The journal of one slot, open for appending.
#[derive(Debug)]
pub(crate) struct Journal {
    slot: Digest,
    file: Box<dyn Append>,
}

impl Journal {
    /// What the journal of an earlier life claims; nothing when there is none or it is of another slot or format.
    pub(crate) fn read(disk: &dyn Disk, paths: &SlotPaths, slot: &Digest) -> Result<BTreeSet<Written>, DiskError> {
        match disk.read_bounded(&paths.journal(), JOURNAL_BYTES_MAX) {
            Ok(bytes) => Ok(parse(&bytes, slot)),
            // Too long to be ours: the chunks are fetched again, which is all that it costs.
            Err(DiskError::NotFound { .. } | DiskError::TooLarge { .. }) => Ok(BTreeSet::new()),
            Err(error) => Err(error),
        }
    }

    /// Replaces the journal by one that claims `written`, and opens it.
    pub(crate) fn start(
        disk: &dyn Disk,
        paths: &SlotPaths,
        slot: Digest,
        written: &BTreeSet<Written>,
    ) -> Result<Self, DiskError> {
        let mut bytes = header(&slot);
        for &row in written {
            bytes.extend(record(&slot, row));
        }
        disk.write_atomic(&paths.journal(), &bytes)?;
        Ok(Self { slot, file: disk.open_append(&paths.journal())? })
    }

    /// Claims a chunk. It is there after a kill; after a power cut only when [`Journal::sync`] came between.
    pub(crate) fn append(&mut self, row: Written) -> Result<(), DiskError> {
        self.file.append(&record(&self.slot, row))
    }

    /// Returns when every claim so far would survive a power cut.
    pub(crate) fn sync(&mut self) -> Result<(), DiskError> {
        self.file.sync()
    }
}

fn header(slot: &Digest) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(JOURNAL_FORMAT.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(slot.as_bytes());
    bytes
}

fn record(slot: &Digest, (file, row): Written) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    bytes[..4].copy_from_slice(&file.to_le_bytes());
    bytes[4..8].copy_from_slice(&row.to_le_bytes());
    let mut stream = Digest::stream();
    stream.update(slot.as_bytes());
    stream.update(&bytes[..8]);
    bytes[8..].copy_from_slice(&stream.finish().as_bytes()[..8]);
    bytes
}

fn parse(bytes: &[u8], slot: &Digest) -> BTreeSet<Written> {
    let Some(records) = bytes.strip_prefix(header(slot).as_slice()) else {
        return BTreeSet::new();
    };
    debug_assert_eq!(bytes.len() - records.len(), HEADER_BYTES);
    records
        .chunks_exact(RECORD_BYTES)
        .map(|bytes| {
            let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            ((number(0), number(4)), bytes)
        })
        .take_while(|(row, bytes)| record(slot, *row) == **bytes)
        .map(|(row, _)| row)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(slot: &Digest, rows: &[Written]) -> Vec<u8> {
        let mut bytes = header(slot);
        for &row in rows {
            bytes.extend(record(slot, row));
        }
        bytes
    }

    #[test]
    fn a_torn_journal_claims_its_whole_beginning() {
        let slot = Digest::of(b"slot");
        let rows = [(0, 0), (1, 7), (0, 1)];
        let good = bytes(&slot, &rows);
        assert_eq!(good.len(), HEADER_BYTES + 3 * RECORD_BYTES);
        for length in 0..=good.len() {
            let whole = length.saturating_sub(HEADER_BYTES) / RECORD_BYTES;
            assert_eq!(parse(&good[..length], &slot), rows[..whole].iter().copied().collect(), "{length} bytes");
        }
        let torn = [&good[..HEADER_BYTES + RECORD_BYTES + 9], &[0; 23]].concat();
        assert_eq!(parse(&torn, &slot), [(0, 0)].into());
    }

    #[test]
    fn another_slot_or_format_claims_nothing() {
        let (slot, other) = (Digest::of(b"slot"), Digest::of(b"other"));
        assert!(parse(&bytes(&other, &[(0, 0)]), &slot).is_empty());
        let mut newer = bytes(&slot, &[(0, 0)]);
        newer[8] = 2;
        assert!(parse(&newer, &slot).is_empty());
    }

    proptest! {
        #[test]
        fn damage_never_panics_and_never_invents_a_claim(
            changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..5),
            cut in any::<usize>(),
        ) {
            let slot = Digest::of(b"slot");
            let rows: Vec<Written> = (0..20).map(|number| (number % 3, number)).collect();
            let mut bytes = bytes(&slot, &rows);
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            bytes.truncate(cut % (bytes.len() + 1));
            prop_assert!(parse(&bytes, &slot).iter().all(|row| rows.contains(row)));
        }
    }
}
