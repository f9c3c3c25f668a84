//! Tensors of this project as tract's, and back.

use runtime_engine::EngineError;
use runtime_tensor::{ElementType, Tensor, TensorSpec};
use tract_onnx::prelude::{DatumType, IntoTValue, TValue, TractError, TractResult};

use super::run_error;

const TYPES: [(ElementType, DatumType); 12] = [
    (ElementType::Bool, DatumType::Bool),
    (ElementType::U8, DatumType::U8),
    (ElementType::I8, DatumType::I8),
    (ElementType::U16, DatumType::U16),
    (ElementType::I16, DatumType::I16),
    (ElementType::U32, DatumType::U32),
    (ElementType::I32, DatumType::I32),
    (ElementType::U64, DatumType::U64),
    (ElementType::I64, DatumType::I64),
    (ElementType::F16, DatumType::F16),
    (ElementType::F32, DatumType::F32),
    (ElementType::F64, DatumType::F64),
];

/// tract has no bfloat16.
pub(super) fn datum_type(element: ElementType) -> TractResult<DatumType> {
    let row = TYPES.iter().find(|(own, _)| *own == element);
    row.map(|(_, theirs)| *theirs)
        .ok_or_else(|| TractError::msg(format!("elements of type {element} are not supported")))
}

/// A copy.
pub(super) fn to_tract(tensor: &Tensor) -> TractResult<TValue> {
    let mut made = tract_onnx::prelude::Tensor::zero_dt(datum_type(tensor.element())?, tensor.shape())?;
    let mut plain = made.try_as_plain_ram_mut()?;
    if tensor.element() == ElementType::Bool {
        // Any other byte than 0 and 1 is no Rust bool.
        plain.as_bytes_mut().iter_mut().zip(tensor.bytes()).for_each(|(to, from)| *to = u8::from(*from != 0));
    } else {
        plain.as_bytes_mut().copy_from_slice(tensor.bytes());
    }
    Ok(made.into_tvalue())
}

/// A copy, in the type of `spec`.
pub(super) fn from_tract(value: &TValue, spec: &TensorSpec) -> Result<Tensor, EngineError> {
    let datum_type = datum_type(spec.element).map_err(|error| run_error(&error))?;
    let cast = value.cast_to_dt(datum_type).map_err(|error| run_error(&error))?;
    let plain = cast.try_as_plain_ram().map_err(|error| run_error(&error))?;
    Ok(Tensor::new(spec.element, cast.shape().to_vec(), plain.as_bytes())?)
}
