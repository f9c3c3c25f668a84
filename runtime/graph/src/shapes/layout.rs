//! Operators that keep the elements and give them other axes.

use runtime_tensor::{Dimension, TENSOR_RANK_MAX};

use super::call::{Call, Found, Known, axis_index, fixed, joined, number, one, product, sizes};
use super::contents::Entry;

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
    let rank = data.shape.len().saturating_add(axes.len());
    if rank > TENSOR_RANK_MAX {
        return Err(format!("{} more axes are over the limit of {TENSOR_RANK_MAX}", axes.len()));
    }
    let axes: Vec<usize> = axes.iter().map(|&axis| axis_index(axis, rank)).collect::<Result<_, _>>()?;
    let mut rest = data.shape.iter().cloned();
    let shape: Vec<_> = (0..rank).map(|axis| if axes.contains(&axis) { fixed(1) } else { rest.next() }).collect();
    if shape.contains(&None) || rest.next().is_some() {
        return Err(format!("axes {axes:?} name a place twice"));
    }
    one(data.element, shape)
}
