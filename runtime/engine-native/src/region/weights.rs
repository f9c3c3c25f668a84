//! Weights and biases out of constants.

use std::borrow::Cow;

use runtime_graph::Node;
use runtime_kernels::{SIGNED_OFFSET, WeightOrder};
use runtime_tensor::{ElementType, Tensor};

use super::elements::{Elements, File};
use super::meaning::{Meaning, RealConstant};
use super::quantized::integers;
use super::reader::{Reader, Reason};

/// How far the bias's own scale may lie from input scale times weight scale, as a share.
const BIAS_SCALE_DEVIATION_MAX: f32 = 1e-3;

/// 8-bit weights.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    stored: Elements,
    as_bytes: AsBytes,
    /// How they lie.
    pub(crate) order: WeightOrder,
    /// What the weights of each row are more than `values`; empty when they are the same.
    pub(crate) offsets: Vec<i32>,
    /// Output channels.
    pub(crate) rows: usize,
    /// Weights of one output channel.
    pub(crate) depth: usize,
    /// One an output channel.
    pub(crate) scales: Vec<f32>,
}

/// How stored weights become signed bytes: when they are packed, and for that long only.
#[derive(Clone, Debug)]
enum AsBytes {
    /// They are.
    Same,
    /// Less the zero points of their rows, or of all of them.
    Less(Vec<i32>),
    /// Less 128.
    Flipped,
}

/// A bias before the input's scale is known to fit.
#[derive(Clone, Debug)]
pub(crate) enum Bias {
    None,
    /// In units of input scale times weight scale.
    Integers(Vec<i32>),
    /// In real numbers.
    Floats(Vec<f32>),
}

/// How a constant's axes hold output channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelAxis {
    /// The first axis: convolutions, transposed matrices.
    First,
    /// The second of two: plain matrices.
    Second,
}

impl Weights {
    /// Weights whose zero points are folded in where every weight less its zero point fits 8 bits, else what is over
    /// as offsets.
    pub(crate) fn of(constant: &RealConstant, file: &File<'_>, channels: ChannelAxis) -> Result<Self, Reason> {
        let RealConstant { tensor, scales, zero_points, axis } = constant;
        let shape = tensor.shape();
        let channel_axis = match channels {
            ChannelAxis::First => 0,
            ChannelAxis::Second if shape.len() == 2 => 1,
            ChannelAxis::Second => return Err(format!("weights of shape {shape:?} are no matrix")),
        };
        if tensor.element() == ElementType::I32 {
            return Err("32-bit weights have no kernels".into());
        }
        if scales.len() != 1 && *axis != channel_axis {
            return Err(format!("weights have scales along axis {axis}; along axis {channel_axis} is supported"));
        }
        let rows = *shape.get(channel_axis).ok_or("weights are a scalar")?;
        let bytes = tensor.bytes(file);
        let depth = bytes.len().checked_div(rows).unwrap_or(0);
        let signed = tensor.element() == ElementType::I8;
        let order = if channel_axis == 0 { WeightOrder::Columns } else { WeightOrder::Rows };
        // Whether every weight less its zero point fits, and if not, what 128 or nothing less leaves.
        let fit = || match zero_points[..] {
            [zero] => {
                let (low, high) = ends(bytes, signed);
                low - zero >= i32::from(i8::MIN) && high - zero <= i32::from(i8::MAX)
            }
            _ => {
                let row = |index: usize| if channel_axis == 0 { index / depth } else { index % rows };
                let mut values = bytes.iter().enumerate();
                values.all(|(index, &byte)| i8::try_from(raw(byte, signed) - zero_points[row(index)]).is_ok())
            }
        };
        let stored_less = if signed { 0 } else { SIGNED_OFFSET };
        let mut offsets = Vec::new();
        let as_bytes = if signed && zero_points.iter().all(|&zero| zero == 0) {
            AsBytes::Same
        } else if fit() {
            AsBytes::Less(zero_points.clone())
        } else {
            offsets.extend((0..rows).map(|row| stored_less - zero_points[row.min(zero_points.len() - 1)]));
            if signed { AsBytes::Same } else { AsBytes::Flipped }
        };
        let scales = (0..rows).map(|row| scales[row.min(scales.len() - 1)]).collect();
        Ok(Self { stored: tensor.clone(), as_bytes, order, offsets, rows, depth, scales })
    }

    /// The weights in their order.
    pub(crate) fn values<'b>(&'b self, file: &'b File<'_>) -> Cow<'b, [i8]> {
        let bytes = self.stored.bytes(file);
        let signed = self.stored.element() == ElementType::I8;
        match &self.as_bytes {
            AsBytes::Same => Cow::Borrowed(bytemuck::cast_slice(bytes)),
            AsBytes::Flipped => bytes.iter().map(|&byte| (byte ^ 0x80) as i8).collect(),
            AsBytes::Less(zeros) => match zeros[..] {
                [zero] => bytes.iter().map(|&byte| (raw(byte, signed) - zero) as i8).collect(),
                _ => {
                    let values = bytes.iter().enumerate();
                    values.map(|(index, &byte)| (raw(byte, signed) - zeros[self.row(index)]) as i8).collect()
                }
            },
        }
    }

    /// What all weights are more than `values`; an error when that is not the same for all of them.
    pub(crate) fn offset(&self) -> Result<i32, Reason> {
        match self.offsets.split_first() {
            None => Ok(0),
            Some((&first, others)) if others.iter().all(|&other| other == first) => Ok(first),
            Some(_) => Err("weights of several zero points do not fit 8 bits; quantize weights symmetrically".into()),
        }
    }

    /// The output channel of the weight at `index` of them.
    pub(crate) fn row(&self, index: usize) -> usize {
        match self.order {
            WeightOrder::Rows => index % self.rows.max(1),
            _ => index / self.depth.max(1),
        }
    }
}

fn raw(byte: u8, signed: bool) -> i32 {
    if signed { i32::from(byte as i8) } else { i32::from(byte) }
}

/// The smallest and the largest of weights.
fn ends(bytes: &[u8], signed: bool) -> (i32, i32) {
    // Signed bytes are in order when their highest bit is flipped.
    let (flip, less) = if signed { (0x80, SIGNED_OFFSET) } else { (0, 0) };
    let low = bytes.iter().map(|byte| byte ^ flip).min().unwrap_or(flip);
    let high = bytes.iter().map(|byte| byte ^ flip).max().unwrap_or(flip);
    (i32::from(low) - less, i32::from(high) - less)
}

impl Bias {
    /// The bias in units of `x_scale * weight scale`. A float one is rounded half to even, as ONNX Runtime does.
    pub(crate) fn integers(&self, x_scale: f32, weight_scales: &[f32]) -> Vec<i32> {
        match self {
            Self::None => Vec::new(),
            Self::Integers(values) => values.clone(),
            Self::Floats(values) => {
                let quantized = |(&value, &w_scale): (&f32, &f32)| {
                    let rounded = (value / (x_scale * w_scale)).round_ties_even();
                    // Saturates; NaN becomes 0.
                    rounded as i32
                };
                values.iter().zip(weight_scales).map(quantized).collect()
            }
        }
    }
}

impl Reader<'_> {
    /// The weights at input `position` of `node`.
    pub(crate) fn weights(&self, node: &Node, position: usize, channels: ChannelAxis) -> Result<Weights, Reason> {
        let Meaning::RealConstant(constant) = self.input_meaning(node, position)? else {
            return Err("its weights are not quantized constants".into());
        };
        let weights = Weights::of(&constant, self.file, channels)?;
        weights.offset()?;
        Ok(weights)
    }

    /// The bias at input `position` of `node`, one element a weight row.
    pub(crate) fn bias(&self, node: &Node, position: usize, x_scale: f32, weights: &Weights) -> Result<Bias, Reason> {
        let Some(name) = node.input(position) else { return Ok(Bias::None) };
        if let Some(tensor) = self.graph.initializers.get(name) {
            let values = tensor.as_f32().map_err(|error| format!("failed to {error}"))?;
            return Ok(Bias::Floats(spread(tensor, values, weights.rows)?));
        }
        let Meaning::RealConstant(constant) = self.meaning(name)? else {
            return Err("its bias is not a constant".into());
        };
        if constant.tensor.element() != ElementType::I32 || constant.zero_points.iter().any(|&zero| zero != 0) {
            return Err("its bias is quantized, but not to 32 bits with zero point 0".into());
        }
        for (row, weight_scale) in weights.scales.iter().enumerate() {
            let (found, expected) = (constant.scales[row.min(constant.scales.len() - 1)], x_scale * weight_scale);
            if (found - expected).abs() > expected * BIAS_SCALE_DEVIATION_MAX {
                return Err(format!("its bias has scale {found}; input scale times weight scale is {expected}"));
            }
        }
        let tensor = constant.tensor.tensor(self.file)?;
        Ok(Bias::Integers(spread(&tensor, &integers(&tensor)?, weights.rows)?))
    }
}

/// One element for each of `rows`, from as many or from one.
fn spread<T: Copy>(tensor: &Tensor, values: &[T], rows: usize) -> Result<Vec<T>, Reason> {
    let shape = tensor.shape();
    if values.len() == 1 {
        return Ok(vec![values[0]; rows]);
    }
    if values.len() == rows && shape.last() == Some(&rows) {
        return Ok(values.to_vec());
    }
    Err(format!("its bias has shape {shape:?} for {rows} outputs"))
}
