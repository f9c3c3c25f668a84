//! Matrix products and quantization.

use runtime_tensor::{Dimension, ElementType, TensorSpec};

use super::call::{Call, Found, Known, axis_index, broadcast, number, one, sizes};

pub(crate) fn gemm(call: &Call<'_>) -> Found {
    let (Some(left), Some(right)) = (call.input(0)?, call.input(1)?) else { return Ok(None) };
    let ([a, b], [c, d]) = (left.shape.as_slice(), right.shape.as_slice()) else {
        return Err(format!("both must have 2 axes, found {left} and {right}"));
    };
    let (rows, inner_left) = if call.node.int("transA", 0) == 0 { (a, b) } else { (b, a) };
    let (inner_right, columns) = if call.node.int("transB", 0) == 0 { (c, d) } else { (d, c) };
    expect_equal(inner_left, inner_right)?;
    let shape = vec![Some(rows.clone()), Some(columns.clone())];
    if let Some(bias) = call.optional(2)
        && broadcast(&shape, &sizes(&bias.shape))? != shape
    {
        return Err(format!("the bias {bias} does not spread over {rows} x {columns}"));
    }
    one(left.element, shape)
}

pub(crate) fn matmul(call: &Call<'_>) -> Found {
    let Some(left) = call.input(0)? else { return Ok(None) };
    multiply(call, 1, left.element)
}

/// `MatMulInteger` gives the 32-bit sums.
pub(crate) fn matmul_integer(call: &Call<'_>) -> Found {
    multiply(call, 1, ElementType::I32)
}

/// `QLinearMatMul`: the second matrix at input 3, type of the output from its zero point at 7.
pub(crate) fn matmul_quantized(call: &Call<'_>) -> Found {
    let Some(zero_point) = call.input(7)? else { return Ok(None) };
    multiply(call, 3, zero_point.element)
}

fn multiply(call: &Call<'_>, right: usize, element: ElementType) -> Found {
    let (Some(left), Some(right)) = (call.input(0)?, call.input(right)?) else { return Ok(None) };
    let (a, b) = (left.shape.as_slice(), right.shape.as_slice());
    let (Some(inner_left), Some(_)) = (a.last(), b.last()) else {
        return Err("a scalar is no matrix".to_owned());
    };
    let inner_right = &b[b.len().saturating_sub(2)];
    expect_equal(inner_left, inner_right)?;
    let batch = |shape: &[Dimension]| sizes(&shape[..shape.len().saturating_sub(2)]);
    let mut shape = broadcast(&batch(a), &batch(b))?;
    // A vector lends its matrix one axis, which then goes away.
    if a.len() > 1 {
        shape.push(Some(a[a.len() - 2].clone()));
    }
    if b.len() > 1 {
        shape.push(Some(b[b.len() - 1].clone()));
    }
    one(element, shape)
}

fn expect_equal(left: &Dimension, right: &Dimension) -> Result<(), String> {
    match (number(left), number(right)) {
        (Some(left), Some(right)) if left != right => {
            Err(format!("the inner sizes differ: {left} on the left, {right} on the right"))
        }
        _ => Ok(()),
    }
}

/// `QuantizeLinear`: type from the zero point, then from the attribute, then u8.
pub(crate) fn quantize(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    check_parameters(call, data.shape.len())?;
    let element = match (call.node.input(2), call.node.int("output_dtype", 0)) {
        (Some(_), _) => match call.optional(2) {
            Some(zero_point) => zero_point.element,
            None => return Ok(None),
        },
        (None, 0) => ElementType::U8,
        (None, number) => i32::try_from(number)
            .ok()
            .and_then(ElementType::from_onnx)
            .ok_or_else(|| format!("ONNX data type {number} is not supported"))?,
    };
    one(element, sizes(&data.shape))
}

/// `DequantizeLinear`: type from the scale.
pub(crate) fn dequantize(call: &Call<'_>) -> Found {
    let (Some(data), Some(scale)) = (call.input(0)?, call.input(1)?) else { return Ok(None) };
    check_parameters(call, data.shape.len())?;
    one(scale.element, sizes(&data.shape))
}

/// One scale, or as many as the axis has slices, and as many zero points.
fn check_parameters(call: &Call<'_>, rank: usize) -> Result<(), String> {
    let (Some(data), Some(scale)) = (call.optional(0), call.input(1)?) else { return Ok(()) };
    // ONNX Runtime's own quantizer writes a scale of shape [1] with a scalar zero point.
    let single = |spec: &TensorSpec| spec.shape.iter().all(|size| *size == Dimension::Fixed(1));
    if let Some(zero_point) = call.optional(2)
        && zero_point.shape.len() != scale.shape.len()
        && !(single(zero_point) && single(scale))
    {
        return Err(format!("scale {scale} and zero point {zero_point} have different shapes"));
    }
    let [entries] = scale.shape.as_slice() else { return Ok(()) };
    if call.node.int("block_size", 0) != 0 || *entries == Dimension::Fixed(1) {
        return Ok(());
    }
    let axis = axis_index(call.node.int("axis", 1), rank)?;
    match (number(entries), number(&data.shape[axis])) {
        (Some(found), Some(expected)) if found != expected => {
            Err(format!("there are {found} scales for the {expected} slices of axis {axis}"))
        }
        _ => Ok(()),
    }
}

/// `DynamicQuantizeLinear`: the integers, their scale and zero point.
pub(crate) fn quantize_dynamically(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    Ok(Some(vec![
        Known { element: ElementType::U8, shape: sizes(&data.shape) },
        Known { element: ElementType::F32, shape: Vec::new() },
        Known { element: ElementType::U8, shape: Vec::new() },
    ]))
}
