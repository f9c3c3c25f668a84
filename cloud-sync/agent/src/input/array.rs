//! `.npy` and `.npz`.
//!
//! The header of an array is read here and not by a library: it is a claim, and multiplying its axes must not
//! overflow.

use std::io::{Cursor, Read};

use runtime_artifact::{Contract, TensorContract};
use runtime_tensor::{ElementType, NamedTensor, Tensor};

use super::{INPUT_BYTES_MAX, InputError, fit, given_inputs, only_input, picture};

pub(super) const NPY_MAGIC: &[u8] = b"\x93NUMPY";
pub(super) const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
/// Arrays whose names an error lists.
const ARRAYS_SHOWN_MAX: usize = 16;
/// Axes of an array.
const AXES_MAX: usize = 16;
/// The longest header; NumPy writes 118 bytes.
const HEADER_BYTES_MAX: usize = 64 * 1024;

fn wrong(message: impl std::fmt::Display) -> InputError {
    InputError::Array(message.to_string())
}

/// One array for the one input.
pub(super) fn single(bytes: &[u8], contract: &Contract) -> Result<Vec<NamedTensor>, InputError> {
    let input = only_input(contract)?;
    Ok(vec![adapt(tensor(bytes)?, input, contract)?])
}

/// One array for each input, by name; arrays that are no input are left alone.
pub(super) fn several(bytes: &[u8], contract: &Contract) -> Result<Vec<NamedTensor>, InputError> {
    let mut archive = npyz::npz::NpzArchive::new(Cursor::new(bytes)).map_err(wrong)?;
    let names: Vec<String> = archive.array_names().map(str::to_owned).take(ARRAYS_SHOWN_MAX).collect();
    let mut inputs = Vec::new();
    for input in given_inputs(contract) {
        let file = npyz::npz::file_name_from_array_name(&input.name);
        let entry = archive.zip_archive().by_name(&file).map_err(|_| InputError::Unfit {
            input: input.name.clone(),
            found: format!("the arrays {}", names.join(", ")),
            expected: "one of that name".to_owned(),
        })?;
        let mut array = Vec::new();
        // The limit stands on the same line: an entry may unpack to anything.
        #[allow(clippy::disallowed_methods, reason = "bounded by take")]
        entry.take(INPUT_BYTES_MAX + 1).read_to_end(&mut array).map_err(wrong)?;
        if array.len() as u64 > INPUT_BYTES_MAX {
            return Err(wrong(format!("{:?} has more than {INPUT_BYTES_MAX} bytes", input.name)));
        }
        inputs.push(adapt(tensor(&array)?, input, contract)?);
    }
    Ok(inputs)
}

/// Numbers of a picture go through the contract's preprocessing; everything else must be what the model takes.
fn adapt(tensor: Tensor, input: &TensorContract, contract: &Contract) -> Result<NamedTensor, InputError> {
    let of_pixels = contract.preprocessing.as_ref().filter(|steps| steps.kind == "image" && steps.input == input.name);
    match of_pixels {
        Some(steps) if tensor.element() == ElementType::U8 && input.element != ElementType::U8 => {
            picture::pixels(&tensor, steps, input)
        }
        _ => fit(tensor, input),
    }
}

/// What a header says.
#[derive(Debug, PartialEq)]
struct Header {
    element: ElementType,
    big_endian: bool,
    shape: Vec<usize>,
}

/// Reads one array.
fn tensor(bytes: &[u8]) -> Result<Tensor, InputError> {
    let (text, data) = split(bytes).ok_or_else(|| wrong("it does not begin as a .npy file does"))?;
    let header = Header::parse(text)?;
    let size = header.element.size_bytes();
    // The header is a claim: it is compared with the bytes that are there before anything is made of it.
    let claimed = header.shape.iter().try_fold(size, |product, axis| product.checked_mul(*axis));
    if claimed != Some(data.len()) {
        return Err(wrong(format!(
            "its shape {:?} of {} asks for {}, found {} bytes",
            header.shape,
            header.element.name(),
            claimed.map_or_else(|| "more bytes than there are addresses".to_owned(), |bytes| format!("{bytes} bytes")),
            data.len()
        )));
    }
    if header.big_endian {
        let swapped: Vec<u8> = data.chunks_exact(size).flat_map(|element| element.iter().rev().copied()).collect();
        return Tensor::new(header.element, header.shape, &swapped).map_err(wrong);
    }
    Tensor::new(header.element, header.shape, data).map_err(wrong)
}

/// The header's text, and what follows it.
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(NPY_MAGIC)?;
    let (length, rest) = match rest {
        [1, _, low, high, rest @ ..] => (usize::from(u16::from_le_bytes([*low, *high])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).ok()?, rest),
        _ => return None,
    };
    let (text, data) = rest.split_at_checked(length).filter(|_| length <= HEADER_BYTES_MAX)?;
    Some((std::str::from_utf8(text).ok()?, data))
}

impl Header {
    /// Reads a Python dictionary with the three keys that NumPy writes.
    fn parse(text: &str) -> Result<Header, InputError> {
        let after = |key: &str| {
            let (_, rest) = text.split_once(&format!("'{key}':"))?;
            Some(rest.trim_start())
        };
        let missing = |key: &str| wrong(format!("its header has no {key}"));
        let descr = after("descr").ok_or_else(|| missing("descr"))?;
        let descr = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).map(|(descr, _)| descr);
        let descr = descr.ok_or_else(|| wrong("its elements are records, expected plain numbers"))?;
        let (element, big_endian) = element(descr)?;
        let shape = after("shape").ok_or_else(|| missing("shape"))?;
        let shape = shape.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(shape, _)| shape);
        let shape = shape.ok_or_else(|| missing("shape"))?;
        let axes = shape.split(',').map(str::trim).filter(|axis| !axis.is_empty()).take(AXES_MAX + 1);
        let axes: Result<Vec<usize>, _> = axes.map(str::parse).collect();
        let shape = axes.map_err(|_| wrong(format!("its shape ({shape}) is no list of lengths")))?;
        if shape.len() > AXES_MAX {
            return Err(wrong(format!("it has more than {AXES_MAX} axes")));
        }
        let order = after("fortran_order").ok_or_else(|| missing("fortran_order"))?;
        if !order.starts_with("False") && shape.len() > 1 {
            return Err(wrong("it is in column order; save numpy.ascontiguousarray(x)"));
        }
        Ok(Header { element, big_endian, shape })
    }
}

/// An element type by NumPy's name, such as `<f4`, and whether its bytes are the other way round.
fn element(descr: &str) -> Result<(ElementType, bool), InputError> {
    let (order, kind) = match descr.as_bytes().first() {
        Some(b'<' | b'|' | b'>') => descr.split_at(1),
        _ => ("<", descr),
    };
    let element = match kind {
        "b1" | "?" => ElementType::Bool,
        "u1" => ElementType::U8,
        "i1" => ElementType::I8,
        "u2" => ElementType::U16,
        "i2" => ElementType::I16,
        "u4" => ElementType::U32,
        "i4" => ElementType::I32,
        "u8" => ElementType::U64,
        "i8" => ElementType::I64,
        "f2" => ElementType::F16,
        "f4" => ElementType::F32,
        "f8" => ElementType::F64,
        other => return Err(wrong(format!("its elements are {other:?}, expected plain numbers"))),
    };
    Ok((element, order == ">"))
}
