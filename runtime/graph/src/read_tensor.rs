//! `TensorProto`: the five ways in which ONNX stores numbers.

use std::ops::Range;

use runtime_tensor::{Dimension, ElementType, TENSOR_BYTES_MAX, TENSOR_RANK_MAX, Tensor, TensorSpec};

use crate::read::{Budget, within};
use crate::wire::{Field, Reader, Value};
use crate::{GraphError, ReadLimits};

/// Where tensors that lie in other files come from.
pub(crate) trait ExternalSource {
    /// Exactly `bytes` bytes.
    fn read(&self, tensor: &str, reference: &ExternalReference, bytes: u64) -> Result<Vec<u8>, GraphError>;
}

/// The `external_data` entries of a tensor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExternalReference {
    pub(crate) location: String,
    pub(crate) offset: u64,
    pub(crate) length: Option<u64>,
}

/// For models that came as bytes: there is no folder.
pub(crate) struct NoExternalData;

impl ExternalSource for NoExternalData {
    fn read(&self, tensor: &str, reference: &ExternalReference, _bytes: u64) -> Result<Vec<u8>, GraphError> {
        Err(GraphError::ExternalData {
            tensor: tensor.to_owned(),
            location: reference.location.clone(),
            reason: "this model must be one file; open it by its path, or save it with its data inside".to_owned(),
        })
    }
}

/// Bytes from which on a constant may stay in the file; smaller ones are copied sooner than looked after.
const DEFERRED_BYTES_MIN: u64 = 512;

/// A tensor with its name in the graph.
pub(crate) struct Initializer {
    pub(crate) name: String,
    pub(crate) data: Data,
}

/// Where the elements of a tensor are.
pub(crate) enum Data {
    /// They stood in the file.
    Here(Tensor),
    /// They came from another file.
    Elsewhere(Tensor),
    /// They stay in the file, here.
    Deferred(TensorSpec, Range<usize>),
}

/// The fields of a `TensorProto`, undecoded. Data fields may come in several pieces.
#[derive(Default)]
pub(crate) struct RawTensor<'a> {
    pub(crate) name: &'a str,
    pub(crate) dims: Vec<i64>,
    pub(crate) data_type: i32,
    /// The last `raw_data`, as protobuf says.
    pub(crate) raw: Option<Reader<'a>>,
    /// `float_data`, `int32_data`, `int64_data`, `double_data`, `uint64_data`, in the order of the file.
    pub(crate) typed: Vec<Field<'a>>,
    pub(crate) external: Option<ExternalReference>,
    pub(crate) strings: bool,
}

impl<'a> RawTensor<'a> {
    pub(crate) fn read(mut reader: Reader<'a>, budget: &mut Budget<'_>) -> Result<Self, GraphError> {
        let mut raw = Self::default();
        let mut reference = ExternalReference::default();
        let mut location = 0;
        while let Some(field) = reader.field()? {
            match field.number {
                1 => ints(&field, budget, &mut raw.dims)?,
                2 => raw.data_type = field.int32()?,
                3 => return Err(reader.malformed("tensors in segments are not supported by any ONNX version")),
                4 | 5 | 7 | 10 | 11 => {
                    budget.entries(1)?;
                    raw.typed.push(field);
                }
                6 => raw.strings = true,
                8 => raw.name = field.text()?,
                9 => raw.raw = Some(field.bytes()?),
                13 => read_external_entry(field.message("StringStringEntryProto")?, &mut reference)?,
                14 => location = field.int32()?,
                _ => {}
            }
        }
        match location {
            0 => {}
            1 => raw.external = Some(reference),
            other => return Err(reader.malformed(format!("data location {other} does not exist"))),
        }
        Ok(raw)
    }

    pub(crate) fn element(&self) -> Result<ElementType, GraphError> {
        ElementType::from_onnx(self.data_type)
            .ok_or_else(|| GraphError::Element { place: format!("tensor {:?}", self.name), data_type: self.data_type })
    }

    pub(crate) fn shape(&self, reader: &Reader<'_>) -> Result<Vec<usize>, GraphError> {
        let size = |&size: &i64| usize::try_from(size).ok();
        self.dims.iter().map(size).collect::<Option<_>>().ok_or_else(|| {
            reader.malformed(format!("tensor {:?} has the shape {:?}; sizes are never negative", self.name, self.dims))
        })
    }
}

fn read_external_entry(mut reader: Reader<'_>, reference: &mut ExternalReference) -> Result<(), GraphError> {
    let (mut key, mut value) = ("", "");
    while let Some(field) = reader.field()? {
        match field.number {
            1 => key = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
    }
    let number =
        || value.parse::<u64>().map_err(|_| reader.malformed(format!("external {key} {value:?} is no number")));
    match key {
        "location" => reference.location = value.to_owned(),
        "offset" => reference.offset = number()?,
        "length" => reference.length = Some(number()?),
        // "checksum" is informative; the artifact's digests are what is trusted.
        _ => {}
    }
    Ok(())
}

/// Reads a `TensorProto`; memory is reserved only for data that is there.
pub(crate) fn read_tensor(
    reader: Reader<'_>,
    budget: &mut Budget<'_>,
    external: &dyn ExternalSource,
) -> Result<(String, Tensor), GraphError> {
    let Initializer { name, data } = read_initializer(reader, budget, external, false)?;
    match data {
        Data::Here(tensor) | Data::Elsewhere(tensor) => Ok((name, tensor)),
        Data::Deferred(..) => Err(reader.malformed(format!("tensor {name:?} was left in the file"))),
    }
}

/// Reads a `TensorProto`, whose elements may stay in the file if `defer`, and if they are large and lie together.
pub(crate) fn read_initializer(
    reader: Reader<'_>,
    budget: &mut Budget<'_>,
    external: &dyn ExternalSource,
    defer: bool,
) -> Result<Initializer, GraphError> {
    let raw = RawTensor::read(reader, budget)?;
    let element = raw.element()?;
    let shape = raw.shape(&reader)?;
    let name = raw.name.to_owned();
    let fail = |source| GraphError::Tensor { tensor: name.clone(), source };
    // Checked products: a wrong one can only make the length comparison below fail.
    let count = shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size as u64));
    let expected = count.and_then(|count| count.checked_mul(element.size_bytes() as u64)).ok_or(GraphError::Limit {
        what: "the number of bytes of one tensor",
        found: u64::MAX,
        max: u64::MAX - 1,
    })?;
    if let Some(reference) = &raw.external {
        budget.tensor(expected)?;
        if let Some(length) = reference.length.filter(|&length| length != expected) {
            return Err(GraphError::ExternalData {
                tensor: name,
                location: reference.location.clone(),
                reason: format!("its length is {length} bytes, its shape needs {expected}"),
            });
        }
        let bytes = external.read(raw.name, reference, expected)?;
        let tensor = Tensor::new(element, shape, &bytes).map_err(fail)?;
        return Ok(Initializer { name, data: Data::Elsewhere(tensor) });
    }
    if let Some(payload) = raw.raw.filter(|_| defer && expected >= DEFERRED_BYTES_MIN) {
        let fits = payload.bytes().len() as u64 == expected && expected <= TENSOR_BYTES_MAX;
        if fits && shape.len() <= TENSOR_RANK_MAX {
            budget.tensor(expected)?;
            let shape = shape.iter().map(|&size| Dimension::Fixed(size as u64)).collect();
            let spec = TensorSpec { name: name.clone(), element, shape };
            return Ok(Initializer { name, data: Data::Deferred(spec, payload.range()) });
        }
    }
    let typed;
    let bytes = match raw.raw {
        Some(payload) if !payload.is_empty() || raw.typed.is_empty() => payload.bytes(),
        _ => {
            typed = typed_values(&raw.typed, element, expected, &reader)?;
            &typed
        }
    };
    budget.tensor(bytes.len() as u64)?;
    let tensor = Tensor::new(element, shape, bytes).map_err(fail)?;
    Ok(Initializer { name, data: Data::Here(tensor) })
}

/// Reads one tensor saved by itself (a `TensorProto`, as ONNX's own test data are) with its name.
///
/// Errors: [`GraphError::Element`] for strings and other types that tensors here do not have, and what a tensor inside
/// of a model can be refused for. Data in other files is refused.
pub fn read_tensor_proto(bytes: &[u8], limits: &ReadLimits) -> Result<(String, Tensor), GraphError> {
    within("the number of bytes of the file", bytes.len() as u64, limits.bytes_max)?;
    read_tensor(Reader::new(bytes, "TensorProto"), &mut Budget::new(limits), &NoExternalData)
}

/// Numbers from the typed fields, laid out as the element type wants them; stops when there are more than
/// `expected` bytes. Each takes at least one byte of the file, so what is reserved is bounded by what is there.
fn typed_values(
    fields: &[Field<'_>],
    element: ElementType,
    expected: u64,
    reader: &Reader<'_>,
) -> Result<Vec<u8>, GraphError> {
    let wanted = match element {
        ElementType::F32 => 4,
        ElementType::F64 => 10,
        ElementType::I64 => 7,
        ElementType::U32 | ElementType::U64 => 11,
        _ => 5,
    };
    let size = element.size_bytes();
    let mut bytes = Vec::new();
    for field in fields {
        if field.number != wanted {
            return Err(reader.malformed(format!("elements of type {element} stand in field {}", field.number)));
        }
        let mut put = |value: u64| bytes.extend_from_slice(&value.to_le_bytes()[..size]);
        match field.value {
            Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    put(match wanted {
                        4 => u64::from(u32::from_le_bytes(packed.array()?)),
                        10 => u64::from_le_bytes(packed.array()?),
                        _ => packed.varint()?,
                    });
                }
            }
            Value::Varint(value) | Value::Fixed64(value) => put(value),
            Value::Fixed32(value) => put(u64::from(value)),
        }
        if bytes.len() as u64 > expected {
            return Err(reader.malformed(format!("there are more than the {expected} bytes that the shape needs")));
        }
    }
    Ok(bytes)
}

/// A packed or unpacked list of integers.
pub(crate) fn ints(field: &Field<'_>, budget: &mut Budget<'_>, list: &mut Vec<i64>) -> Result<(), GraphError> {
    if let Value::Bytes(mut packed) = field.value {
        while !packed.is_empty() {
            budget.entries(1)?;
            list.push(packed.varint()? as i64);
        }
        return Ok(());
    }
    budget.entries(1)?;
    list.push(field.int()?);
    Ok(())
}

/// A packed or unpacked list of floats.
pub(crate) fn floats(field: &Field<'_>, budget: &mut Budget<'_>, list: &mut Vec<f32>) -> Result<(), GraphError> {
    if let Value::Bytes(mut packed) = field.value {
        while !packed.is_empty() {
            budget.entries(1)?;
            list.push(f32::from_bits(u32::from_le_bytes(packed.array()?)));
        }
        return Ok(());
    }
    budget.entries(1)?;
    list.push(field.float()?);
    Ok(())
}
