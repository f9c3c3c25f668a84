//! Every bit of a small file is held by something.

use proptest::prelude::*;

use crate::fixture::{cask, verify};

#[test]
fn every_flipped_bit_is_refused() {
    let good = cask();
    assert!(verify(&good).is_ok());
    let accepted: Vec<String> = (0..good.len() * 8)
        .filter(|bit| {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            verify(&bytes).is_ok()
        })
        .map(|bit| format!("bit {} of byte {}", bit % 8, bit / 8))
        .collect();
    assert!(accepted.is_empty(), "accepted with a flipped bit: {}", accepted.join(", "));
}

#[test]
fn every_beginning_of_a_file_is_refused() {
    let good = cask();
    let accepted: Vec<usize> = (0..good.len()).filter(|&length| verify(&good[..length]).is_ok()).collect();
    assert!(accepted.is_empty(), "accepted when cut to {accepted:?} bytes");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Bytes changed, removed, inserted and moved: never a panic, never a pass unless nothing changed.
    #[test]
    fn a_mutated_file_never_panics_and_never_passes(
        edits in proptest::collection::vec((0_u8..4, any::<usize>(), any::<usize>(), any::<u8>()), 1..6),
        fix_length in any::<bool>(),
    ) {
        let good = cask();
        let mut bytes = good.clone();
        for (kind, at, other, byte) in edits {
            let (at, other) = (at % bytes.len(), other % bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.swap(at, other),
                2 => bytes.insert(at, byte),
                _ => {
                    let end = (at + other % 40).min(bytes.len() - 1).max(at);
                    bytes.drain(at..end);
                }
            }
        }
        // An attacker repairs the header, so that the mutation reaches deeper.
        if fix_length && bytes.len() > 32 {
            let length = bytes.len() as u64;
            bytes[16..24].copy_from_slice(&length.to_le_bytes());
        }
        prop_assert_eq!(verify(&bytes).is_ok(), bytes == good);
    }

    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(verify(&bytes).is_err());
        let with_magic = [b"\x89CASK\r\n\x1a\x01\0\0\0".as_slice(), &bytes].concat();
        prop_assert!(verify(&with_magic).is_err());
    }
}
