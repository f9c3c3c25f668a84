//! `.npy` and `.npz`.

use std::io::{Cursor, Read};

use npyz::{DType, NpyFile, Order, TypeChar};
use runtime_artifact::{Contract, TensorContract};
use runtime_tensor::{ElementType, NamedTensor, Tensor};

use super::{INPUT_BYTES_MAX, InputError, fit, given_inputs, only_input, picture};

pub(super) const NPY_MAGIC: &[u8] = b"\x93NUMPY";
pub(super) const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
/// Arrays in one `.npz`.
const ARRAYS_MAX: usize = 64;
/// Axes of an array.
const AXES_MAX: usize = 16;

fn wrong(message: impl std::fmt::Display) -> InputError {
    InputError::Array(message.to_string())
}

/// One array for the one input.
pub(super) fn single(bytes: &[u8], contract: &Contract) -> Result<Vec<NamedTensor>, InputError> {
    let input = only_input(contract)?;
    let tensor = read(Cursor::new(bytes))?;
    Ok(vec![adapt(tensor, input, contract)?])
}

/// One array for each input, by name; arrays that are no input are left alone.
pub(super) fn several(bytes: &[u8], contract: &Contract) -> Result<Vec<NamedTensor>, InputError> {
    let mut archive = npyz::npz::NpzArchive::new(Cursor::new(bytes)).map_err(wrong)?;
    let names: Vec<String> = archive.array_names().map(str::to_owned).take(ARRAYS_MAX).collect();
    let mut inputs = Vec::new();
    for input in given_inputs(contract) {
        let array = archive.by_name(&input.name).map_err(wrong)?.ok_or_else(|| InputError::Unfit {
            input: input.name.clone(),
            found: format!("the arrays {}", names.join(", ")),
            expected: "one of that name".to_owned(),
        })?;
        inputs.push(adapt(tensor(array)?, input, contract)?);
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

fn read(reader: impl Read) -> Result<Tensor, InputError> {
    tensor(NpyFile::new(reader).map_err(wrong)?)
}

/// Reads an array whose header is read: bounded by what the header may claim at most.
fn tensor<R: Read>(array: NpyFile<R>) -> Result<Tensor, InputError> {
    let DType::Plain(kind) = array.dtype() else { return Err(wrong("its elements are records, expected numbers")) };
    let element = match (kind.type_char(), kind.size_field()) {
        (TypeChar::Bool, 1) => ElementType::Bool,
        (TypeChar::Uint, 1) => ElementType::U8,
        (TypeChar::Int, 1) => ElementType::I8,
        (TypeChar::Uint, 2) => ElementType::U16,
        (TypeChar::Int, 2) => ElementType::I16,
        (TypeChar::Uint, 4) => ElementType::U32,
        (TypeChar::Int, 4) => ElementType::I32,
        (TypeChar::Uint, 8) => ElementType::U64,
        (TypeChar::Int, 8) => ElementType::I64,
        (TypeChar::Float, 4) => ElementType::F32,
        (TypeChar::Float, 8) => ElementType::F64,
        (kind, size) => {
            return Err(wrong(format!("its elements are {kind:?} of {size} bytes, expected plain numbers")));
        }
    };
    if array.shape().len() > AXES_MAX {
        return Err(wrong(format!("it has {} axes, at most {AXES_MAX} are read", array.shape().len())));
    }
    if array.order() != Order::C && array.shape().len() > 1 {
        return Err(wrong("it is in column order; save numpy.ascontiguousarray(x)"));
    }
    let shape: Option<Vec<usize>> = array.shape().iter().map(|axis| usize::try_from(*axis).ok()).collect();
    let shape = shape.ok_or_else(|| wrong("an axis is longer than this machine can count"))?;
    // The header is a claim: nothing is allocated for more than a file may have.
    let count = shape.iter().try_fold(1_u64, |product, axis| product.checked_mul(*axis as u64));
    let bytes = count.and_then(|count| count.checked_mul(element.size_bytes() as u64));
    if bytes.is_none_or(|bytes| bytes > INPUT_BYTES_MAX) {
        return Err(wrong(format!("its shape {shape:?} is of more than {INPUT_BYTES_MAX} bytes")));
    }
    values(array, element, shape)
}

/// Reads the numbers as their own type, whatever their byte order in the file.
fn values<R: Read>(array: NpyFile<R>, element: ElementType, shape: Vec<usize>) -> Result<Tensor, InputError> {
    macro_rules! read {
        ($($element:ident $type:ty),*) => {
            match element {
                $(ElementType::$element => {
                    let values: Vec<$type> = array.into_vec().map_err(wrong)?;
                    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                    Tensor::new(element, shape, &bytes)
                })*
                ElementType::Bool => {
                    let values: Vec<bool> = array.into_vec().map_err(wrong)?;
                    Tensor::from_bool(shape, values)
                }
                _ => return Err(wrong("its elements are of no type that is read")),
            }
        };
    }
    let tensor = read!(U8 u8, I8 i8, U16 u16, I16 i16, U32 u32, I32 i32, U64 u64, I64 i64, F32 f32, F64 f64);
    tensor.map_err(wrong)
}
