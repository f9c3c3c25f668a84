//! Work on the bytes of a model file without decoding it: new weights in place, and where weights lie.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use runtime_tensor::Tensor;

use crate::read::Budget;
use crate::read_tensor::RawTensor;
use crate::wire::{Field, Reader, Writer};
use crate::{GraphError, ReadLimits};

/// Numbers of `TensorProto` that hold data: float, int32, int64, raw, double, uint64.
const DATA_FIELDS: [u32; 6] = [4, 5, 7, 9, 10, 11];
/// `TensorProto.raw_data`.
const RAW_DATA: u32 = 9;

/// The byte ranges of all initializers' raw data in a model file, in the order of the file.
///
/// These are where the contents of a file change from one tensor to the next, so a packer cuts there. Tensors
/// without raw data have no range.
pub fn tensor_ranges(bytes: &[u8]) -> Result<Vec<Range<u64>>, GraphError> {
    let mut ranges = Vec::new();
    let mut model = Reader::new(bytes, "ModelProto");
    while let Some(field) = model.field()? {
        if field.number != 7 {
            continue;
        }
        let mut graph = field.message("GraphProto")?;
        while let Some(field) = graph.field()? {
            if field.number != 5 {
                continue;
            }
            let mut tensor = field.message("TensorProto")?;
            while let Some(field) = tensor.field()? {
                if field.number == RAW_DATA {
                    let range = field.bytes()?.range();
                    ranges.push(range.start as u64..range.end as u64);
                }
            }
        }
    }
    Ok(ranges)
}

/// The same file with new values in some initializers: [`Model::replace_initializers`](crate::Model::replace_initializers).
pub(crate) fn replace_initializers(bytes: &[u8], tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>, GraphError> {
    let mut missing: BTreeSet<&str> = tensors.keys().map(String::as_str).collect();
    let replaced = rewrite(Reader::new(bytes, "ModelProto"), bytes, &mut |field| {
        if field.number != 7 {
            return Ok(None);
        }
        rewrite(field.message("GraphProto")?, bytes, &mut |field| {
            if field.number != 5 {
                return Ok(None);
            }
            replace_tensor(field.message("TensorProto")?, bytes, tensors, &mut missing)
        })
    })?;
    if let Some(tensor) = missing.first() {
        return Err(GraphError::Initializer {
            tensor: (*tensor).to_owned(),
            reason: "the model has no initializer of this name".to_owned(),
        });
    }
    Ok(replaced.unwrap_or_else(|| bytes.to_vec()))
}

/// A new payload for a field, or `None` to keep its exact bytes.
type Change<'c, 'a> = &'c mut dyn FnMut(&Field<'a>) -> Result<Option<Vec<u8>>, GraphError>;

/// Copies a message field by field; `None` when nothing changed.
fn rewrite<'a>(mut message: Reader<'a>, file: &'a [u8], change: Change<'_, 'a>) -> Result<Option<Vec<u8>>, GraphError> {
    let mut writer = Writer::default();
    let mut changed = false;
    while let Some(field) = message.field()? {
        match change(&field)? {
            Some(payload) => {
                writer.payload(field.number, &payload);
                changed = true;
            }
            None => writer.bytes.extend_from_slice(&file[field.whole]),
        }
    }
    Ok(changed.then_some(writer.bytes))
}

/// The `TensorProto` with the new data as one `raw_data`, which stands where its first data stood.
fn replace_tensor(
    message: Reader<'_>,
    file: &[u8],
    tensors: &BTreeMap<String, Tensor>,
    missing: &mut BTreeSet<&str>,
) -> Result<Option<Vec<u8>>, GraphError> {
    let limits = ReadLimits::default();
    let raw = RawTensor::read(message, &mut Budget::new(&limits))?;
    let Some(tensor) = tensors.get(raw.name) else {
        return Ok(None);
    };
    missing.remove(raw.name);
    let refuse = |reason: String| GraphError::Initializer { tensor: raw.name.to_owned(), reason };
    if raw.external.is_some() {
        return Err(refuse("its data lies in another file; save the model with its data inside first".to_owned()));
    }
    let (element, shape) = (raw.element()?, raw.shape(&message)?);
    if tensor.element() != element || tensor.shape() != shape {
        return Err(refuse(format!(
            "the file has {element}{shape:?}, the new tensor is {}{:?}",
            tensor.element(),
            tensor.shape()
        )));
    }
    let mut writer = Writer::default();
    let mut written = false;
    let mut fields = message;
    while let Some(field) = fields.field()? {
        if !DATA_FIELDS.contains(&field.number) {
            writer.bytes.extend_from_slice(&file[field.whole]);
        } else if !written {
            writer.payload(RAW_DATA, tensor.bytes());
            written = true;
        }
    }
    if !written && !tensor.is_empty() {
        writer.payload(RAW_DATA, tensor.bytes());
    }
    Ok(Some(writer.bytes))
}
