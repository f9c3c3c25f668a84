//! Operators that take away axes.

use runtime_tensor::ElementType;

use super::call::{Call, Found, axis_index, fixed, one};

/// `ReduceMean` and its family.
pub(crate) fn reduce(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    let rank = data.shape.len();
    let keeps = call.node.int("keepdims", 1) != 0;
    let Ok(axes) = call.ints_of("axes", 1) else {
        return if keeps { one(data.element, vec![None; rank]) } else { Ok(None) };
    };
    let axes = axes.unwrap_or_default();
    let reduced: Vec<usize> = match axes.is_empty() {
        true if call.node.int("noop_with_empty_axes", 0) != 0 => Vec::new(),
        true => (0..rank).collect(),
        false => axes.iter().map(|&axis| axis_index(axis, rank)).collect::<Result<_, _>>()?,
    };
    let size = |axis: usize| match (reduced.contains(&axis), keeps) {
        (false, _) => Some(Some(data.shape[axis].clone())),
        (true, true) => Some(fixed(1)),
        (true, false) => None,
    };
    one(data.element, (0..rank).filter_map(size).collect())
}

/// `ArgMax` and `ArgMin`.
pub(crate) fn argument(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    let rank = data.shape.len();
    let axis = axis_index(call.node.int("axis", 0), rank)?;
    let keeps = call.node.int("keepdims", 1) != 0;
    let size = |index: usize| match (index == axis, keeps) {
        (false, _) => Some(Some(data.shape[index].clone())),
        (true, true) => Some(fixed(1)),
        (true, false) => None,
    };
    one(ElementType::I64, (0..rank).filter_map(size).collect())
}
