//! Operators that move, cut and join data without computing on it.

use runtime_tensor::{Dimension, ElementType};

use super::call::{Call, Found, Known, axis_index, broadcast, fixed, joined, number, one, product, sizes};
use super::contents::Entry;
use crate::Attribute;

pub(crate) fn flatten(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    let axis = call.node.int("axis", 1);
    let rank = data.shape.len();
    // The axis behind the last is allowed: everything comes before it.
    let axis = if axis == rank as i64 { rank } else { axis_index(axis, rank)? };
    one(data.element, vec![joined(&data.shape[..axis]), joined(&data.shape[axis..])])
}

pub(crate) fn reshape(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    let Some(target) = call.content(1) else {
        // At least the number of axes may be known.
        let rank = call.input(1)?.and_then(|target| target.shape.first().and_then(number));
        let rank = rank.and_then(|rank| usize::try_from(rank).ok()).filter(|&rank| rank <= 16);
        return Ok(rank.map(|rank| vec![Known { element: data.element, shape: vec![None; rank] }]));
    };
    let copies = call.node.int("allowzero", 0) == 0;
    let mut shape = Vec::with_capacity(target.entries.len());
    let mut open = None;
    for (axis, entry) in target.entries.iter().enumerate() {
        shape.push(match entry {
            Entry::Value(-1) if open.is_some() => return Err("the target has two sizes of -1".to_owned()),
            Entry::Value(-1) => {
                open = Some(axis);
                None
            }
            Entry::Value(0) if copies => {
                let size = data.shape.get(axis);
                Some(
                    size.cloned()
                        .ok_or_else(|| format!("the target copies axis {axis}, which {data} does not have"))?,
                )
            }
            Entry::Value(size) => fixed(u64::try_from(*size).map_err(|_| format!("the target has the size {size}"))?),
            Entry::Size(symbol) => Some(Dimension::Symbol(symbol.clone())),
            Entry::Unknown => None,
        });
    }
    match open {
        Some(axis) => shape[axis] = rest(&data.shape, &shape, axis)?,
        None => {
            let made = shape.iter().cloned().collect::<Option<Vec<_>>>().as_deref().and_then(product);
            if let (Some(found), Some(made)) = (product(&data.shape), made)
                && found != made
            {
                return Err(format!("{data} has {found} elements, the target {made}"));
            }
        }
    }
    one(data.element, shape)
}

/// The size that makes the number of elements come out even: numbers divided, symbols struck out.
fn rest(data: &[Dimension], target: &[Option<Dimension>], open: usize) -> Result<Option<Dimension>, String> {
    let mut left: Vec<Dimension> = data.to_vec();
    let mut divisor = 1u64;
    for (axis, size) in target.iter().enumerate().filter(|&(axis, _)| axis != open) {
        let Some(size) = size else { return Ok(None) };
        match size {
            Dimension::Fixed(size) => {
                divisor = divisor.checked_mul(*size).ok_or("the target is too large")?;
            }
            symbol => match left.iter().position(|other| other == symbol) {
                Some(place) => drop(left.remove(place)),
                None => return Err(format!("the target's axis {axis} is {symbol}, which the data does not have")),
            },
        }
    }
    let (symbols, numbers): (Vec<_>, Vec<_>) = left.into_iter().partition(|size| number(size).is_none());
    let Some(total) = product(&numbers) else { return Err("the data is too large".to_owned()) };
    if divisor == 0 {
        return Err("a size of 0 beside a size of -1 leaves it open".to_owned());
    }
    match symbols.as_slice() {
        [] if total % divisor == 0 => Ok(fixed(total / divisor)),
        [] => Err(format!("{total} elements do not divide by {divisor}")),
        [only] if total == divisor => Ok(Some(only.clone())),
        _ => Ok(None),
    }
}

pub(crate) fn transpose(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    let rank = data.shape.len();
    let order: Vec<usize> = match call.node.ints("perm") {
        None => (0..rank).rev().collect(),
        Some(order) => order.iter().map(|&axis| axis_index(axis, rank)).collect::<Result<_, _>>()?,
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(format!("perm {order:?} does not name each of {rank} axes once"));
    }
    one(data.element, order.into_iter().map(|axis| Some(data.shape[axis].clone())).collect())
}

pub(crate) fn squeeze(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    let Ok(axes) = call.ints_of("axes", 1) else { return Ok(None) };
    let rank = data.shape.len();
    let Some(axes) = axes else {
        // Without axes every 1 goes; a symbol might be one.
        if data.shape.iter().any(|size| number(size).is_none()) {
            return Ok(None);
        }
        return one(data.element, sizes(&data.shape).into_iter().filter(|size| *size != fixed(1)).collect());
    };
    let axes: Vec<usize> = axes.iter().map(|&axis| axis_index(axis, rank)).collect::<Result<_, _>>()?;
    if let Some(axis) = axes.iter().find(|&&axis| number(&data.shape[axis]).is_some_and(|size| size != 1)) {
        return Err(format!("axis {axis} of {data} is not 1"));
    }
    let kept = (0..rank).filter(|axis| !axes.contains(axis));
    one(data.element, kept.map(|axis| Some(data.shape[axis].clone())).collect())
}

pub(crate) fn unsqueeze(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    let Ok(axes) = call.ints_of("axes", 1) else { return Ok(None) };
    let axes = axes.ok_or("the axes are missing")?;
    let rank = data.shape.len() + axes.len();
    let axes: Vec<usize> = axes.iter().map(|&axis| axis_index(axis, rank)).collect::<Result<_, _>>()?;
    let mut rest = data.shape.iter().cloned();
    let shape: Vec<_> = (0..rank).map(|axis| if axes.contains(&axis) { fixed(1) } else { rest.next() }).collect();
    if shape.contains(&None) || rest.next().is_some() {
        return Err(format!("axes {axes:?} name a place twice"));
    }
    one(data.element, shape)
}

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

fn content_sizes(call: &Call<'_>, position: usize) -> Result<Option<Vec<Option<Dimension>>>, String> {
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
