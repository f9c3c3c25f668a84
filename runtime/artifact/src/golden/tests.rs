use proptest::prelude::*;

use super::*;

fn named(name: &str, tensor: Tensor) -> NamedTensor {
    (name.to_owned(), tensor)
}

fn set() -> GoldenSet {
    let case = |first: f32| GoldenCase {
        inputs: vec![
            named("x", Tensor::from_f32(vec![1, 2], vec![first, f32::NAN]).unwrap()),
            named("mask", Tensor::from_bool(vec![3], vec![true, false, true]).unwrap()),
        ],
        outputs: vec![named("y", Tensor::from_i64(vec![], vec![-7]).unwrap())],
    };
    GoldenSet { cases: vec![case(0.5), case(-0.0)] }
}

#[test]
fn reads_what_it_writes() {
    let bytes = set().encode().unwrap();
    assert_eq!(GoldenSet::decode(&bytes).unwrap(), set());
}

#[test]
fn the_layout_is_the_documented_one() {
    let one = GoldenSet {
        cases: vec![GoldenCase {
            inputs: vec![named("x", Tensor::from_u8(vec![2], vec![8, 9]).unwrap())],
            outputs: vec![named("y", Tensor::from_i8(vec![], vec![-1]).unwrap())],
        }],
    };
    let expected = [
        b"CGLD\x01\0\0\0\x01\0\0\0".as_slice(),
        b"\x01\0\x01\0",
        b"\x01\0x\x02\x01\x02\0\0\0\0\0\0\0\x08\x09",
        b"\x01\0y\x03\0\xff",
    ]
    .concat();
    assert_eq!(one.encode().unwrap(), expected);
}

#[test]
fn hostile_sets_are_refused_by_reason() {
    let good = set().encode().unwrap();
    let with = |at: usize, new: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        bytes
    };
    let trailing = [good.as_slice(), &[0]].concat();
    // Header 12, counts 4, then "x": name 3, element and rank 2, two sizes 16, elements 8; then "mask".
    let (rank, size, mask_value) = (20, 21, 12 + 4 + 3 + 2 + 16 + 8 + 6 + 2 + 8);
    let rows: [(&str, Vec<u8>, Reason); 16] = [
        ("nothing", vec![], Reason::GoldenMalformed),
        ("another magic number", with(0, b"X"), Reason::GoldenMalformed),
        ("a newer format", with(4, &[2]), Reason::UnknownFormat),
        ("reserved", with(7, &[1]), Reason::ReservedNotZero),
        ("no cases", with(8, &[0]), Reason::GoldenMalformed),
        ("a case more than there is", with(8, &[3]), Reason::GoldenMalformed),
        ("2^32 cases", with(8, &[255; 4]), Reason::GoldenMalformed),
        ("no inputs", with(12, &[0]), Reason::GoldenMalformed),
        ("65535 outputs", with(14, &[255; 2]), Reason::GoldenMalformed),
        ("a name that is not UTF-8", with(18, &[0xff]), Reason::GoldenMalformed),
        ("an unknown element", with(19, &[8]), Reason::UnknownElement),
        ("17 axes", with(rank, &[17]), Reason::GoldenMalformed),
        ("2^60 elements", with(size + 7, &[0x10]), Reason::GoldenMalformed),
        ("an axis of size 0", with(size, &[0]), Reason::GoldenMalformed),
        ("a bool of 2", with(mask_value, &[2]), Reason::GoldenMalformed),
        ("a byte behind", trailing, Reason::TrailingBytes),
    ];
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|(name, bytes, expected)| {
            let found = GoldenSet::decode(bytes).err().map(|error| error.reason());
            (found != Some(expected.code())).then(|| format!("{name}: {found:?} instead of {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for length in 0..good.len() {
        assert!(GoldenSet::decode(&good[..length]).is_err(), "the first {length} bytes were accepted");
    }
    assert_eq!(GoldenSet::decode(&vec![0; GOLDEN_BYTES_MAX + 1]).unwrap_err().reason(), "too-large");
}

#[test]
fn many_tiny_tensors_are_refused() {
    let tiny = || Tensor::from_u8(vec![], vec![0]).unwrap();
    let side: Vec<NamedTensor> = (0..TENSORS_MAX).map(|number| named(&number.to_string(), tiny())).collect();
    let case = GoldenCase { inputs: side.clone(), outputs: side };
    let cases = vec![case; SET_TENSORS_MAX / (2 * TENSORS_MAX) + 1];
    let error = GoldenSet { cases: cases.clone() }.encode().unwrap_err();
    assert_eq!(error.reason(), "malformed-golden-set");
    let fitting = GoldenSet { cases: cases[1..].to_vec() }.encode().unwrap();
    // One case more than the limit allows, written by hand.
    let mut more = fitting.clone();
    more[8..12].copy_from_slice(&(cases.len() as u32).to_le_bytes());
    let case_bytes = (fitting.len() - 12) / (cases.len() - 1);
    more.extend_from_slice(&fitting[12..12 + case_bytes]);
    let error = GoldenSet::decode(&more).unwrap_err();
    assert!(error.to_string().contains("65792 tensors"), "{error}");
}

#[test]
fn a_set_that_no_reader_would_take_is_not_written() {
    let y = named("y", Tensor::from_u8(vec![1], vec![0]).unwrap());
    let empty = named("x", Tensor::from_u8(vec![0], vec![]).unwrap());
    let nameless = named("", Tensor::from_u8(vec![1], vec![0]).unwrap());
    let large = named("x", Tensor::zeros(ElementType::U8, vec![GOLDEN_BYTES_MAX]).unwrap());
    let rows: [(&str, Vec<NamedTensor>, &str); 5] = [
        ("no input", vec![], "malformed-golden-set"),
        ("an empty tensor", vec![empty], "malformed-golden-set"),
        ("a tensor without a name", vec![nameless], "malformed-golden-set"),
        ("a name twice", vec![y.clone(), y.clone()], "duplicate-name"),
        ("over 16 MiB", vec![large], "too-large"),
    ];
    for (name, inputs, expected) in rows {
        let set = GoldenSet { cases: vec![GoldenCase { inputs, outputs: vec![y.clone()] }] };
        assert_eq!(set.encode().expect_err(name).reason(), expected, "{name}");
    }
    assert_eq!(GoldenSet::default().encode().unwrap_err().reason(), "malformed-golden-set");
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = GoldenSet::decode(&[b"CGLD\x01\0\0\0\x01\0\0\0\x01\0\x01\0".as_slice(), &bytes].concat());
    }

    #[test]
    fn one_meaning_has_one_spelling(at in any::<usize>(), byte in any::<u8>()) {
        let mut bytes = set().encode().unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(read) = GoldenSet::decode(&bytes) {
            prop_assert_eq!(read.encode().unwrap(), bytes);
        }
    }
}
