//! The index: how one file is cut into chunks.
//!
//! A file's index is cut into parts of at most [`INDEX_PART_BYTES_MAX`] bytes, whose lengths and digests stand in
//! the manifest; each part can be read alone. One part, integers little-endian:
//!
//! ```text
//!   offset  bytes
//!        0      4  "CIDX"
//!        4      2  format of the index: 1
//!        6      1  number of encodings E, 1 to 8
//!        7      1  reserved, zero
//!        8      4  number of rows R, at least 1
//!       12      .  E names of encodings: one byte with the length (1 to 24), then as many of a-z 0-9 + -
//!        .   76 R  rows:  0  4  stored bytes, 1 to 57344
//!                         4  4  plain bytes, 1 to 1048576
//!                         8  1  encoding, its position in the list of names
//!                         9  3  reserved, zero
//!                        12 32  SHA-256 of the stored bytes
//!                        44 32  SHA-256 of the plain bytes
//! ```
//!
//! Encodings stand by name so that a reader can name the one that it does not have.

use runtime_trust::{DIGEST_BYTES, Digest};

use crate::encoding::Encoding;
use crate::error::shown;
use crate::limits::{CHUNK_PLAIN_BYTES_MAX, CHUNK_STORED_BYTES_MAX, INDEX_PART_BYTES_MAX};
use crate::{ArtifactError, Reason};

const MAGIC: [u8; 4] = *b"CIDX";
const INDEX_FORMAT: u16 = 1;
const HEADER_BYTES: usize = 12;
const ROW_BYTES: usize = 76;
const ENCODINGS_MAX: usize = 8;
const ENCODING_NAME_BYTES_MAX: usize = 24;

/// Rows that one part can hold at most.
pub(crate) const ROWS_PER_PART_MAX: usize = (INDEX_PART_BYTES_MAX - HEADER_BYTES) / ROW_BYTES;

/// One chunk of a file: `plain_bytes` bytes of the file, right after those of the row before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkRow {
    /// Length as stored and sent, in bytes; at most [`CHUNK_STORED_BYTES_MAX`].
    pub stored_bytes: u64,
    /// Digest of the stored bytes, checked before decompression; the name under which a chunk is asked for.
    pub stored_digest: Digest,
    /// How the stored bytes become the plain ones.
    pub encoding: Encoding,
    /// Length in the file, in bytes; at most [`CHUNK_PLAIN_BYTES_MAX`].
    pub plain_bytes: u64,
    /// Digest of the plain bytes, checked after decompression; the name under which a device finds a chunk again.
    pub plain_digest: Digest,
}

/// The chunks of one file, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Index {
    /// The rows of all parts.
    pub rows: Vec<ChunkRow>,
}

impl Index {
    /// Cuts the index into parts as they are stored and sent.
    pub(crate) fn to_parts(&self) -> Vec<Vec<u8>> {
        let names: usize = Encoding::ALL.iter().map(|encoding| 1 + encoding.name().len()).sum();
        let rows_max = (INDEX_PART_BYTES_MAX - HEADER_BYTES - names) / ROW_BYTES;
        self.rows.chunks(rows_max).map(encode_part).collect()
    }

    /// Length of the plain file that the rows describe, in bytes.
    pub fn plain_bytes(&self) -> u64 {
        self.rows.iter().map(|row| row.plain_bytes).sum()
    }

    /// Bytes that travel for the whole file.
    pub fn stored_bytes(&self) -> u64 {
        self.rows.iter().map(|row| row.stored_bytes).sum()
    }
}

/// Writes one part; the rows are within the limits.
fn encode_part(rows: &[ChunkRow]) -> Vec<u8> {
    let used: Vec<Encoding> =
        Encoding::ALL.into_iter().filter(|encoding| rows.iter().any(|row| row.encoding == *encoding)).collect();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + rows.len() * ROW_BYTES);
    bytes.extend(MAGIC);
    bytes.extend(INDEX_FORMAT.to_le_bytes());
    bytes.extend([used.len() as u8, 0]);
    bytes.extend((rows.len() as u32).to_le_bytes());
    for encoding in &used {
        bytes.push(encoding.name().len() as u8);
        bytes.extend(encoding.name().as_bytes());
    }
    for row in rows {
        let position = used.iter().position(|encoding| *encoding == row.encoding).expect("it was collected above");
        bytes.extend((row.stored_bytes as u32).to_le_bytes());
        bytes.extend((row.plain_bytes as u32).to_le_bytes());
        bytes.extend([position as u8, 0, 0, 0]);
        bytes.extend(row.stored_digest.as_bytes());
        bytes.extend(row.plain_digest.as_bytes());
    }
    bytes
}

/// Reads one part of an index. The caller has checked its digest; every rule is checked all the same.
pub fn parse_index_part(bytes: &[u8]) -> Result<Vec<ChunkRow>, ArtifactError> {
    parse_part(bytes).map_err(|error| error.within(|| "the index part".to_owned()))
}

/// [`parse_index_part`] for a caller that says which part it was.
pub(crate) fn parse_part(bytes: &[u8]) -> Result<Vec<ChunkRow>, ArtifactError> {
    if bytes.len() > INDEX_PART_BYTES_MAX {
        let found = format!("{} bytes", bytes.len());
        return Err(ArtifactError::refused(
            Reason::TooLarge,
            "the index part",
            found,
            INDEX_PART_BYTES_MAX.to_string(),
        ));
    }
    let Some((header, mut rest)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(malformed("the header", format!("{} bytes", bytes.len()), format!("{HEADER_BYTES}")));
    };
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if header[..4] != MAGIC {
        return Err(malformed("the header", format!("{:02x?}", &header[..4]), format!("{MAGIC:02x?}")));
    }
    let format = u16::from_le_bytes([header[4], header[5]]);
    if format != INDEX_FORMAT {
        let (found, expected) = (format!("index format {format}"), format!("index format {INDEX_FORMAT}"));
        return Err(ArtifactError::refused(Reason::UnknownFormat, "the header", found, expected));
    }
    if header[7] != 0 {
        let found = format!("{}", header[7]);
        return Err(ArtifactError::refused(Reason::ReservedNotZero, "byte 7", found, "0"));
    }
    let encodings = parse_encodings(header[6], &mut rest)?;
    let rows = number(8) as usize;
    // The count is compared with what is there before anything is reserved for it.
    if rows == 0 || rows.checked_mul(ROW_BYTES) != Some(rest.len()) {
        let found = format!("{rows} rows in {} bytes", rest.len());
        return Err(malformed("the rows", found, format!("at least 1 row of {ROW_BYTES} bytes each")));
    }
    rest.chunks_exact(ROW_BYTES).enumerate().map(|(number, row)| parse_row(number, row, &encodings)).collect()
}

fn parse_encodings(count: u8, rest: &mut &[u8]) -> Result<Vec<Encoding>, ArtifactError> {
    let count = usize::from(count);
    if count == 0 || count > ENCODINGS_MAX {
        return Err(malformed("the list of encodings", format!("{count} names"), format!("1 to {ENCODINGS_MAX}")));
    }
    let mut encodings = Vec::with_capacity(count);
    for _ in 0..count {
        let (&length, after) = rest.split_first().ok_or_else(|| {
            malformed("the list of encodings", "the end of the index part".into(), "another name".into())
        })?;
        let length = usize::from(length);
        let Some((name, after)) = after.split_at_checked(length).filter(|_| length <= ENCODING_NAME_BYTES_MAX) else {
            let expected = format!("at most {ENCODING_NAME_BYTES_MAX} bytes, all inside the index part");
            return Err(malformed("the list of encodings", format!("a name of {length} bytes"), expected));
        };
        *rest = after;
        let name = String::from_utf8_lossy(name);
        let Some(encoding) = Encoding::from_name(&name) else {
            let known: Vec<&str> = Encoding::ALL.iter().map(|encoding| encoding.name()).collect();
            return Err(ArtifactError::refused(
                Reason::UnknownEncoding,
                "the list of encodings",
                format!("the encoding {}", shown(&name)),
                known.join(", "),
            ));
        };
        if encodings.contains(&encoding) {
            return Err(malformed("the list of encodings", format!("{} twice", encoding.name()), "each once".into()));
        }
        encodings.push(encoding);
    }
    Ok(encodings)
}

fn parse_row(number: usize, row: &[u8], encodings: &[Encoding]) -> Result<ChunkRow, ArtifactError> {
    let place = || format!("row {number}");
    let length = |at: usize, what: &str, max: usize| {
        let found = u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
        if found == 0 || found as usize > max {
            let found = format!("{found} {what} bytes");
            return Err(ArtifactError::refused(Reason::TooLarge, place(), found, format!("1 to {max}")));
        }
        Ok(u64::from(found))
    };
    let digest = |at: usize| {
        let mut bytes = [0; DIGEST_BYTES];
        bytes.copy_from_slice(&row[at..at + DIGEST_BYTES]);
        Digest::from_bytes(bytes)
    };
    let stored_bytes = length(0, "stored", CHUNK_STORED_BYTES_MAX)?;
    let plain_bytes = length(4, "plain", CHUNK_PLAIN_BYTES_MAX)?;
    let Some(&encoding) = encodings.get(usize::from(row[8])) else {
        let found = format!("encoding number {}", row[8]);
        return Err(malformed(&place(), found, format!("below {}", encodings.len())));
    };
    if row[9..12] != [0; 3] {
        let found = format!("{:02x?}", &row[9..12]);
        return Err(ArtifactError::refused(Reason::ReservedNotZero, place(), found, "zeros in bytes 9 to 11"));
    }
    Ok(ChunkRow { stored_bytes, stored_digest: digest(12), encoding, plain_bytes, plain_digest: digest(44) })
}

fn malformed(place: &str, found: String, expected: String) -> ArtifactError {
    ArtifactError::refused(Reason::IndexMalformed, place, found, expected)
}

#[cfg(test)]
mod tests;
