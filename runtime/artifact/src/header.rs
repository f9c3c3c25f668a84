//! The first 32 bytes of a `.cask`. Layout: crate documentation.

use crate::limits::{ENVELOPE_BYTES_MAX, FORMAT};
use crate::{ArtifactError, Reason};

/// Bytes before the envelope.
pub(crate) const HEADER_BYTES: usize = 32;

/// The first byte has its high bit set and the last four change in text mode transfers, as in PNG.
const MAGIC: [u8; 8] = *b"\x89CASK\r\n\x1a";

const PLACE: &str = "the header";

/// What the header says, checked against the real length of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Length of the envelope, in bytes.
    pub(crate) envelope_bytes: usize,
    /// Length of the whole file, in bytes.
    pub(crate) file_bytes: u64,
}

impl Header {
    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&(self.envelope_bytes as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.file_bytes.to_le_bytes());
        bytes
    }

    /// Reads the first bytes of a file (all of it when it is shorter than a header) that is `file_bytes` long.
    pub(crate) fn parse(start: &[u8], file_bytes: u64) -> Result<Self, ArtifactError> {
        let refused = |reason, found: String, expected: String| ArtifactError::refused(reason, PLACE, found, expected);
        let compared = start.len().min(MAGIC.len());
        if compared == 0 || start[..compared] != MAGIC[..compared] {
            let found = format!("{:02x?}", &start[..compared]);
            return Err(refused(Reason::NotACask, found, format!("{MAGIC:02x?}, the beginning of every .cask file")));
        }
        let truncated = || refused(Reason::Truncated, format!("{file_bytes} bytes"), format!("{HEADER_BYTES}"));
        let header: &[u8; HEADER_BYTES] = start.first_chunk().ok_or_else(truncated)?;
        let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        // The format before all that follows it: a newer one may mean anything by the rest.
        let format = u32_at(8);
        if format != FORMAT {
            return Err(refused(Reason::UnknownFormat, format!("format {format}"), format!("format {FORMAT}")));
        }
        if header[24..] != [0; 8] {
            return Err(refused(
                Reason::ReservedNotZero,
                format!("{:02x?}", &header[24..]),
                "zeros from byte 24".into(),
            ));
        }
        let claimed = u64::from(u32_at(16)) | u64::from(u32_at(20)) << 32;
        if claimed != file_bytes {
            let reason = if claimed > file_bytes { Reason::Truncated } else { Reason::TrailingBytes };
            return Err(refused(reason, format!("a file of {file_bytes} bytes"), format!("{claimed}, as it says")));
        }
        let envelope_bytes = u32_at(12) as usize;
        if envelope_bytes == 0 || envelope_bytes > ENVELOPE_BYTES_MAX {
            let found = format!("an envelope of {envelope_bytes} bytes");
            return Err(refused(Reason::TooLarge, found, format!("1 to {ENVELOPE_BYTES_MAX}")));
        }
        if (HEADER_BYTES + envelope_bytes) as u64 > file_bytes {
            let found = format!("an envelope of {envelope_bytes} bytes in a file of {file_bytes}");
            return Err(refused(Reason::Truncated, found, "room for all of it".into()));
        }
        Ok(Self { envelope_bytes, file_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Header = Header { envelope_bytes: 100, file_bytes: 200 };

    fn changed(at: usize, byte: u8) -> Vec<u8> {
        let mut bytes = GOOD.to_bytes().to_vec();
        bytes[at] = byte;
        bytes
    }

    #[test]
    fn reads_what_it_writes() {
        assert_eq!(Header::parse(&GOOD.to_bytes(), 200).unwrap(), GOOD);
    }

    #[test]
    fn refuses_by_reason() {
        let good = GOOD.to_bytes();
        let large = Header { envelope_bytes: 100, file_bytes: 1 << 60 };
        let rows: [(&str, Vec<u8>, u64, Reason); 14] = [
            ("an empty file", vec![], 0, Reason::NotACask),
            ("text", b"hello, world".to_vec(), 12, Reason::NotACask),
            ("line endings changed", b"\x89CASK\n\x1a".to_vec(), 7, Reason::NotACask),
            ("one byte", good[..1].to_vec(), 1, Reason::Truncated),
            ("one byte less than a header", good[..31].to_vec(), 31, Reason::Truncated),
            ("a newer format", changed(8, 2), 200, Reason::UnknownFormat),
            ("a much newer format", changed(11, 1), 200, Reason::UnknownFormat),
            ("reserved", changed(24, 1), 200, Reason::ReservedNotZero),
            ("reserved at the end", changed(31, 0x80), 200, Reason::ReservedNotZero),
            ("cut in the middle", good.to_vec(), 199, Reason::Truncated),
            ("something behind", good.to_vec(), 201, Reason::TrailingBytes),
            ("2^60 bytes", large.to_bytes().to_vec(), 200, Reason::Truncated),
            ("no envelope", changed(12, 0), 200, Reason::TooLarge),
            ("an envelope over the end", changed(12, 169), 200, Reason::Truncated),
        ];
        let wrong: Vec<String> = rows
            .iter()
            .filter_map(|(name, bytes, length, expected)| {
                let found = Header::parse(bytes, *length).err().map(|error| error.reason());
                (found != Some(expected.code())).then(|| format!("{name}: {found:?} instead of {expected:?}"))
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
