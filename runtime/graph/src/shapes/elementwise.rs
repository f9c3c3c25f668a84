//! Operators whose output has the shape of an input, or of inputs spread over each other.

use runtime_tensor::{Dimension, ElementType};

use super::call::{Call, Found, Known, axis_index, broadcast, fixed, number, one, same, sizes};

/// Same type and shape as the first input.
pub(crate) fn unary(call: &Call<'_>) -> Found {
    Ok(call.input(0)?.map(|input| vec![same(input)]))
}

/// `Dropout` has a mask as its second output.
pub(crate) fn dropout(call: &Call<'_>) -> Found {
    let Some(input) = call.input(0)? else { return Ok(None) };
    let mask = Known { element: ElementType::Bool, shape: sizes(&input.shape) };
    Ok(Some(vec![same(input), mask]))
}

pub(crate) fn cast(call: &Call<'_>) -> Found {
    let Some(input) = call.input(0)? else { return Ok(None) };
    let to = call.node.int("to", 0);
    let element = i32::try_from(to).ok().and_then(ElementType::from_onnx);
    let element = element.ok_or_else(|| format!("ONNX data type {to} is not supported"))?;
    one(element, sizes(&input.shape))
}

pub(crate) fn logical_not(call: &Call<'_>) -> Found {
    Ok(call.input(0)?.map(|input| vec![Known { element: ElementType::Bool, shape: sizes(&input.shape) }]))
}

/// Any number of inputs of one type.
pub(crate) fn arithmetic(call: &Call<'_>) -> Found {
    let Some((element, shape)) = spread(call, 0)? else { return Ok(None) };
    one(element, shape)
}

pub(crate) fn comparison(call: &Call<'_>) -> Found {
    let Some((_, shape)) = spread(call, 0)? else { return Ok(None) };
    one(ElementType::Bool, shape)
}

/// The exponent of `Pow` and the slope of `PRelu` may have another type and shape.
pub(crate) fn power(call: &Call<'_>) -> Found {
    let (Some(base), Some(exponent)) = (call.input(0)?, call.input(1)?) else { return Ok(None) };
    one(base.element, broadcast(&sizes(&base.shape), &sizes(&exponent.shape))?)
}

/// The condition of `Where` takes part in the shape, not in the type.
pub(crate) fn choice(call: &Call<'_>) -> Found {
    let Some(condition) = call.input(0)? else { return Ok(None) };
    let Some((element, shape)) = spread(call, 1)? else { return Ok(None) };
    one(element, broadcast(&sizes(&condition.shape), &shape)?)
}

type Spread = (ElementType, Vec<Option<Dimension>>);

fn spread(call: &Call<'_>, first: usize) -> Result<Option<Spread>, String> {
    let mut found: Option<Spread> = None;
    for position in first..call.node.inputs.len().max(first + 1) {
        let Some(input) = call.input(position)? else { return Ok(None) };
        found = Some(match found {
            None => (input.element, sizes(&input.shape)),
            Some((element, _)) if element != input.element => {
                return Err(format!(
                    "input {position} has elements of type {}, those before it {element}",
                    input.element
                ));
            }
            Some((element, shape)) => (element, broadcast(&shape, &sizes(&input.shape))?),
        });
    }
    Ok(found)
}

/// `Softmax`, `LogSoftmax` and others along an axis.
pub(crate) fn along_axis(call: &Call<'_>) -> Found {
    let Some(input) = call.input(0)? else { return Ok(None) };
    if let Some(crate::Attribute::Int(axis)) = call.node.attributes.get("axis") {
        // The old versions flatten to two axes and allow the axis behind the last.
        let rank = input.shape.len() + usize::from(call.opset < 13);
        axis_index(*axis, rank.max(1))?;
    }
    Ok(Some(vec![same(input)]))
}

pub(crate) fn batch_normalization(call: &Call<'_>) -> Found {
    let Some(input) = call.input(0)? else { return Ok(None) };
    let channels = input.shape.get(1).and_then(number);
    for position in 1..5 {
        let Some(parameter) = call.input(position)? else { continue };
        if let (Some(channels), [Dimension::Fixed(found)]) = (channels, parameter.shape.as_slice())
            && channels != *found
        {
            return Err(format!("input {position} has {found} entries for {channels} channels"));
        }
    }
    Ok(Some(vec![same(input)]))
}

/// `LayerNormalization`: the result, and mean and deviation with ones on the normalized axes.
pub(crate) fn layer_normalization(call: &Call<'_>) -> Found {
    let Some(input) = call.input(0)? else { return Ok(None) };
    let axis = axis_index(call.node.int("axis", -1), input.shape.len())?;
    let shape =
        (0..input.shape.len()).map(|index| if index < axis { Some(input.shape[index].clone()) } else { fixed(1) });
    let statistics = Known { element: ElementType::F32, shape: shape.collect() };
    Ok(Some(vec![same(input), statistics.clone(), statistics]))
}
