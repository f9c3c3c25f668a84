//! The encodings of a chunk, and the only decompressor of the project.
//!
//! | name | stored bytes |
//! |---|---|
//! | `none` | the plain bytes |
//! | `zstd` | one zstd frame with its content size, a window of at most 1 MiB and no dictionary, nothing after it |
//! | `planes+zstd` | the same over the plain bytes sorted by their position modulo 4: all bytes at 0, 4, 8 .., then 1, 5, 9 .., then 2, then 3; the last `length mod 4` bytes stay at the end |
//!
//! The planes gather the exponents of `f32`, `f16` and `bf16` weights, which compress, apart from the mantissas,
//! which do not.
//!
//! Never here: a decoder without a cap. The plain length is known from the index before decompression starts.

use runtime_trust::Digest;
use zstd::zstd_safe;

use crate::index::ChunkRow;
use crate::limits::{CHUNK_PLAIN_BYTES_MAX, CHUNK_STORED_BYTES_MAX, ZSTD_WINDOW_LOG_MAX};
use crate::{ArtifactError, Reason};

/// Bytes of an element whose planes are gathered.
const PLANES: usize = 4;

/// zstd's own magic number, RFC 8878 section 3.1.1.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How a chunk is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// As it is.
    None,
    /// One zstd frame.
    Zstd,
    /// One zstd frame over four byte planes.
    PlanesZstd,
}

impl Encoding {
    /// Every encoding of this version, the preferred one first when two are equally small.
    pub const ALL: [Self; 3] = [Self::None, Self::Zstd, Self::PlanesZstd];

    /// The name in an index.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zstd => "zstd",
            Self::PlanesZstd => "planes+zstd",
        }
    }

    /// The encoding with this name; `None` for one that this version does not have.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|encoding| encoding.name() == name)
    }
}

/// Turns a chunk as it came into the bytes of the file, or says why not.
///
/// The device's check of every chunk, whatever carried it: stored length and digest, then decompression capped at
/// the plain length, then plain length and digest. Takes at most a few MiB of memory whatever `stored` holds.
pub fn decode_chunk(row: &ChunkRow, stored: &[u8]) -> Result<Vec<u8>, ArtifactError> {
    check_stored(stored, row.stored_digest, row.stored_bytes)?;
    let plain_bytes = usize::try_from(row.plain_bytes)
        .ok()
        .filter(|&bytes| bytes <= CHUNK_PLAIN_BYTES_MAX)
        .ok_or_else(|| refused(Reason::TooLarge, row.plain_bytes, CHUNK_PLAIN_BYTES_MAX as u64))?;
    let plain = match row.encoding {
        Encoding::None => stored.to_vec(),
        Encoding::Zstd => decompress(stored, plain_bytes)?,
        Encoding::PlanesZstd => join_planes(&decompress(stored, plain_bytes)?),
    };
    if plain.len() != plain_bytes {
        return Err(refused(Reason::PlainLength, plain.len() as u64, row.plain_bytes));
    }
    let found = Digest::of(&plain);
    if found != row.plain_digest {
        return Err(ArtifactError::refused(
            Reason::PlainDigest,
            "the decompressed chunk",
            found.to_string(),
            row.plain_digest.to_string(),
        ));
    }
    Ok(plain)
}

/// Checks length and digest of an object as it came, chunk or index part, without looking inside.
pub fn check_stored(stored: &[u8], digest: Digest, bytes: u64) -> Result<(), ArtifactError> {
    let refused = |found: String, expected: String| {
        Err(ArtifactError::refused(Reason::StoredDigest, "the bytes as they came", found, expected))
    };
    // The digest would tell, too, but the length says more.
    if stored.len() as u64 != bytes || stored.len() > CHUNK_STORED_BYTES_MAX {
        return refused(format!("{} bytes", stored.len()), bytes.min(CHUNK_STORED_BYTES_MAX as u64).to_string());
    }
    let found = Digest::of(stored);
    if found != digest { refused(found.to_string(), digest.to_string()) } else { Ok(()) }
}

fn refused(reason: Reason, found: u64, expected: u64) -> ArtifactError {
    ArtifactError::refused(reason, "the decompressed chunk", format!("{found} bytes"), format!("{expected}"))
}

fn damaged(found: impl Into<String>) -> ArtifactError {
    ArtifactError::refused(Reason::ZstdDamaged, "the compressed chunk", found, "one whole zstd frame")
}

/// Decompresses exactly one frame into at most `plain_bytes` bytes.
fn decompress(stored: &[u8], plain_bytes: usize) -> Result<Vec<u8>, ArtifactError> {
    check_frame(stored, plain_bytes as u64)?;
    let mut context = zstd_safe::DCtx::try_create().ok_or_else(|| damaged("no memory for a decoder"))?;
    context
        .set_parameter(zstd_safe::DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))
        .map_err(|code| damaged(zstd_safe::get_error_name(code)))?;
    let mut plain = vec![0; plain_bytes];
    let mut output = zstd_safe::OutBuffer::around(plain.as_mut_slice());
    let mut input = zstd_safe::InBuffer::around(stored);
    // Every call takes input or gives output, or the loop ends: it is as short as the longer of the two.
    loop {
        let before = (input.pos(), output.pos());
        let wanted = context
            .decompress_stream(&mut output, &mut input)
            .map_err(|code| damaged(zstd_safe::get_error_name(code)))?;
        if wanted == 0 {
            break;
        }
        if before == (input.pos(), output.pos()) {
            let full = output.pos() == plain_bytes;
            return Err(if full {
                ArtifactError::refused(
                    Reason::PlainLength,
                    "the compressed chunk",
                    format!("more than {plain_bytes} bytes inside"),
                    format!("{plain_bytes}"),
                )
            } else {
                damaged("an unfinished frame")
            });
        }
    }
    if input.pos() != stored.len() {
        return Err(damaged(format!("{} bytes after the frame", stored.len() - input.pos())));
    }
    let written = output.pos();
    plain.truncate(written);
    Ok(plain)
}

/// Reads the frame's header by hand (RFC 8878 section 3.1.1.1) for the rules that the decoder does not hold:
/// it decodes a frame with a huge window when the output happens to be at hand in one piece.
fn check_frame(stored: &[u8], plain_bytes: u64) -> Result<(), ArtifactError> {
    let header = stored.strip_prefix(&ZSTD_MAGIC).ok_or_else(|| damaged("no zstd magic number"))?;
    let (&descriptor, rest) = header.split_first().ok_or_else(|| damaged("the end of the header"))?;
    if descriptor & 0b11 != 0 {
        return Err(damaged("a frame that needs a dictionary"));
    }
    if descriptor & 0b1000 != 0 {
        return Err(damaged("a reserved bit that is set"));
    }
    let single_segment = descriptor & 0b10_0000 != 0;
    let rest = if single_segment {
        rest
    } else {
        let (&window, rest) = rest.split_first().ok_or_else(|| damaged("the end of the header"))?;
        let base = 1_u64 << (10 + u32::from(window >> 3));
        let bytes = base + base / 8 * u64::from(window & 0b111);
        if bytes > 1 << ZSTD_WINDOW_LOG_MAX {
            let expected = format!("at most {}", 1_u64 << ZSTD_WINDOW_LOG_MAX);
            let found = format!("a window of {bytes} bytes");
            return Err(ArtifactError::refused(Reason::ZstdWindow, "the compressed chunk", found, expected));
        }
        rest
    };
    let content_bytes = match (descriptor >> 6, single_segment) {
        (0, true) => rest.first().map(|&byte| u64::from(byte)),
        (0, false) => return Err(damaged("a frame that does not say its content size")),
        (1, _) => rest.first_chunk().map(|&bytes| u64::from(u16::from_le_bytes(bytes)) + 256),
        (2, _) => rest.first_chunk().map(|&bytes| u64::from(u32::from_le_bytes(bytes))),
        _ => rest.first_chunk().map(|&bytes| u64::from_le_bytes(bytes)),
    };
    let content_bytes = content_bytes.ok_or_else(|| damaged("the end of the header"))?;
    if content_bytes != plain_bytes {
        return Err(ArtifactError::refused(
            Reason::PlainLength,
            "the compressed chunk",
            format!("a frame of {content_bytes} bytes"),
            format!("{plain_bytes}"),
        ));
    }
    Ok(())
}

/// Gathers the bytes of each plane.
pub(crate) fn split_planes(plain: &[u8]) -> Vec<u8> {
    let whole = plain.len() / PLANES * PLANES;
    let mut planes = Vec::with_capacity(plain.len());
    for plane in 0..PLANES {
        planes.extend(plain[..whole].iter().skip(plane).step_by(PLANES));
    }
    planes.extend_from_slice(&plain[whole..]);
    planes
}

/// The inverse of [`split_planes`].
fn join_planes(planes: &[u8]) -> Vec<u8> {
    let elements = planes.len() / PLANES;
    let mut plain = Vec::with_capacity(planes.len());
    for element in 0..elements {
        plain.extend((0..PLANES).map(|plane| planes[plane * elements + element]));
    }
    plain.extend_from_slice(&planes[elements * PLANES..]);
    plain
}

#[cfg(test)]
mod tests;
