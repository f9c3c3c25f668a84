//! Operators that slide a window over space: convolutions and pooling, float and quantized.

use runtime_tensor::{Dimension, ElementType};

use super::call::{Call, Found, fixed, number, one, sizes};

/// `Conv`: data and weights at inputs 0 and 1.
pub(crate) fn convolution(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    convolve(call, 1, data.element)
}

/// `ConvInteger` gives the 32-bit sums.
pub(crate) fn convolution_integer(call: &Call<'_>) -> Found {
    convolve(call, 1, ElementType::I32)
}

/// `QLinearConv`: weights at input 3, type of the output from its zero point at 7.
pub(crate) fn convolution_quantized(call: &Call<'_>) -> Found {
    let Some(zero_point) = call.input(7)? else { return Ok(None) };
    convolve(call, 3, zero_point.element)
}

fn convolve(call: &Call<'_>, weights: usize, element: ElementType) -> Found {
    let (Some(data), Some(weights)) = (call.input(0)?, call.input(weights)?) else { return Ok(None) };
    let rank = data.shape.len();
    if rank < 3 || weights.shape.len() != rank {
        return Err(format!("data of {rank} axes and weights of {} axes do not fit", weights.shape.len()));
    }
    let group = call.node.int("group", 1);
    let (channels, wanted, made) = (&data.shape[1], number(&weights.shape[1]), number(&weights.shape[0]));
    let wanted = wanted.and_then(|wanted| wanted.checked_mul(u64::try_from(group).ok()?));
    if let (Some(channels), Some(wanted)) = (number(channels), wanted)
        && channels != wanted
    {
        return Err(format!("the data has {channels} channels, the weights are for {wanted}"));
    }
    if group < 1 || made.is_some_and(|made| made % group.unsigned_abs() != 0) {
        return Err(format!("{made:?} output channels do not divide into {group} groups"));
    }
    let kernel: Vec<Option<u64>> = weights.shape[2..].iter().map(number).collect();
    let mut shape = vec![Some(data.shape[0].clone()), Some(weights.shape[0].clone())];
    shape.extend(Windows::of(call, rank - 2)?.slide(&data.shape[2..], &kernel)?);
    one(element, shape)
}

/// `MaxPool`, `AveragePool`, `LpPool`; the indices of `MaxPool` have the same shape.
pub(crate) fn pool(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    let rank = data.shape.len();
    let kernel = call.node.ints("kernel_shape").ok_or("the attribute kernel_shape is missing")?;
    if rank < 3 || kernel.len() != rank - 2 {
        return Err(format!("data of {rank} axes and a kernel of {} axes do not fit", kernel.len()));
    }
    let kernel: Vec<Option<u64>> = kernel.iter().map(|&size| u64::try_from(size).ok()).collect();
    if kernel.contains(&None) {
        return Err("the kernel has a negative size".to_owned());
    }
    let mut shape = sizes(&data.shape[..2]);
    shape.extend(Windows::of(call, rank - 2)?.slide(&data.shape[2..], &kernel)?);
    let indices = super::call::Known { element: ElementType::I64, shape: shape.clone() };
    Ok(Some(vec![super::call::Known { element: data.element, shape }, indices]))
}

pub(crate) fn global_pool(call: &Call<'_>) -> Found {
    let Some(data) = call.input(0)? else { return Ok(None) };
    if data.shape.len() < 3 {
        return Err(format!("data of {} axes has no space to pool over", data.shape.len()));
    }
    let shape = (0..data.shape.len()).map(|axis| if axis < 2 { Some(data.shape[axis].clone()) } else { fixed(1) });
    one(data.element, shape.collect())
}

/// The attributes that convolution and pooling share, checked.
struct Windows {
    strides: Vec<u64>,
    dilations: Vec<u64>,
    /// Before and after, one pair an axis.
    pads: Vec<(u64, u64)>,
    padding: Padding,
    ceil: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Padding {
    Explicit,
    Same,
}

impl Windows {
    fn of(call: &Call<'_>, axes: usize) -> Result<Self, String> {
        let positive = |name: &str| match call.node.ints(name) {
            None => Ok(vec![1; axes]),
            Some(values) if values.len() == axes && values.iter().all(|&value| value > 0) => {
                Ok(values.iter().map(|value| value.unsigned_abs()).collect())
            }
            Some(values) => Err(format!("{name} {values:?} are not {axes} positive numbers")),
        };
        let explicit = match call.node.ints("pads") {
            None => vec![(0, 0); axes],
            Some(values) if values.len() == 2 * axes && values.iter().all(|&value| value >= 0) => {
                (0..axes).map(|axis| (values[axis].unsigned_abs(), values[axis + axes].unsigned_abs())).collect()
            }
            Some(values) => return Err(format!("pads {values:?} are not {} numbers from 0", 2 * axes)),
        };
        let (padding, pads) = match call.node.text("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" => (Padding::Explicit, explicit),
            "VALID" => (Padding::Explicit, vec![(0, 0); axes]),
            "SAME_UPPER" | "SAME_LOWER" => (Padding::Same, vec![(0, 0); axes]),
            other => return Err(format!("auto_pad {other:?} does not exist")),
        };
        Ok(Self {
            strides: positive("strides")?,
            dilations: positive("dilations")?,
            pads,
            padding,
            ceil: call.node.int("ceil_mode", 0) != 0,
        })
    }

    fn slide(&self, space: &[Dimension], kernel: &[Option<u64>]) -> Result<Vec<Option<Dimension>>, String> {
        (0..space.len()).map(|axis| self.slide_axis(axis, &space[axis], kernel[axis])).collect()
    }

    fn slide_axis(&self, axis: usize, size: &Dimension, kernel: Option<u64>) -> Result<Option<Dimension>, String> {
        let stride = self.strides[axis];
        if self.padding == Padding::Same {
            return Ok(match size {
                Dimension::Fixed(size) => fixed(size.div_ceil(stride)),
                Dimension::Symbol(_) if stride == 1 => Some(size.clone()),
                Dimension::Symbol(_) => None,
            });
        }
        let Some(kernel) = kernel else { return Ok(None) };
        let too_large = || format!("a size on spatial axis {axis} does not fit into 64 bits");
        let reach = kernel.checked_sub(1).ok_or_else(|| format!("the kernel is empty on spatial axis {axis}"))?;
        let reach = reach.checked_mul(self.dilations[axis]).ok_or_else(too_large)?;
        let (before, after) = self.pads[axis];
        let pads = before.checked_add(after).ok_or_else(too_large)?;
        let Dimension::Fixed(size) = size else {
            // As many windows as places.
            return Ok((stride == 1 && pads == reach).then(|| size.clone()));
        };
        let padded = size.checked_add(pads).ok_or_else(too_large)?;
        let free = padded.checked_sub(reach).and_then(|free| free.checked_sub(1)).ok_or_else(|| {
            format!("the window reaches over {reach} + 1 places, the padded data has {padded} on spatial axis {axis}")
        })?;
        let steps = if self.ceil { free.div_ceil(stride) } else { free / stride };
        // A last window that would begin in the padding behind the data is left out.
        let last_outside = self.ceil && steps.saturating_mul(stride) >= size.saturating_add(before);
        Ok(fixed(steps + 1 - u64::from(last_outside && steps > 0)))
    }
}
