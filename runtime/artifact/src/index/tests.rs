use proptest::prelude::*;

use super::*;

fn row(number: u64) -> ChunkRow {
    ChunkRow {
        stored_bytes: 1 + number % CHUNK_STORED_BYTES_MAX as u64,
        stored_digest: Digest::of(&number.to_le_bytes()),
        encoding: Encoding::ALL[number as usize % 3],
        plain_bytes: 1 + number % CHUNK_PLAIN_BYTES_MAX as u64,
        plain_digest: Digest::of(&number.to_be_bytes()),
    }
}

fn index(rows: u64) -> Index {
    Index { rows: (0..rows).map(row).collect() }
}

#[test]
fn an_index_over_56_kib_is_cut_into_parts() {
    for rows in [1, 754, 755, 2000] {
        let index = index(rows);
        let parts = index.to_parts();
        assert!(parts.iter().all(|part| part.len() <= INDEX_PART_BYTES_MAX), "{rows} rows");
        assert_eq!(parts.len() as u64, rows.div_ceil(754), "{rows} rows");
        let read: Vec<ChunkRow> = parts.iter().flat_map(|part| parse_index_part(part).unwrap()).collect();
        assert_eq!(read, index.rows);
    }
    assert!(Index::default().to_parts().is_empty());
}

#[test]
fn lengths_add_up() {
    let index = index(10);
    assert_eq!((index.plain_bytes(), index.stored_bytes()), (55, 55));
}

#[test]
fn hostile_parts_are_refused_by_reason() {
    let good = index(3).to_parts().remove(0);
    let names = 1 + 4 + 1 + 4 + 1 + 11;
    let first_row = HEADER_BYTES + names;
    let with = |changes: &[(usize, &[u8])]| {
        let mut bytes = good.clone();
        for (at, new) in changes {
            bytes[*at..*at + new.len()].copy_from_slice(new);
        }
        bytes
    };
    let mut trailing = good.clone();
    trailing.push(0);
    let no_rows = [&good[..8], &[0; 4], &good[12..first_row]].concat();
    let none_twice = [&good[..6], &[2, 0], &good[8..12], b"\x04none\x04none", &good[first_row..]].concat();
    let one_over = [&good[..6], &[255, 0], &good[8..]].concat();
    let rows: [(&str, Vec<u8>, Reason); 21] = [
        ("nothing", vec![], Reason::IndexMalformed),
        ("half a header", good[..11].to_vec(), Reason::IndexMalformed),
        ("no names", good[..12].to_vec(), Reason::IndexMalformed),
        ("half a name", good[..14].to_vec(), Reason::IndexMalformed),
        ("half a row", good[..good.len() - 1].to_vec(), Reason::IndexMalformed),
        ("a byte behind", trailing, Reason::IndexMalformed),
        ("another magic number", with(&[(0, b"X")]), Reason::IndexMalformed),
        ("a newer format", with(&[(4, &[2])]), Reason::UnknownFormat),
        ("reserved byte in the header", with(&[(7, &[1])]), Reason::ReservedNotZero),
        ("reserved byte in a row", with(&[(first_row + 11, &[1])]), Reason::ReservedNotZero),
        ("no rows", no_rows, Reason::IndexMalformed),
        ("2^32 rows", with(&[(8, &[255; 4])]), Reason::IndexMalformed),
        ("no encodings", with(&[(6, &[0])]), Reason::IndexMalformed),
        ("too many encodings", one_over, Reason::IndexMalformed),
        ("a name over its limit", with(&[(12, &[25])]), Reason::IndexMalformed),
        ("an encoding twice", none_twice, Reason::IndexMalformed),
        ("an unknown encoding", with(&[(13, b"lzma")]), Reason::UnknownEncoding),
        ("an encoding number over the list", with(&[(first_row + 8, &[3])]), Reason::IndexMalformed),
        ("0 stored bytes", with(&[(first_row, &[0; 4])]), Reason::TooLarge),
        ("too many stored bytes", with(&[(first_row, &57_345_u32.to_le_bytes())]), Reason::TooLarge),
        ("too many plain bytes", with(&[(first_row + 4, &[255; 4])]), Reason::TooLarge),
    ];
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|(name, bytes, expected)| {
            let found = parse_index_part(bytes).err().map(|error| error.reason());
            (found != Some(expected.code())).then(|| format!("{name}: {found:?} instead of {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(parse_index_part(&vec![0; INDEX_PART_BYTES_MAX + 1]).unwrap_err().reason(), "too-large");
}

#[test]
fn an_unknown_encoding_is_refused_by_its_name() {
    let mut bytes = index(1).to_parts().remove(0);
    bytes[13..17].copy_from_slice(b"lzma");
    assert_eq!(
        parse_index_part(&bytes).unwrap_err().to_string(),
        "accept the list of encodings of the index part: found the encoding \"lzma\", \
         expected none, zstd, planes+zstd; use a newer version of this program"
    );
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse_index_part(&bytes);
    }

    /// A damaged part is refused, or reads as rows that mean something else: it never panics, and what it reads
    /// keeps the limits.
    #[test]
    fn a_damaged_part_keeps_the_limits(
        rows in 1_u64..6,
        flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        cut in 0_usize..40,
    ) {
        let mut bytes = index(rows).to_parts().remove(0);
        for (at, byte) in flips {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut.saturating_sub(20));
        if let Ok(rows) = parse_index_part(&bytes) {
            for row in rows {
                prop_assert!((1..=CHUNK_STORED_BYTES_MAX as u64).contains(&row.stored_bytes));
                prop_assert!((1..=CHUNK_PLAIN_BYTES_MAX as u64).contains(&row.plain_bytes));
            }
        }
    }
}
