//! Files of every kind, good and hostile, against the contract of the tests' model: a grey 2x2 picture.

use runtime_tensor::{ElementType, Tensor};

use super::{InputError, label, prepare};
use crate::fixture::{PIXELS, contract, picture};

/// A `.npy` file with this type and shape in its header.
fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    // NumPy pads the header to a multiple of 64 bytes and ends it with a line end.
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let length = u16::try_from(header.len()).expect("a short header");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The checksum of ZIP files.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// A `.npz` file with one stored array.
fn npz(name: &str, array: &[u8]) -> Vec<u8> {
    let name = format!("{name}.npy");
    let (crc, length) = (crc32(array), u32::try_from(array.len()).expect("short"));
    let name_length = u16::try_from(name.len()).expect("short");
    let mut common = Vec::new();
    common.extend([20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0]);
    common.extend(crc.to_le_bytes());
    common.extend(length.to_le_bytes());
    common.extend(length.to_le_bytes());
    common.extend(name_length.to_le_bytes());
    common.extend([0, 0]);
    let mut bytes = b"PK\x03\x04".to_vec();
    bytes.extend(&common);
    bytes.extend(name.as_bytes());
    bytes.extend(array);
    let directory = u32::try_from(bytes.len()).expect("short");
    bytes.extend(b"PK\x01\x02\x14\x00");
    bytes.extend(&common);
    // Comment length, disk, attributes, offset of the local header.
    bytes.extend([0; 2 + 2 + 2 + 4 + 4]);
    bytes.extend(name.as_bytes());
    let directory_length = u32::try_from(bytes.len()).expect("short") - directory;
    bytes.extend(b"PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00");
    bytes.extend(directory_length.to_le_bytes());
    bytes.extend(directory.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

const VALUES: [f32; 4] = [0.0, 0.25, 0.5, 1.0];

#[test]
fn every_kind_of_file_becomes_the_input() {
    let scaled = PIXELS.map(|pixel| f32::from(pixel) / 255.0);
    let array = npy("<f4", false, "(1, 1, 2, 2)", &floats(&VALUES));
    let rows: Vec<(&str, Vec<u8>, [f32; 4])> = vec![
        ("a picture", picture(), scaled),
        ("an array", array.clone(), VALUES),
        ("one sample without a batch axis", npy("<f4", false, "(1, 2, 2)", &floats(&VALUES)), VALUES),
        (
            "an array of the other byte order",
            {
                let swapped: Vec<u8> = VALUES.iter().flat_map(|value| value.to_be_bytes()).collect();
                npy(">f4", false, "(1, 1, 2, 2)", &swapped)
            },
            VALUES,
        ),
        ("pixels as an array", npy("|u1", false, "(2, 2)", &PIXELS), scaled),
        ("pixels with a channel axis", npy("|u1", false, "(2, 2, 1)", &PIXELS), scaled),
        ("a named array", npz("x", &array), VALUES),
        ("nested lists", b" [[[[0, 0.25], [0.5, 1]]]]".to_vec(), VALUES),
        ("named lists", br#"{"x": [[[0, 0.25], [0.5, 1]]]}"#.to_vec(), VALUES),
        (
            "the inference API's form",
            br#"{"inputs":[{"name":"x","shape":[1,1,2,2],"datatype":"FP32","data":[0,0.25,0.5,1]}]}"#.to_vec(),
            VALUES,
        ),
    ];
    for (what, bytes, expected) in rows {
        let prepared = prepare(&bytes, &contract()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (name, tensor) = &prepared.inputs[0];
        assert_eq!((name.as_str(), tensor.shape()), ("x", &[1, 1, 2, 2][..]), "{what}");
        for (found, expected) in tensor.as_f32().expect("floats").iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{what}: {found} is not {expected}");
        }
        assert!(prepared.notes.is_empty(), "{what}: {:?}", prepared.notes);
    }
}

#[test]
fn a_picture_of_another_size_is_resized_and_said() {
    let mut bytes = Vec::new();
    let wide = image::RgbImage::from_pixel(40, 20, image::Rgb([255, 255, 255]));
    wide.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Bmp).expect("a BMP");
    let prepared = prepare(&bytes, &contract()).expect("a picture");
    assert_eq!(prepared.notes, ["the picture is 40x20: resized to 2x2"]);
    for value in prepared.inputs[0].1.as_f32().expect("floats") {
        assert!((value - 1.0).abs() < 1e-6, "{value}");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let unequal = b"[[1, 2], [3]]".to_vec();
    let mut cut = picture();
    cut.truncate(30);
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("text", b"hello".to_vec(), "no known format"),
        ("nothing", Vec::new(), "no known format"),
        ("half a picture", cut, "read the picture"),
        (
            "a wrong type",
            npy("<f8", false, "(1, 1, 2, 2)", &[0; 32]),
            "found f64 [1, 1, 2, 2], expected f32 [1, 1, 2, 2]",
        ),
        ("a wrong shape", npy("<f4", false, "(3, 2)", &[0; 24]), "found f32 [3, 2], expected f32 [1, 1, 2, 2]"),
        ("column order", npy("<f4", true, "(2, 2)", &[0; 16]), "column order"),
        ("2^60 elements", npy("<f4", false, "(1152921504606846976,)", &[]), "found 0 bytes"),
        ("2^66 elements", npy("<f4", false, "(8589934592, 8589934592)", &[]), "found 0 bytes"),
        ("too few bytes", npy("<f4", false, "(1, 1, 2, 2)", &[0; 7]), "read the array"),
        ("records", npy("[('a', '<f4')]", false, "(1,)", &[0; 4]), "read the array"),
        ("another name", npz("y", &npy("<f4", false, "(1,)", &[0; 4])), "expected one of that name"),
        ("half an archive", npz("x", &[0; 80])[..60].to_vec(), "read the array"),
        ("unequal lists", unequal, "a list has 1 elements where its neighbour has 2"),
        ("unequal depths", b"[1, [2]]".to_vec(), "not equally deep"),
        ("words", br#"[[[["a", 1], [2, 3]]]]"#.to_vec(), "element 0 is \"a\", expected f32"),
        ("broken JSON", b"[1, 2".to_vec(), "read the JSON input"),
    ];
    let mut failures = Vec::new();
    for (what, bytes, expected) in rows {
        match prepare(&bytes, &contract()) {
            Err(error) if error.to_string().contains(expected) => {}
            other => failures.push(format!("{what}: expected {expected:?}, found {other:?}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn integers_in_json_keep_their_range() {
    let mut contract = contract();
    contract.preprocessing = None;
    contract.inputs[0].element = ElementType::I8;
    let lists = |number: i64| format!("[[[[{number}, 0], [0, 0]]]]").into_bytes();
    for (number, fits) in [(127, true), (-128, true), (128, false), (-129, false)] {
        let prepared = prepare(&lists(number), &contract);
        assert_eq!(prepared.is_ok(), fits, "{number}: {prepared:?}");
        if let Ok(prepared) = prepared {
            assert_eq!(i64::from(prepared.inputs[0].1.as_i8().expect("bytes")[0]), number);
        }
    }
    let picture = prepare(&picture(), &contract).expect_err("no preprocessing");
    assert!(matches!(picture, InputError::Picture(_)), "{picture}");
}

#[test]
fn labels_follow_the_contract() {
    let outputs = |values: Vec<f32>| {
        let rows = values.len() / 3;
        vec![("y".to_owned(), Tensor::from_f32(vec![rows, 3], values).expect("rows of three"))]
    };
    let mut contract = contract();
    let two = label(&outputs(vec![0.0, 5.0, 1.0, 7.0, 1.0, 2.0]), &contract);
    let names: Vec<&str> = two.iter().map(|label| label.label.as_str()).collect();
    assert_eq!(names, ["one", "zero"]);
    assert_eq!(two[0].score, 5.0);
    contract.postprocessing.as_mut().expect("one").kind = "softmax".to_owned();
    let soft = label(&outputs(vec![1000.0, 1000.0, 0.0]), &contract);
    assert!((soft[0].score - 0.5).abs() < 1e-9, "large scores do not overflow: {soft:?}");
    contract.labels.clear();
    assert_eq!(label(&outputs(vec![0.0, 1.0, 0.0]), &contract)[0].label, "1");
    contract.postprocessing.as_mut().expect("one").kind = "beam-search".to_owned();
    assert!(label(&outputs(vec![0.0, 1.0, 0.0]), &contract).is_empty(), "an unknown kind prints tensors instead");
}
