//! Tensors and their descriptions, between this system and ONNX Runtime.

use half::slice::HalfBitsSliceExt as _;
use ort::session::SessionInputValue;
use ort::value::{
    DynTensorValueType, DynValue, Outlet, PrimitiveTensorElementType, Tensor as RawTensor, TensorElementType,
    TensorRef, ValueType,
};
use runtime_engine::EngineError;
use runtime_tensor::{Dimension, ElementType, Tensor, TensorSpec};

use crate::engine::NAME;
use crate::ffi;

const TYPES: [(ElementType, TensorElementType); 13] = [
    (ElementType::Bool, TensorElementType::Bool),
    (ElementType::U8, TensorElementType::Uint8),
    (ElementType::I8, TensorElementType::Int8),
    (ElementType::U16, TensorElementType::Uint16),
    (ElementType::I16, TensorElementType::Int16),
    (ElementType::U32, TensorElementType::Uint32),
    (ElementType::I32, TensorElementType::Int32),
    (ElementType::U64, TensorElementType::Uint64),
    (ElementType::I64, TensorElementType::Int64),
    (ElementType::F16, TensorElementType::Float16),
    (ElementType::BF16, TensorElementType::Bfloat16),
    (ElementType::F32, TensorElementType::Float32),
    (ElementType::F64, TensorElementType::Float64),
];

fn internal(reason: String) -> EngineError {
    EngineError::Internal { engine: NAME.into(), reason }
}

/// The name, type and shape of an input or output; sizes that nobody named are called `NAME.AXIS`.
pub(crate) fn spec(outlet: &Outlet) -> Result<TensorSpec, EngineError> {
    let name = outlet.name();
    let unsupported = |found: String| EngineError::Unsupported {
        engine: NAME.into(),
        reason: format!("{name} is of type {found}; tensors of numbers are supported"),
    };
    let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else {
        return Err(unsupported(outlet.dtype().to_string()));
    };
    let row = TYPES.iter().find(|(_, theirs)| theirs == ty);
    let (element, _) = row.ok_or_else(|| unsupported(outlet.dtype().to_string()))?;
    let dimension = |(axis, &size): (usize, &i64)| match u64::try_from(size) {
        Ok(size) => Dimension::Fixed(size),
        Err(_) => {
            let symbol = dimension_symbols.get(axis).filter(|symbol| !symbol.is_empty());
            Dimension::Symbol(symbol.cloned().unwrap_or_else(|| format!("{name}.{axis}")))
        }
    };
    Ok(TensorSpec {
        name: name.to_owned(),
        element: *element,
        shape: shape.iter().enumerate().map(dimension).collect(),
    })
}

/// A view of `tensor`; only booleans are copied, for a byte that is neither 0 nor 1 is none.
pub(crate) fn to_ort(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
    let (shape, bytes) = (tensor.shape(), tensor.bytes());
    match tensor.element() {
        ElementType::Bool => {
            let values: Vec<bool> = bytes.iter().map(|&byte| byte != 0).collect();
            Ok(RawTensor::from_array((shape.to_vec(), values))?.into())
        }
        ElementType::U8 => view(shape, bytes),
        ElementType::I8 => view::<i8>(shape, bytemuck::cast_slice(bytes)),
        ElementType::U16 => view::<u16>(shape, bytemuck::cast_slice(bytes)),
        ElementType::I16 => view::<i16>(shape, bytemuck::cast_slice(bytes)),
        ElementType::U32 => view::<u32>(shape, bytemuck::cast_slice(bytes)),
        ElementType::I32 => view::<i32>(shape, bytemuck::cast_slice(bytes)),
        ElementType::U64 => view::<u64>(shape, bytemuck::cast_slice(bytes)),
        ElementType::I64 => view::<i64>(shape, bytemuck::cast_slice(bytes)),
        ElementType::F16 => view::<half::f16>(shape, bytemuck::cast_slice::<u8, u16>(bytes).reinterpret_cast()),
        ElementType::BF16 => view::<half::bf16>(shape, bytemuck::cast_slice::<u8, u16>(bytes).reinterpret_cast()),
        ElementType::F32 => view::<f32>(shape, bytemuck::cast_slice(bytes)),
        ElementType::F64 => view::<f64>(shape, bytemuck::cast_slice(bytes)),
    }
}

fn view<'a, T>(shape: &[usize], values: &'a [T]) -> ort::Result<SessionInputValue<'a>>
where
    T: PrimitiveTensorElementType + Clone + std::fmt::Debug + 'static,
{
    Ok(TensorRef::from_array_view((shape.to_vec(), values))?.into())
}

/// A copy of an output.
pub(crate) fn from_ort(value: &DynValue, spec: &TensorSpec) -> Result<Tensor, EngineError> {
    let wrong = |what: &str| internal(format!("output {spec}: ONNX Runtime gave {what}"));
    let tensor = value.view().downcast::<DynTensorValueType>().map_err(|_| wrong("no tensor"))?;
    let found = TYPES.iter().find(|(_, theirs)| theirs == tensor.data_type()).map(|(own, _)| *own);
    if found != Some(spec.element) {
        return Err(wrong(&format!("elements of type {}", tensor.data_type())));
    }
    let shape: Option<Vec<usize>> = tensor.shape().iter().map(|&size| usize::try_from(size).ok()).collect();
    let shape = shape.ok_or_else(|| wrong("a negative size"))?;
    let bytes = ffi::tensor_bytes(&tensor).ok_or_else(|| wrong("a tensor that is not in main memory"))?;
    let mut copy = Tensor::new(spec.element, shape, bytes)?;
    if spec.element == ElementType::Bool {
        copy.bytes_mut().iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_type_has_its_row() {
        for element in ElementType::all() {
            assert_eq!(TYPES.iter().filter(|(own, _)| *own == element).count(), 1, "{element}");
        }
    }
}
