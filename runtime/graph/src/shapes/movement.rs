//! Operators that cut, join and repeat data without computing on it.

use runtime_tensor::Dimension;

use super::call::{Call, Found, Known, axis_index, fixed, number, one, sizes};
use super::made::content_sizes;
use crate::Attribute;

pub(crate) fn concat(call: &Call<'_>) -> Found {
    let Some(first) = call.input(0)? else { return Ok(None) };
    let axis = axis_index(call.node.int("axis", 0), first.shape.len())?;
    let mut shape = sizes(&first.shape);
    let mut total = number(&first.shape[axis]);
    for position in 1..call.node.inputs.len() {
        let Some(part) = call.input(position)? else { return Ok(None) };
        if part.shape.len() != shape.len() || part.element != first.element {
            return Err(format!("input {position}, {part}, does not join {first}"));
        }
        total = match (total, number(&part.shape[axis])) {
            (Some(total), Some(more)) => Some(total.checked_add(more).ok_or("the sum of sizes is too large")?),
            _ => None,
        };
        for (index, size) in part.shape.iter().enumerate().filter(|&(index, _)| index != axis) {
            match (shape[index].as_ref().and_then(number), number(size)) {
                (Some(left), Some(right)) if left != right => {
                    return Err(format!("axis {index} is {right} in input {position} and {left} before it"));
                }
                (None, Some(_)) => shape[index] = Some(size.clone()),
                _ => {}
            }
        }
    }
    if call.node.inputs.len() > 1 {
        shape[axis] = total.map(Dimension::Fixed);
    }
    one(first.element, shape)
}

pub(crate) fn slice(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    let rank = data.shape.len();
    let open = || Ok(Some(vec![Known { element: data.element, shape: vec![None; rank] }]));
    let (Ok(starts), Ok(ends), Ok(axes), Ok(steps)) =
        (call.ints_of("starts", 1), call.ints_of("ends", 2), call.ints_of("axes", 3), call.ints_of("steps", 4))
    else {
        return open();
    };
    let (starts, ends) = (starts.ok_or("the starts are missing")?, ends.ok_or("the ends are missing")?);
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return Err("starts, ends, axes and steps have different lengths".to_owned());
    }
    let mut shape = sizes(&data.shape);
    for (index, &axis) in axes.iter().enumerate() {
        let axis = axis_index(axis, rank)?;
        shape[axis] = match &data.shape[axis] {
            Dimension::Fixed(size) => fixed(slice_length(*size, starts[index], ends[index], steps[index])?),
            whole if (starts[index], steps[index]) == (0, 1) && ends[index] >= i64::from(i32::MAX) => {
                Some(whole.clone())
            }
            Dimension::Symbol(_) => None,
        };
    }
    one(data.element, shape)
}

/// How many entries a slice takes; bounds outside are clamped, as in Python.
fn slice_length(size: u64, start: i64, end: i64, step: i64) -> Result<u64, String> {
    let size = i128::from(size);
    let wrap = |value: i64| if value < 0 { i128::from(value) + size } else { i128::from(value) };
    let (start, end, step) = (wrap(start), wrap(end), i128::from(step));
    let span = match step {
        0 => return Err("a step of 0 never ends".to_owned()),
        1.. => end.clamp(0, size) - start.clamp(0, size),
        _ => start.clamp(-1, size - 1) - end.clamp(-1, size - 1),
    };
    // Not negative and not more than `size`, so it fits.
    Ok(if span <= 0 { 0 } else { ((span + step.abs() - 1) / step.abs()) as u64 })
}

pub(crate) fn pad(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    let rank = data.shape.len();
    let (Ok(pads), Ok(axes)) = (call.ints_of("pads", 1), call.ints_of("axes", 3)) else {
        return Ok(Some(vec![Known { element: data.element, shape: vec![None; rank] }]));
    };
    let pads = pads.ok_or("the pads are missing")?;
    let axes = axes.unwrap_or_else(|| (0..rank as i64).collect());
    if pads.len() != 2 * axes.len() {
        return Err(format!("there are {} pads for {} axes", pads.len(), axes.len()));
    }
    let mut shape = sizes(&data.shape);
    for (index, &axis) in axes.iter().enumerate() {
        let axis = axis_index(axis, rank)?;
        let added = i128::from(pads[index]) + i128::from(pads[index + axes.len()]);
        shape[axis] = match &data.shape[axis] {
            same if added == 0 => Some(same.clone()),
            Dimension::Fixed(size) => {
                let padded = u64::try_from(i128::from(*size) + added);
                fixed(padded.map_err(|_| format!("pads of {added} on axis {axis} of size {size}"))?)
            }
            Dimension::Symbol(_) => None,
        };
    }
    one(data.element, shape)
}

pub(crate) fn gather(call: &Call<'_>) -> Found {
    let (Some(data), Some(indices)) = (call.input(0)?, call.input(1)?) else { return Ok(None) };
    let axis = axis_index(call.node.int("axis", 0), data.shape.len())?;
    let shape = data.shape[..axis].iter().chain(&indices.shape).chain(&data.shape[axis + 1..]);
    one(data.element, shape.cloned().map(Some).collect())
}

pub(crate) fn gather_elements(call: &Call<'_>) -> Found {
    let (Some(data), Some(indices)) = (call.input(0)?, call.input(1)?) else { return Ok(None) };
    one(data.element, sizes(&indices.shape))
}

pub(crate) fn tile(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    let Some(repeats) = call.known_ints(1) else {
        return one(data.element, vec![None; data.shape.len()]);
    };
    if repeats.len() != data.shape.len() {
        return Err(format!("there are {} repeats for {data}", repeats.len()));
    }
    let tiled = |(size, &repeat): (&Dimension, &i64)| match (size, u64::try_from(repeat)) {
        (_, Err(_)) => Err(format!("a repeat is {repeat}")),
        (size, Ok(1)) => Ok(Some(size.clone())),
        (Dimension::Fixed(size), Ok(repeat)) => Ok(fixed(size.checked_mul(repeat).ok_or("a size is too large")?)),
        _ => Ok(None),
    };
    one(data.element, data.shape.iter().zip(&repeats).map(tiled).collect::<Result<_, String>>()?)
}

pub(crate) fn split(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    let axis = axis_index(call.node.int("axis", 0), data.shape.len())?;
    let count = call.node.outputs.len();
    let part = |size: Option<Dimension>| {
        let mut shape = sizes(&data.shape);
        shape[axis] = size;
        Known { element: data.element, shape }
    };
    let Ok(lengths) = call.ints_of("split", 1) else { return Ok(Some(vec![part(None); count])) };
    let total = number(&data.shape[axis]);
    if let Some(lengths) = lengths {
        let lengths: Option<Vec<u64>> = lengths.iter().map(|&length| u64::try_from(length).ok()).collect();
        let lengths = lengths.ok_or("a part has a negative length")?;
        let sum = lengths.iter().try_fold(0u64, |sum, &length| sum.checked_add(length));
        if lengths.len() != count || total.is_some_and(|total| sum != Some(total)) {
            return Err(format!("parts of {lengths:?} do not make {count} outputs of axis {axis} of {data}"));
        }
        return Ok(Some(lengths.into_iter().map(|length| part(fixed(length))).collect()));
    }
    let Some(total) = total else { return Ok(Some(vec![part(None); count])) };
    // Version 18 lets the last part be smaller.
    let length = total.div_ceil(count.max(1) as u64);
    let begins = |index: usize| (index as u64).saturating_mul(length).min(total);
    Ok(Some((0..count).map(|index| part(fixed(begins(index + 1) - begins(index)))).collect()))
}

pub(crate) fn resize(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    let rank = data.shape.len();
    let open = one(data.element, vec![None; rank]);
    // Version 10 and Upsample: (data, scales); later (data, region, scales, sizes).
    let scales_at = if call.node.operator == "Upsample" || call.opset < 11 { 1 } else { 2 };
    if call.node.attributes.contains_key("axes") {
        return open;
    }
    if call.node.input(3).is_some() {
        let Some(shape) = content_sizes(call, 3)? else { return open };
        return if shape.len() == rank {
            one(data.element, shape)
        } else {
            Err(format!("{} sizes for {data}", shape.len()))
        };
    }
    let scales = match call.node.attributes.get("scales") {
        Some(Attribute::Floats(scales)) => scales.clone(),
        _ => match call.constant(scales_at).and_then(|scales| scales.as_f32().ok()) {
            Some(scales) => scales.to_vec(),
            None => return open,
        },
    };
    if scales.len() != rank || scales.iter().any(|scale| !(*scale > 0.0 && scale.is_finite())) {
        return Err(format!("scales {scales:?} do not fit {data}"));
    }
    let scaled = |(size, &scale): (&Dimension, &f32)| match size {
        same if scale == 1.0 => Some(same.clone()),
        // Rounded down, as the operator says; a float beyond 64 bits saturates.
        Dimension::Fixed(size) => fixed((*size as f64 * f64::from(scale)).floor() as u64),
        Dimension::Symbol(_) => None,
    };
    one(data.element, data.shape.iter().zip(&scales).map(scaled).collect())
}
