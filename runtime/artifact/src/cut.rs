//! Cutting a file into chunks.
//!
//! A chunk is bounded twice: 1 MiB plain and 56 KiB stored. How much plain fits depends on how well it compresses,
//! so a cut is searched for. The caller names borders (of tensors), because a cut there lets an update reuse what
//! has not changed: the space between two borders, when it is long, gets chunks of its own, and short ones share.
//! Where a cut falls then depends only on the bytes from the last long tensor's beginning.

use crate::encode::Encoder;
use crate::encoding::Encoding;
use crate::limits::{CHUNK_PLAIN_BYTES_MAX, CHUNK_STORED_BYTES_MAX};

/// A tensor of this many bytes shares no chunk with another.
const ALONE_BYTES_MIN: usize = 16 * 1024;

/// Cuts inside a tensor fall on multiples of this from the chunk's beginning, so that no element is cut.
const CUT_BYTES: usize = 64;

/// A chunk ready to be stored.
pub(crate) struct Cut {
    /// Where it ends in the file.
    pub(crate) end: usize,
    pub(crate) encoding: Encoding,
    pub(crate) stored: Vec<u8>,
}

/// Cuts `bytes` at or between `borders`, which are sorted, unique and inside the file.
pub(crate) fn cut(bytes: &[u8], borders: &[usize], encoder: &mut Encoder) -> std::io::Result<Vec<Cut>> {
    let mut cuts = Vec::new();
    let mut start = 0;
    for group_end in group_ends(bytes.len(), borders) {
        while start < group_end {
            let cut = next_cut(bytes, start, group_end, borders, encoder)?;
            start = cut.end;
            cuts.push(cut);
        }
    }
    Ok(cuts)
}

/// Where chunks must end: around every long tensor.
fn group_ends(bytes: usize, borders: &[usize]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut start = 0;
    for &end in borders.iter().chain([&bytes]) {
        if end - start >= ALONE_BYTES_MIN {
            ends.extend([start, end]);
        }
        start = end;
    }
    ends.push(bytes);
    ends.retain(|&end| end > 0);
    ends.dedup();
    ends
}

/// The longest chunk from `start` that keeps both bounds, as far as the search finds it.
fn next_cut(
    bytes: &[u8],
    start: usize,
    group_end: usize,
    borders: &[usize],
    encoder: &mut Encoder,
) -> std::io::Result<Cut> {
    let mut length = (group_end - start).min(CHUNK_PLAIN_BYTES_MAX);
    loop {
        let end = snap(start, length, group_end, borders);
        let plain = &bytes[start..end];
        // What fits uncompressed fits in any case; a longer chunk is first tried with little effort.
        let fits = plain.len() <= CHUNK_STORED_BYTES_MAX;
        let estimate = if fits { 0 } else { encoder.estimate(plain)? };
        if estimate <= CHUNK_STORED_BYTES_MAX {
            let (encoding, stored) = encoder.smallest(plain)?;
            if stored.len() <= CHUNK_STORED_BYTES_MAX {
                return Ok(Cut { end, encoding, stored });
            }
            length = shorter(plain.len(), stored.len());
        } else {
            length = shorter(plain.len(), estimate);
        }
    }
}

/// The plain length to try after `plain` bytes took `stored`: in proportion and a little less, at least what fits
/// uncompressed. Always shorter than `plain`, which is over that least length, so the search ends.
fn shorter(plain: usize, stored: usize) -> usize {
    let proportional = plain as u64 * CHUNK_STORED_BYTES_MAX as u64 / stored as u64;
    let careful = (proportional - proportional / 32) as usize;
    careful.min(plain - CUT_BYTES).max(CHUNK_STORED_BYTES_MAX)
}

/// The end of a chunk of at most `length` bytes: the last border in its second half, or a multiple of
/// [`CUT_BYTES`] from its start.
fn snap(start: usize, length: usize, group_end: usize, borders: &[usize]) -> usize {
    let end = start + length;
    if end >= group_end {
        return group_end;
    }
    let after = borders.partition_point(|&border| border <= end);
    match borders[..after].last() {
        Some(&border) if border > start + length / 2 => border,
        _ => start + length / CUT_BYTES * CUT_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that no compressor makes smaller, from a fixed seed (xorshift64).
    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .take(bytes)
        .collect()
    }

    fn ends(bytes: &[u8], borders: &[usize]) -> Vec<usize> {
        let cuts = cut(bytes, borders, &mut Encoder::new().unwrap()).unwrap();
        for cut in &cuts {
            assert!(cut.stored.len() <= CHUNK_STORED_BYTES_MAX, "stored {} bytes", cut.stored.len());
        }
        let ends: Vec<usize> = cuts.iter().map(|cut| cut.end).collect();
        let mut start = 0;
        for &end in &ends {
            assert!(end > start && end - start <= CHUNK_PLAIN_BYTES_MAX, "{start} to {end}");
            start = end;
        }
        assert_eq!(start, bytes.len());
        ends
    }

    #[test]
    fn zeros_are_cut_by_the_plain_bound_and_noise_by_the_stored_one() {
        let mib = CHUNK_PLAIN_BYTES_MAX;
        assert_eq!(ends(&vec![0; 2 * mib + 1], &[]), [mib, 2 * mib, 2 * mib + 1]);
        let kib56 = CHUNK_STORED_BYTES_MAX;
        assert_eq!(ends(&noise(2 * kib56 + 1), &[]), [kib56, 2 * kib56, 2 * kib56 + 1]);
        assert_eq!(ends(&[7], &[]), [1]);
    }

    #[test]
    fn long_tensors_stand_alone_and_short_ones_share() {
        let bytes = noise(100_000);
        let borders = [10, 20, 30_000, 30_100, 30_200, 60_000, 99_990];
        assert_eq!(ends(&bytes, &borders), [20, 30_000, 30_200, 60_000, 99_990, 100_000]);
    }

    #[test]
    fn a_change_inside_one_long_tensor_leaves_the_other_chunks_alone() {
        let borders = [200_000, 400_000];
        let old = noise(600_000);
        let mut new = old.clone();
        for byte in &mut new[200_000..400_000] {
            *byte = byte.wrapping_mul(3);
        }
        new[210_000..300_000].fill(0);
        let pieces = |bytes: &[u8]| -> Vec<Vec<u8>> {
            let ends = ends(bytes, &borders);
            let starts = std::iter::once(0).chain(ends.iter().copied());
            starts.zip(&ends).map(|(start, &end)| bytes[start..end].to_vec()).collect()
        };
        let (old, new) = (pieces(&old), pieces(&new));
        let reused = old.iter().filter(|piece| new.contains(piece)).map(Vec::len).sum::<usize>();
        assert_eq!(reused, 400_000);
    }

    #[test]
    fn a_border_in_the_second_half_is_preferred() {
        // All tensors are short, so one group is cut where its bound falls: at a border.
        let bytes = noise(200_000);
        let borders: Vec<usize> = (1..20).map(|number| number * 10_000).collect();
        assert_eq!(ends(&bytes, &borders), [50_000, 100_000, 150_000, 200_000]);
    }

    #[test]
    fn half_compressible_bytes_keep_both_bounds() {
        let mut bytes = noise(700_000);
        for pair in bytes.chunks_exact_mut(2) {
            pair[1] = 0;
        }
        ends(&bytes, &[]);
        let mut patchy = noise(700_000);
        patchy[..300_000].fill(1);
        ends(&patchy, &[]);
    }
}
