//! JSON: nested lists of numbers for the one input, or `{"name": lists, ...}`, or the inference API's own form.

use runtime_artifact::{Contract, TensorContract};
use runtime_tensor::{ElementType, NamedTensor, Tensor};
use serde_json::Value;

use super::{InputError, fit, given_inputs, only_input};

/// Axes of nested lists.
const AXES_MAX: usize = 16;

/// Whether the bytes begin as JSON lists or objects do.
pub(super) fn is_json(bytes: &[u8]) -> bool {
    matches!(bytes.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b'[' | b'{'))
}

fn wrong(message: impl std::fmt::Display) -> InputError {
    InputError::Json(message.to_string())
}

/// Reads the model's inputs.
pub(super) fn read(bytes: &[u8], contract: &Contract) -> Result<Vec<NamedTensor>, InputError> {
    let value: Value = serde_json::from_slice(bytes).map_err(wrong)?;
    let Value::Object(object) = &value else {
        let input = only_input(contract)?;
        return Ok(vec![tensor(&value, None, input)?]);
    };
    let listed = object.get("inputs").and_then(Value::as_array);
    let find = |name: &str| match listed {
        Some(list) => {
            let entry = list.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some(name))?;
            Some((entry.get("data")?, entry.get("shape").and_then(Value::as_array)))
        }
        None => Some((object.get(name)?, None)),
    };
    let mut inputs = Vec::new();
    for input in given_inputs(contract) {
        let (data, shape) = find(&input.name).ok_or_else(|| InputError::Unfit {
            input: input.name.clone(),
            found: "no such name in the JSON".to_owned(),
            expected: format!("{{\"{}\": [..]}}", input.name),
        })?;
        inputs.push(tensor(data, shape, input)?);
    }
    Ok(inputs)
}

/// Nested lists as a tensor of the input's element type; `shape` is given where the list is flat.
fn tensor(data: &Value, shape: Option<&Vec<Value>>, input: &TensorContract) -> Result<NamedTensor, InputError> {
    let mut numbers = Vec::new();
    let mut found = Vec::new();
    flatten(data, 0, &mut found, &mut numbers)?;
    if let Some(shape) = shape {
        let axes = shape.iter().map(|axis| axis.as_u64().and_then(|axis| usize::try_from(axis).ok()));
        found = axes.collect::<Option<_>>().ok_or_else(|| wrong("a shape is a list of whole numbers"))?;
    }
    let tensor = build(input.element, found, &numbers)?;
    fit(tensor, input)
}

fn flatten<'a>(
    value: &'a Value,
    depth: usize,
    shape: &mut Vec<usize>,
    numbers: &mut Vec<&'a Value>,
) -> Result<(), InputError> {
    let Value::Array(list) = value else {
        if depth != shape.len() {
            return Err(wrong("the lists are not equally deep"));
        }
        numbers.push(value);
        return Ok(());
    };
    if depth >= AXES_MAX {
        return Err(wrong(format!("the lists are more than {AXES_MAX} deep")));
    }
    if depth == shape.len() {
        if !numbers.is_empty() {
            return Err(wrong("the lists are not equally deep"));
        }
        shape.push(list.len());
    } else if shape[depth] != list.len() {
        return Err(wrong(format!("a list has {} elements where its neighbour has {}", list.len(), shape[depth])));
    }
    list.iter().try_for_each(|inner| flatten(inner, depth + 1, shape, numbers))
}

fn build(element: ElementType, shape: Vec<usize>, numbers: &[&Value]) -> Result<Tensor, InputError> {
    let mut bytes = Vec::with_capacity(numbers.len() * element.size_bytes());
    for (place, number) in numbers.iter().enumerate() {
        let fitted = match element {
            ElementType::F32 => number.as_f64().map(|value| (value as f32).to_le_bytes().to_vec()),
            ElementType::F64 => number.as_f64().map(|value| value.to_le_bytes().to_vec()),
            ElementType::Bool => number.as_bool().map(|value| vec![u8::from(value)]),
            ElementType::F16 | ElementType::BF16 => None,
            integer => number.as_i64().map(i128::from).or(number.as_u64().map(i128::from)).and_then(|value| {
                let size = integer.size_bytes();
                let signed = integer.name().starts_with('i');
                let bits = 8 * size as u32 - u32::from(signed);
                let fits = value < (1_i128 << bits) && value >= if signed { -(1_i128 << bits) } else { 0 };
                fits.then(|| value.to_le_bytes()[..size].to_vec())
            }),
        };
        let fitted =
            fitted.ok_or_else(|| wrong(format!("element {place} is {number}, expected {}", element.name())))?;
        bytes.extend_from_slice(&fitted);
    }
    Tensor::new(element, shape, &bytes).map_err(wrong)
}
