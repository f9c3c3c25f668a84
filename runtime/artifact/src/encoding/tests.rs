use proptest::prelude::*;

use super::*;
use crate::ErrorClass;
use crate::encode::Encoder;

fn row(encoding: Encoding, stored: &[u8], plain: &[u8]) -> ChunkRow {
    ChunkRow {
        stored_bytes: stored.len() as u64,
        stored_digest: Digest::of(stored),
        encoding,
        plain_bytes: plain.len() as u64,
        plain_digest: Digest::of(plain),
    }
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::bulk::Compressor::new(19).unwrap().compress(plain).unwrap()
}

/// A frame that is written as a stream: with a window instead of a single segment.
fn streamed(plain: &[u8], window_log: u32, with_size: bool) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(window_log).unwrap();
    if with_size {
        encoder.set_pledged_src_size(Some(plain.len() as u64)).unwrap();
    }
    encoder.include_contentsize(with_size).unwrap();
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// A frame by hand (RFC 8878 section 3.1.1): its header claims `plain_bytes` and a window of `2^window_log` or, without
/// one, a single segment; it unfolds to `blocks` times 128 KiB of zeros.
fn by_hand(window_log: Option<u8>, plain_bytes: u32, blocks: u32) -> Vec<u8> {
    let mut frame = ZSTD_MAGIC.to_vec();
    match window_log {
        Some(log) => frame.extend([0b1000_0000, (log - 10) << 3]),
        None => frame.push(0b1010_0000),
    }
    frame.extend(plain_bytes.to_le_bytes());
    for number in 1..=blocks {
        let last = u32::from(number == blocks);
        let repeated_byte_block = 1;
        frame.extend(&(last | repeated_byte_block << 1 | (128 * 1024) << 3).to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

#[test]
fn every_encoding_gives_the_bytes_back() {
    let weights: Vec<u8> = (0..5000_u32).flat_map(|number| (number as f32 * 0.001).sin().to_le_bytes()).collect();
    for plain in [vec![1], vec![1, 2, 3, 4, 5, 6, 7], vec![9; CHUNK_PLAIN_BYTES_MAX], weights] {
        let (encoding, stored) = Encoder::new().unwrap().smallest(&plain).unwrap();
        assert!(stored.len() <= plain.len());
        assert_eq!(decode_chunk(&row(encoding, &stored, &plain), &stored).unwrap(), plain);
        let planes = split_planes(&plain);
        assert_eq!(join_planes(&planes), plain);
        let stored = zstd(&planes);
        assert_eq!(decode_chunk(&row(Encoding::PlanesZstd, &stored, &plain), &stored).unwrap(), plain);
    }
}

#[test]
fn the_smallest_encoding_is_taken_and_always_the_same() {
    // Exponents repeat, mantissas do not: made for planes.
    let floats: Vec<u8> = (0..9000_u32)
        .flat_map(|number| f32::from_bits(0x3f80_0000 | number.wrapping_mul(0x9e37_79b9) >> 9).to_le_bytes())
        .collect();
    let words = ["artifact", "fleet", "device", "a", "slot", "sequence", "of", "deployments"];
    let text: Vec<u8> =
        (0..2000_u32).flat_map(|number| words[(number.wrapping_mul(0x9e37_79b9) >> 29) as usize].bytes()).collect();
    let rows = [(vec![1, 2, 3], Encoding::None), (text, Encoding::Zstd), (floats, Encoding::PlanesZstd)];
    for (plain, expected) in rows {
        let first = Encoder::new().unwrap().smallest(&plain).unwrap();
        let mut used = Encoder::new().unwrap();
        used.smallest(&[7; 70_000]).unwrap();
        assert_eq!(used.smallest(&plain).unwrap(), first);
        assert_eq!(first.0, expected);
    }
}

#[test]
fn hostile_chunks_are_refused_by_reason() {
    let plain = vec![5_u8; 200_000];
    let good = zstd(&plain);
    let with = |stored: &[u8]| row(Encoding::Zstd, stored, &plain);
    let mut long = good.clone();
    long.push(0);
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let two = [zstd(&plain[..100_000]), zstd(&plain[100_000..])].concat();
    let mut dictionary = good.clone();
    dictionary[4] |= 1;
    let wide = by_hand(Some(22), 1 << 20, 8);
    let wide_row = ChunkRow { plain_bytes: 1 << 20, ..with(&wide) };
    let huge = by_hand(Some(41), 1 << 20, 8);
    let huge_row = ChunkRow { plain_bytes: 1 << 20, ..with(&huge) };
    let long_plain = by_hand(None, 3 << 20, 24);
    let long_plain_row = ChunkRow { plain_bytes: 3 << 20, ..with(&long_plain) };
    let unsized_frame = streamed(&plain, 17, false);
    let unfolding = by_hand(None, 1 << 20, 14_000);
    let unfolding_row = ChunkRow { plain_bytes: 1 << 20, ..with(&unfolding) };
    let rows: [(&str, ChunkRow, &[u8], Reason); 18] = [
        ("shorter than the row says", with(&good), &good[..good.len() - 1], Reason::StoredDigest),
        ("longer than the row says", with(&good), &long, Reason::StoredDigest),
        ("a bit flipped on the way", with(&good), &flipped, Reason::StoredDigest),
        ("nothing", with(&good), &[], Reason::StoredDigest),
        ("bytes after the frame", with(&long), &long, Reason::ZstdDamaged),
        ("two frames", with(&two), &two, Reason::PlainLength),
        ("half a frame", with(&good[..good.len() - 2]), &good[..good.len() - 2], Reason::ZstdDamaged),
        ("only the magic number", with(&ZSTD_MAGIC), &ZSTD_MAGIC, Reason::ZstdDamaged),
        ("no frame", with(b"no frame"), b"no frame", Reason::ZstdDamaged),
        ("a dictionary", with(&dictionary), &dictionary, Reason::ZstdDamaged),
        ("a window of 4 MiB", wide_row, &wide, Reason::ZstdWindow),
        ("a window of 2 TiB", huge_row, &huge, Reason::ZstdWindow),
        ("more plain than 1 MiB", long_plain_row, &long_plain, Reason::TooLarge),
        ("no content size", with(&unsized_frame), &unsized_frame, Reason::ZstdDamaged),
        ("a bomb of 1.7 GiB", unfolding_row, &unfolding, Reason::ZstdDamaged),
        ("2^60 plain bytes", ChunkRow { plain_bytes: 1 << 60, ..with(&good) }, &good, Reason::TooLarge),
        ("another length", ChunkRow { plain_bytes: 200_001, ..with(&good) }, &good, Reason::PlainLength),
        ("other bytes", ChunkRow { plain_digest: Digest::of(b"x"), ..with(&good) }, &good, Reason::PlainDigest),
    ];
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|(name, row, stored, expected)| {
            let error = decode_chunk(row, stored).expect_err(name);
            let right = error.reason() == expected.code() && error.class() == ErrorClass::NotTrusted;
            (!right).then(|| format!("{name}: {error} instead of {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_frame_with_a_small_window_and_its_size_is_accepted() {
    let plain = vec![5_u8; 300_000];
    let stored = streamed(&plain, 17, true);
    assert_eq!(decode_chunk(&row(Encoding::Zstd, &stored, &plain), &stored).unwrap(), plain);
    let zeros = vec![0; 1 << 20];
    for window_log in [None, Some(20)] {
        let stored = by_hand(window_log, 1 << 20, 8);
        assert_eq!(decode_chunk(&row(Encoding::Zstd, &stored, &zeros), &stored).unwrap(), zeros);
    }
}

#[test]
fn stored_bytes_as_they_are_must_have_the_plain_length() {
    let stored = b"abc";
    let lying = ChunkRow { plain_bytes: 4, ..row(Encoding::None, stored, stored) };
    assert_eq!(decode_chunk(&lying, stored).unwrap_err().reason(), "plain-length-mismatch");
    let planes = zstd(b"abcdefgh");
    let as_zstd = row(Encoding::Zstd, &planes, b"abcdefgh");
    let as_planes = ChunkRow { encoding: Encoding::PlanesZstd, ..as_zstd };
    assert!(decode_chunk(&as_zstd, &planes).is_ok());
    assert_eq!(decode_chunk(&as_planes, &planes).unwrap_err().reason(), "plain-digest-mismatch");
}

proptest! {
    #[test]
    fn planes_go_both_ways(plain in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(join_planes(&split_planes(&plain)), plain);
    }

    #[test]
    fn a_hostile_frame_never_panics_and_never_passes(
        mut stored in proptest::collection::vec(any::<u8>(), 0..300),
        plain_bytes in 0_u64..3_000_000,
        planes in any::<bool>(),
    ) {
        stored.splice(0..0, ZSTD_MAGIC);
        let encoding = if planes { Encoding::PlanesZstd } else { Encoding::Zstd };
        let row = ChunkRow { plain_bytes, ..row(encoding, &stored, b"") };
        prop_assert!(decode_chunk(&row, &stored).is_err());
    }

    #[test]
    fn a_damaged_frame_is_refused_even_where_the_stored_digest_agrees(at in 0_usize..1000, bit in 0_u32..8) {
        let plain: Vec<u8> = (0..4000_u32).map(|number| (number * number / 7) as u8).collect();
        let mut stored = zstd(&plain);
        let at = at % stored.len();
        stored[at] ^= 1 << bit;
        let row = row(Encoding::Zstd, &stored, &plain);
        // A flip in a frame may be without effect (an unused bit); other bytes must never come out.
        if let Ok(found) = decode_chunk(&row, &stored) {
            prop_assert_eq!(found, plain);
        }
    }
}
