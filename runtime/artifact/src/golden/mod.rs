//! The golden set: inputs, and the outputs that the model must give for them on every device.
//!
//! One file, integers little-endian:
//!
//! ```text
//!   offset  bytes
//!        0      4  "CGLD"
//!        4      2  format of the golden set: 1
//!        6      2  reserved, zero
//!        8      4  number of cases, 1 to 4096
//!       12      .  cases:   2  number of inputs, 1 to 256
//!                           2  number of outputs, 1 to 256
//!                           .  the tensors: inputs, then outputs
//!                  tensor:  2  length of the name N, 1 to 1024
//!                           N  name, UTF-8, unique among the inputs or among the outputs
//!                           1  element type, its number in ONNX's TensorProto.DataType
//!                           1  number of axes A, at most 16
//!                         8 A  size of each axis, at least 1
//!                           .  the elements, row-major, without gaps; a bool is 0 or 1
//! ```

use std::collections::BTreeSet;

use runtime_tensor::{ElementType, NamedTensor, TENSOR_RANK_MAX, Tensor};

use crate::error::shown;
use crate::limits::{GOLDEN_BYTES_MAX, GOLDEN_CASES_MAX, TENSOR_NAME_BYTES_MAX, TENSORS_MAX};
use crate::{ArtifactError, Reason};

const MAGIC: [u8; 4] = *b"CGLD";
const GOLDEN_FORMAT: u16 = 1;

/// Tensors in a whole set: bounds the memory that many tiny ones would take.
const SET_TENSORS_MAX: usize = 65_536;

/// Inputs with the outputs that belong to them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GoldenSet {
    /// At least one.
    pub cases: Vec<GoldenCase>,
}

/// One call of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoldenCase {
    /// Every input of the contract.
    pub inputs: Vec<NamedTensor>,
    /// Outputs to compare; those of the contract or fewer.
    pub outputs: Vec<NamedTensor>,
}

impl GoldenSet {
    /// Writes the set, or says which limit it breaks.
    pub fn encode(&self) -> Result<Vec<u8>, ArtifactError> {
        check_count("the golden set", "cases", self.cases.len(), GOLDEN_CASES_MAX)?;
        let mut bytes = Vec::new();
        bytes.extend(MAGIC);
        bytes.extend(GOLDEN_FORMAT.to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend((self.cases.len() as u32).to_le_bytes());
        let mut tensors = 0;
        for (number, case) in self.cases.iter().enumerate() {
            let place = format!("case {number} of the golden set");
            for (what, side) in [("inputs", &case.inputs), ("outputs", &case.outputs)] {
                check_count(&place, what, side.len(), TENSORS_MAX)?;
                check_names(&place, side)?;
                bytes.extend((side.len() as u16).to_le_bytes());
            }
            tensors += case.inputs.len() + case.outputs.len();
            for (name, tensor) in case.inputs.iter().chain(&case.outputs) {
                encode_tensor(&mut bytes, name, tensor)?;
                // Checked as it grows, so that a huge set is refused before it takes the memory of a huge file.
                check_bytes(bytes.len())?;
            }
        }
        check_count("the golden set", "tensors", tensors, SET_TENSORS_MAX)?;
        Ok(bytes)
    }

    /// Reads a set. Takes memory only in proportion to `bytes`, at most [`GOLDEN_BYTES_MAX`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ArtifactError> {
        check_bytes(bytes.len())?;
        let mut reader = Reader { rest: bytes, tensors: 0 };
        let magic = reader.take(MAGIC.len(), "the header")?;
        if magic != MAGIC {
            return Err(malformed("the header", format!("{magic:02x?}"), format!("{MAGIC:02x?}")));
        }
        let format = reader.u16("the header")?;
        if format != GOLDEN_FORMAT {
            let (found, expected) = (format!("format {format}"), format!("format {GOLDEN_FORMAT}"));
            return Err(ArtifactError::refused(Reason::UnknownFormat, "the golden set", found, expected));
        }
        let reserved = reader.u16("the header")?;
        if reserved != 0 {
            let found = reserved.to_string();
            return Err(ArtifactError::refused(Reason::ReservedNotZero, "byte 6 of the golden set", found, "0"));
        }
        let count = reader.u32("the header")? as usize;
        check_count("the golden set", "cases", count, GOLDEN_CASES_MAX)?;
        let cases = (0..count).map(|number| reader.case(number)).collect::<Result<_, _>>()?;
        if !reader.rest.is_empty() {
            let found = format!("{} bytes after the last case", reader.rest.len());
            return Err(ArtifactError::refused(Reason::TrailingBytes, "the golden set", found, "none"));
        }
        Ok(Self { cases })
    }
}

fn encode_tensor(bytes: &mut Vec<u8>, name: &str, tensor: &Tensor) -> Result<(), ArtifactError> {
    if tensor.is_empty() {
        let place = format!("tensor {} of the golden set", shown(name));
        return Err(malformed(&place, format!("the shape {:?}", tensor.shape()), "at least one element".into()));
    }
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes.extend(name.as_bytes());
    // The numbers in use are all below 32, the ranks at most 16.
    bytes.extend([tensor.element().onnx() as u8, tensor.shape().len() as u8]);
    for &size in tensor.shape() {
        bytes.extend((size as u64).to_le_bytes());
    }
    bytes.extend_from_slice(tensor.bytes());
    Ok(())
}

struct Reader<'a> {
    rest: &'a [u8],
    /// Tensors read so far.
    tensors: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize, place: &str) -> Result<&'a [u8], ArtifactError> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(malformed(place, format!("{} bytes left", self.rest.len()), format!("{length} bytes")));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn u16(&mut self, place: &str) -> Result<u16, ArtifactError> {
        Ok(u16::from_le_bytes(self.take(2, place)?.try_into().expect("two bytes were taken")))
    }

    fn u32(&mut self, place: &str) -> Result<u32, ArtifactError> {
        Ok(u32::from_le_bytes(self.take(4, place)?.try_into().expect("four bytes were taken")))
    }

    fn u64(&mut self, place: &str) -> Result<u64, ArtifactError> {
        Ok(u64::from_le_bytes(self.take(8, place)?.try_into().expect("eight bytes were taken")))
    }

    fn case(&mut self, number: usize) -> Result<GoldenCase, ArtifactError> {
        let place = format!("case {number} of the golden set");
        let inputs = usize::from(self.u16(&place)?);
        check_count(&place, "inputs", inputs, TENSORS_MAX)?;
        let outputs = usize::from(self.u16(&place)?);
        check_count(&place, "outputs", outputs, TENSORS_MAX)?;
        Ok(GoldenCase { inputs: self.side(inputs, &place)?, outputs: self.side(outputs, &place)? })
    }

    fn side(&mut self, count: usize, place: &str) -> Result<Vec<NamedTensor>, ArtifactError> {
        self.tensors += count;
        check_count("the golden set", "tensors", self.tensors, SET_TENSORS_MAX)?;
        let tensors: Vec<NamedTensor> = (0..count).map(|_| self.tensor(place)).collect::<Result<_, _>>()?;
        check_names(place, &tensors)?;
        Ok(tensors)
    }

    fn tensor(&mut self, place: &str) -> Result<NamedTensor, ArtifactError> {
        let length = usize::from(self.u16(place)?);
        let name = std::str::from_utf8(self.take(length, place)?)
            .map_err(|error| malformed(place, format!("a name with {error}"), "UTF-8".into()))?;
        let place = format!("tensor {} of {place}", shown(name));
        let [number, rank] = self.take(2, &place)? else { unreachable!("two bytes were taken") };
        let element = ElementType::from_onnx(i32::from(*number)).ok_or_else(|| {
            let found = format!("element type number {number}");
            ArtifactError::refused(Reason::UnknownElement, &place, found, "one of ONNX that this version has")
        })?;
        if usize::from(*rank) > TENSOR_RANK_MAX {
            return Err(malformed(&place, format!("{rank} axes"), format!("at most {TENSOR_RANK_MAX}")));
        }
        let mut shape = Vec::with_capacity(usize::from(*rank));
        let mut bytes = element.size_bytes();
        for _ in 0..*rank {
            let size = self.u64(&place)?;
            let left = self.rest.len();
            // A product above what is left is refused before it can overflow.
            let product = usize::try_from(size).ok().and_then(|size| bytes.checked_mul(size));
            match product {
                Some(product) if product > 0 && product <= left => {
                    bytes = product;
                    shape.push(size as usize);
                }
                _ => {
                    let expected = format!("at least 1, for a tensor inside the {left} bytes that are left");
                    return Err(malformed(&place, format!("an axis of size {size}"), expected));
                }
            }
        }
        let elements = self.take(bytes, &place)?;
        if element == ElementType::Bool && elements.iter().any(|&byte| byte > 1) {
            return Err(malformed(&place, "a bool that is neither".into(), "bytes 0 and 1".into()));
        }
        let tensor = Tensor::new(element, shape, elements)
            .map_err(|error| malformed(&place, error.to_string(), "a tensor within the limits".into()))?;
        Ok((name.to_owned(), tensor))
    }
}

fn check_bytes(found: usize) -> Result<(), ArtifactError> {
    if found <= GOLDEN_BYTES_MAX {
        return Ok(());
    }
    let expected = format!("at most {GOLDEN_BYTES_MAX}");
    Err(ArtifactError::refused(Reason::TooLarge, "the golden set", format!("{found} bytes or more"), expected))
}

fn check_count(place: &str, what: &str, found: usize, max: usize) -> Result<(), ArtifactError> {
    if (1..=max).contains(&found) {
        return Ok(());
    }
    Err(malformed(place, format!("{found} {what}"), format!("1 to {max}")))
}

fn check_names(place: &str, tensors: &[NamedTensor]) -> Result<(), ArtifactError> {
    let mut seen = BTreeSet::new();
    for (name, _) in tensors {
        if name.is_empty() || name.len() > TENSOR_NAME_BYTES_MAX {
            let found = format!("a tensor's name of {} bytes", name.len());
            return Err(malformed(place, found, format!("1 to {TENSOR_NAME_BYTES_MAX}")));
        }
        if !seen.insert(name) {
            let found = format!("the tensor {} twice", shown(name));
            return Err(ArtifactError::refused(Reason::DuplicateName, place, found, "each once"));
        }
    }
    Ok(())
}

fn malformed(place: &str, found: String, expected: String) -> ArtifactError {
    ArtifactError::refused(Reason::GoldenMalformed, place, found, expected)
}

#[cfg(test)]
mod tests;
