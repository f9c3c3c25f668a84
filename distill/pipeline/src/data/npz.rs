//! NumPy archives: named arrays, read with limits and written the same way every time.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write as _};

use npyz::{DType, Endianness, NpyHeader, Order, TypeChar};
use runtime_tensor::{ElementType, Tensor};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::error::{PipelineError, Result};

/// Bytes of one `.npz` file.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 31;
/// Plain bytes of one array.
const ARRAY_BYTES_MAX: u64 = 1 << 32;
/// Arrays in one file.
const ARRAYS_MAX: usize = 64;
/// Deflate cannot expand further than this, so a larger claim is a lie.
const EXPANSION_MAX: u64 = 1_100;

/// Reads the arrays named in `wanted` that are there; others are left alone.
pub(crate) fn parse(bytes: &[u8], wanted: &[&str]) -> Result<BTreeMap<String, Tensor>> {
    let not_an_archive = |error: zip::result::ZipError| {
        PipelineError::input(format!(
            "failed to read the .npz archive: {error}; expected a file that numpy.savez wrote"
        ))
    };
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(not_an_archive)?;
    if archive.len() > ARRAYS_MAX {
        return Err(PipelineError::input(format!(
            "failed to read the .npz archive: found {} arrays, expected at most {ARRAYS_MAX}",
            archive.len()
        )));
    }
    let mut arrays = BTreeMap::new();
    for name in wanted {
        let mut entry = match archive.by_name(&format!("{name}.npy")) {
            Ok(entry) => entry,
            Err(zip::result::ZipError::FileNotFound) => continue,
            Err(error) => return Err(not_an_archive(error)),
        };
        let stored = entry.compressed_size();
        let tensor = parse_array(&mut entry, stored).map_err(|reason| {
            PipelineError::input(format!("failed to read array `{name}` of the .npz archive: {reason}"))
        })?;
        arrays.insert((*name).to_owned(), tensor);
    }
    Ok(arrays)
}

fn parse_array(reader: &mut impl Read, stored_bytes: u64) -> std::result::Result<Tensor, String> {
    let header = NpyHeader::from_reader(&mut *reader).map_err(|error| format!("its header: {error}"))?;
    if header.order() != Order::C && header.shape().len() > 1 {
        return Err("found Fortran order, expected C order; save numpy.ascontiguousarray of it".to_owned());
    }
    let element = element(&header.dtype())?;
    let shape: Option<Vec<usize>> = header.shape().iter().map(|size| usize::try_from(*size).ok()).collect();
    let total = header
        .shape()
        .iter()
        .try_fold(element.size_bytes() as u64, |total, size| total.checked_mul(*size))
        .filter(|total| *total <= ARRAY_BYTES_MAX);
    let (Some(shape), Some(total)) = (shape, total) else {
        return Err(format!("found shape {:?}, expected at most {ARRAY_BYTES_MAX} bytes", header.shape()));
    };
    if total > stored_bytes.saturating_mul(EXPANSION_MAX).saturating_add(1024) {
        return Err(format!("its header claims {total} bytes, which {stored_bytes} stored bytes cannot hold"));
    }
    let mut values = vec![0u8; total as usize];
    reader.read_exact(&mut values).map_err(|error| format!("its values: {error}; expected {total} bytes"))?;
    let mut rest = [0u8];
    if reader.read(&mut rest).map_err(|error| error.to_string())? != 0 {
        return Err(format!("found bytes after its {total} bytes of values"));
    }
    Tensor::new(element, shape, &values).map_err(|error| format!("failed to {error}"))
}

fn element(dtype: &DType) -> std::result::Result<ElementType, String> {
    let DType::Plain(kind) = dtype else {
        return Err(format!("found records ({}), expected one number per element", dtype.descr()));
    };
    let found = kind.to_string();
    let native = match kind.endianness() {
        Endianness::Little | Endianness::Irrelevant => true,
        Endianness::Big => false,
    };
    let element = match (kind.type_char(), kind.size_field()) {
        (TypeChar::Bool, 1) => ElementType::Bool,
        (TypeChar::Uint, 1) => ElementType::U8,
        (TypeChar::Uint, 2) => ElementType::U16,
        (TypeChar::Uint, 4) => ElementType::U32,
        (TypeChar::Uint, 8) => ElementType::U64,
        (TypeChar::Int, 1) => ElementType::I8,
        (TypeChar::Int, 2) => ElementType::I16,
        (TypeChar::Int, 4) => ElementType::I32,
        (TypeChar::Int, 8) => ElementType::I64,
        (TypeChar::Float, 2) => ElementType::F16,
        (TypeChar::Float, 4) => ElementType::F32,
        (TypeChar::Float, 8) => ElementType::F64,
        _ => return Err(format!("found element type {found}, expected numbers")),
    };
    if native { Ok(element) } else { Err(format!("found big-endian element type {found}, expected little-endian")) }
}

/// NumPy's name of an element type.
fn descriptor(element: ElementType) -> Option<&'static str> {
    Some(match element {
        ElementType::Bool => "|b1",
        ElementType::U8 => "|u1",
        ElementType::I8 => "|i1",
        ElementType::U16 => "<u2",
        ElementType::I16 => "<i2",
        ElementType::U32 => "<u4",
        ElementType::I32 => "<i4",
        ElementType::U64 => "<u8",
        ElementType::I64 => "<i8",
        ElementType::F16 => "<f2",
        ElementType::F32 => "<f4",
        ElementType::F64 => "<f8",
        ElementType::BF16 => return None,
    })
}

/// The bytes of a compressed archive; the same arrays give the same bytes.
pub(crate) fn write(arrays: &[(&str, &Tensor)]) -> Result<Vec<u8>> {
    let failed = |reason: String| PipelineError::input(format!("failed to write the .npz archive: {reason}"));
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default())
        .large_file(arrays.iter().any(|(_, tensor)| tensor.bytes().len() as u64 > u64::from(u32::MAX) / 2));
    for (name, tensor) in arrays {
        let descriptor =
            descriptor(tensor.element()).ok_or_else(|| failed(format!("NumPy has no {}", tensor.element())))?;
        archive.start_file(format!("{name}.npy"), options).map_err(|error| failed(error.to_string()))?;
        let header = npy_header(descriptor, tensor.shape());
        archive
            .write_all(&header)
            .and_then(|()| archive.write_all(tensor.bytes()))
            .map_err(|error| failed(error.to_string()))?;
    }
    archive.finish().map(Cursor::into_inner).map_err(|error| failed(error.to_string()))
}

/// Magic, version 1.0, length and text, padded so that values begin at a multiple of 64 bytes.
fn npy_header(descriptor: &str, shape: &[usize]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let mut text = format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let padding = (64 - (10 + text.len() + 1) % 64) % 64;
    text.extend(std::iter::repeat_n(' ', padding));
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    // At most 16 axes of 20 digits: far below 65536.
    header.extend((text.len() as u16).to_le_bytes());
    header.extend(text.as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn x() -> Tensor {
        Tensor::from_f32(vec![2, 3], vec![1.0, -2.0, 3.5, 0.0, 5.0, 6.0]).unwrap()
    }

    #[test]
    fn arrays_survive_and_bytes_repeat() {
        let y = Tensor::from_u8(vec![2], vec![1, 0]).unwrap();
        let bytes = write(&[("x", &x()), ("y", &y)]).unwrap();
        assert_eq!(bytes, write(&[("x", &x()), ("y", &y)]).unwrap());
        let arrays = parse(&bytes, &["x", "y", "z"]).unwrap();
        assert_eq!(arrays, BTreeMap::from([("x".to_owned(), x()), ("y".to_owned(), y)]));
    }

    /// An archive with one array `x` of these bytes.
    fn archive(content: &[u8]) -> Vec<u8> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file("x.npy", SimpleFileOptions::default()).unwrap();
        archive.write_all(content).unwrap();
        archive.finish().unwrap().into_inner()
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let values = |header: Vec<u8>, count: usize| [header, vec![0; count]].concat();
        let fortran =
            b"\x93NUMPY\x01\x00\x3e\x00{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }   \n".to_vec();
        let rows: Vec<(&str, Vec<u8>)> = vec![
            ("numpy.savez", b"not a zip file".to_vec()),
            ("its header", archive(b"hello")),
            ("expected 24 bytes", archive(&values(npy_header("<f4", &[2, 3]), 20))),
            ("after its 24 bytes", archive(&values(npy_header("<f4", &[2, 3]), 25))),
            ("cannot hold", archive(&npy_header("<f4", &[1 << 28]))),
            ("at most", archive(&npy_header("<f4", &[1 << 40, 1 << 40]))),
            ("big-endian", archive(&values(npy_header(">f4", &[1]), 4))),
            ("expected numbers", archive(&values(npy_header("<U4", &[1]), 16))),
            ("Fortran", archive(&values(fortran, 24))),
        ];
        for (expected, bytes) in rows {
            let text = parse(&bytes, &["x"]).unwrap_err().to_string();
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }

    proptest! {
        #[test]
        fn damaged_archives_never_panic(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6)) {
            let mut bytes = write(&[("x", &x())]).unwrap();
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let _ = parse(&bytes, &["x", "y"]);
        }
    }
}
