//! The header of one array in NumPy's format, versions 1 to 3.
//!
//! ```text
//!   offset  bytes
//!        0      6  93 "NUMPY"
//!        6      2  version: major, minor
//!        8      2  length of the text, u16 little-endian (from version 2 on: 4 bytes, u32)
//!       10      .  a Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
//! ```
//!
//! Read here and not by a library: sizes in the text are not believed, and never multiplied without a check.

use std::io::Read;

use runtime_tensor::{ElementType, TENSOR_RANK_MAX};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Bytes of the text; numpy writes about a hundred.
const TEXT_BYTES_MAX: usize = 1 << 16;

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) element: ElementType,
    pub(super) shape: Vec<usize>,
}

/// Element types by NumPy's names, without byte order.
const NAMES: [(&str, ElementType); 12] = [
    ("b1", ElementType::Bool),
    ("u1", ElementType::U8),
    ("i1", ElementType::I8),
    ("u2", ElementType::U16),
    ("i2", ElementType::I16),
    ("u4", ElementType::U32),
    ("i4", ElementType::I32),
    ("u8", ElementType::U64),
    ("i8", ElementType::I64),
    ("f2", ElementType::F16),
    ("f4", ElementType::F32),
    ("f8", ElementType::F64),
];

impl Header {
    /// Reads up to the first byte of the values. The error is the reason, for a message that names the array.
    pub(super) fn read(reader: &mut impl Read) -> Result<Self, String> {
        let mut take = |count: usize| {
            let mut bytes = vec![0u8; count];
            reader.read_exact(&mut bytes).map_err(|error| format!("its header: {error}"))?;
            Ok::<_, String>(bytes)
        };
        let start = take(8)?;
        if start[..6] != MAGIC[..] || !(1..=3).contains(&start[6]) {
            return Err(format!("its header: found {:02x?}, expected an array in NumPy's format 1 to 3", &start));
        }
        let length = take(if start[6] == 1 { 2 } else { 4 })?;
        let length = length.iter().rev().fold(0usize, |total, byte| total << 8 | usize::from(*byte));
        if length > TEXT_BYTES_MAX {
            return Err(format!("its header: found {length} bytes of text, expected at most {TEXT_BYTES_MAX}"));
        }
        let text = String::from_utf8(take(length)?).map_err(|_| "its header: found no UTF-8 text".to_owned())?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let value = |key: &str| {
            let at = text.find(&format!("'{key}'")).ok_or_else(|| format!("its header: found no {key}"))?;
            let rest = text[at + key.len() + 2..].trim_start();
            rest.strip_prefix(':').map(str::trim_start).ok_or_else(|| format!("its header: found no value of {key}"))
        };
        let element = element(value("descr")?)?;
        let inner = value("shape")?
            .strip_prefix('(')
            .and_then(|rest| rest.split_once(')'))
            .map(|(inner, _)| inner)
            .ok_or("its header: found no tuple of sizes as shape")?;
        let shape: Vec<usize> = inner
            .split(',')
            .map(|size| size.trim().trim_end_matches('L'))
            .filter(|size| !size.is_empty())
            .map(|size| size.parse().map_err(|_| format!("its header: found size {size:?}, expected a whole number")))
            .collect::<Result<_, _>>()?;
        if shape.len() > TENSOR_RANK_MAX {
            return Err(format!("found {} axes, expected at most {TENSOR_RANK_MAX}", shape.len()));
        }
        if value("fortran_order")?.starts_with("True") && shape.len() > 1 {
            return Err("found Fortran order, expected C order; save numpy.ascontiguousarray of it".to_owned());
        }
        Ok(Header { element, shape })
    }

    /// Bytes of the values, unless that is over `max`.
    pub(super) fn bytes(&self, max: u64) -> Result<u64, String> {
        self.shape
            .iter()
            .try_fold(self.element.size_bytes() as u64, |total, size| total.checked_mul(*size as u64))
            .filter(|total| *total <= max)
            .ok_or_else(|| format!("found shape {:?}, expected at most {max} bytes", self.shape))
    }

    /// The header's bytes, version 1.0, padded so that values begin at a multiple of 64 bytes.
    ///
    /// `None` for an element type that NumPy does not have.
    pub(super) fn write(&self) -> Option<Vec<u8>> {
        let (name, _) = NAMES.iter().find(|(_, element)| *element == self.element)?;
        let order = if self.element.size_bytes() == 1 { '|' } else { '<' };
        let sizes: String = self.shape.iter().map(|size| format!("{size}, ")).collect();
        Some(compose(&format!("{order}{name}"), &sizes))
    }
}

/// A header of any content.
pub(super) fn compose(descriptor: &str, sizes: &str) -> Vec<u8> {
    let mut text = format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let padding = (64 - (10 + text.len() + 1) % 64) % 64;
    text.extend(std::iter::repeat_n(' ', padding));
    text.push('\n');
    let mut header = [&MAGIC[..], &[1, 0]].concat();
    // At most 16 axes of 20 digits: far below 65536.
    header.extend((text.len() as u16).to_le_bytes());
    header.extend(text.as_bytes());
    header
}

fn element(value: &str) -> Result<ElementType, String> {
    let quote = value.chars().next().filter(|first| matches!(first, '\'' | '"'));
    let Some(found) = quote.and_then(|quote| value[1..].split(quote).next()) else {
        return Err("found records, expected one number per element".to_owned());
    };
    let name = found.trim_start_matches(['<', '|', '=', '>']);
    let Some((_, element)) = NAMES.iter().find(|(known, _)| *known == name) else {
        return Err(format!("found element type {found}, expected numbers"));
    };
    if found.starts_with('>') && element.size_bytes() > 1 {
        return Err(format!("found big-endian element type {found}, expected little-endian"));
    }
    Ok(*element)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive() {
        for (_, element) in NAMES {
            for shape in [vec![], vec![3], vec![2, 3], vec![0, 7, 1]] {
                let header = Header { element, shape };
                let bytes = header.write().unwrap();
                assert_eq!(bytes.len() % 64, 0);
                assert_eq!(Header::read(&mut &bytes[..]), Ok(header));
            }
        }
        assert_eq!(Header { element: ElementType::BF16, shape: vec![] }.write(), None);
    }

    #[test]
    fn the_second_version_has_a_longer_length() {
        let mut bytes = Header { element: ElementType::F32, shape: vec![2] }.write().unwrap();
        bytes[6] = 2;
        bytes.splice(10..10, [0, 0]);
        assert_eq!(Header::read(&mut &bytes[..]).unwrap().shape, [2]);
        bytes[10] = 1;
        assert!(Header::read(&mut &bytes[..]).unwrap_err().contains("expected at most 65536"));
    }
}
