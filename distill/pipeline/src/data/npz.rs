//! NumPy archives: named arrays, read with limits and written the same way every time.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write as _};

use runtime_tensor::Tensor;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::npy::Header;
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
    let header = Header::read(reader)?;
    let total = header.bytes(ARRAY_BYTES_MAX)?;
    if total > stored_bytes.saturating_mul(EXPANSION_MAX).saturating_add(1024) {
        return Err(format!("its header claims {total} bytes, which {stored_bytes} stored bytes cannot hold"));
    }
    let mut values = vec![0u8; total as usize];
    reader.read_exact(&mut values).map_err(|error| format!("its values: {error}; expected {total} bytes"))?;
    let mut rest = [0u8];
    if reader.read(&mut rest).map_err(|error| error.to_string())? != 0 {
        return Err(format!("found bytes after its {total} bytes of values"));
    }
    Tensor::new(header.element, header.shape, &values).map_err(|error| format!("failed to {error}"))
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
        let header = Header { element: tensor.element(), shape: tensor.shape().to_vec() };
        let header = header.write().ok_or_else(|| failed(format!("NumPy has no {}", tensor.element())))?;
        archive.start_file(format!("{name}.npy"), options).map_err(|error| failed(error.to_string()))?;
        archive
            .write_all(&header)
            .and_then(|()| archive.write_all(tensor.bytes()))
            .map_err(|error| failed(error.to_string()))?;
    }
    archive.finish().map(Cursor::into_inner).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::npy::compose;
    use super::*;

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
        let fortran = String::from_utf8_lossy(&compose("<f4", "2, 3")[10..]).replace("False", "True ").into_bytes();
        let fortran = [&compose("<f4", "2, 3")[..10], &fortran].concat();
        let rows: Vec<(&str, Vec<u8>)> = vec![
            ("numpy.savez", b"not a zip file".to_vec()),
            ("its header", archive(b"hello")),
            ("expected 24 bytes", archive(&values(compose("<f4", "2, 3"), 20))),
            ("after its 24 bytes", archive(&values(compose("<f4", "2, 3"), 25))),
            ("cannot hold", archive(&compose("<f4", "268435456"))),
            ("at most", archive(&compose("<f4", "1099511627776, 1099511627776"))),
            ("big-endian", archive(&values(compose(">f4", "1,"), 4))),
            ("expected numbers", archive(&values(compose("<U4", "1,"), 16))),
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
