//! Operators that make values out of sizes, or out of nothing.

use runtime_tensor::{Dimension, ElementType};

use super::call::{Call, Found, axis_index, broadcast, fixed, number, one, sizes};
use super::contents::Entry;
use crate::Attribute;

pub(crate) fn shape(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    let rank = data.shape.len() as i64;
    let bound = |value: i64| (if value < 0 { value.saturating_add(rank) } else { value }).clamp(0, rank);
    let (start, end) = (bound(call.node.int("start", 0)), bound(call.node.int("end", rank)));
    one(ElementType::I64, vec![fixed((end - start).max(0).unsigned_abs())])
}

pub(crate) fn size(call: &Call<'_>) -> Found {
    call.input(0)?;
    one(ElementType::I64, Vec::new())
}

pub(crate) fn constant(call: &Call<'_>) -> Found {
    for (name, attribute) in &call.node.attributes {
        let length = |count: usize| vec![fixed(count as u64)];
        match (name.as_str(), attribute) {
            ("value", Attribute::Tensor(tensor)) => {
                return one(tensor.element(), tensor.shape().iter().map(|&size| fixed(size as u64)).collect());
            }
            ("value_int", _) => return one(ElementType::I64, Vec::new()),
            ("value_float", _) => return one(ElementType::F32, Vec::new()),
            ("value_ints", Attribute::Ints(values)) => return one(ElementType::I64, length(values.len())),
            ("value_floats", Attribute::Floats(values)) => return one(ElementType::F32, length(values.len())),
            _ => {}
        }
    }
    // Strings and sparse tensors: no element type of ours.
    Ok(None)
}

pub(crate) fn constant_of_shape(call: &Call<'_>) -> Found {
    let element = call.node.tensor("value").map_or(ElementType::F32, runtime_tensor::Tensor::element);
    filled_shape(call, 0, element)
}

/// An output whose shape is the content of the input at `position`.
fn filled_shape(call: &Call<'_>, position: usize, element: ElementType) -> Found {
    let Some(shape) = content_sizes(call, position)? else { return Ok(None) };
    one(element, shape)
}

pub(crate) fn content_sizes(call: &Call<'_>, position: usize) -> Result<Option<Vec<Option<Dimension>>>, String> {
    let Some(content) = call.content(position) else {
        let rank = call.input(position)?.and_then(|spec| spec.shape.first().and_then(number));
        return Ok(rank.filter(|&rank| rank <= 16).map(|rank| vec![None; rank as usize]));
    };
    let size = |entry: &Entry| match entry {
        Entry::Value(size) => u64::try_from(*size).map(fixed).map_err(|_| format!("a size is {size}")),
        Entry::Size(symbol) => Ok(Some(Dimension::Symbol(symbol.clone()))),
        Entry::Unknown => Ok(None),
    };
    content.entries.iter().map(size).collect::<Result<_, _>>().map(Some)
}

pub(crate) fn expand(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    let Some(target) = content_sizes(call, 1)? else { return Ok(None) };
    one(data.element, broadcast(&sizes(&data.shape), &target)?)
}

pub(crate) fn one_hot(call: &Call<'_>) -> Found {
    let (Some(indices), Some(values)) = (call.input(0)?, call.input(2)?) else { return Ok(None) };
    let rank = indices.shape.len() + 1;
    let axis = axis_index(call.node.int("axis", -1), rank)?;
    let depth = call.known_ints(1).and_then(|depth| depth.first().copied());
    let mut shape = sizes(&indices.shape);
    shape.insert(axis, depth.and_then(|depth| u64::try_from(depth).ok()).map(Dimension::Fixed));
    one(values.element, shape)
}

pub(crate) fn range(call: &Call<'_>) -> Found {
    let Some(start) = call.input(0)? else { return Ok(None) };
    let bounds = (call.known_ints(0), call.known_ints(1), call.known_ints(2));
    let count = match bounds {
        (Some(start), Some(limit), Some(step)) => match (start.first(), limit.first(), step.first()) {
            (Some(&start), Some(&limit), Some(&step)) if step != 0 => {
                let (span, step) = (i128::from(limit) - i128::from(start), i128::from(step));
                u64::try_from((span + step - step.signum()) / step).ok().or(Some(0))
            }
            _ => None,
        },
        _ => None,
    };
    one(start.element, vec![count.map(Dimension::Fixed)])
}
