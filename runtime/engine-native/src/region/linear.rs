//! Convolutions and matrix products.

use runtime_graph::Node;
use runtime_kernels::{Affine, ConvolutionShape};
use runtime_tensor::Tensor;

use super::meaning::{Meaning, Pending, RealConstant, Work};
use super::reader::{Reader, Reason};
use super::weights::{Bias, ChannelAxis, Weights};
use crate::program::{Element, ValueId, plain};

impl Reader<'_> {
    pub(crate) fn conv(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let (input, x) = self.image(node)?;
        let weights = self.weights(node, 1, ChannelAxis::First)?;
        let bias = self.bias(node, 2, x.scale, &weights)?;
        let Meaning::RealConstant(constant) = self.input_meaning(node, 1)? else {
            return Err("its weights are not quantized constants".into());
        };
        let pending = self.convolution(node, (input, x), constant.tensor.shape(), weights, bias)?;
        Ok(Meaning::Pending(pending.into()))
    }

    fn convolution(
        &self,
        node: &Node,
        (input, x): (ValueId, Affine),
        weight_shape: &[usize],
        weights: Weights,
        bias: Bias,
    ) -> Result<Pending, Reason> {
        let shape = self.builder.value(input).shape.clone();
        let output_shape = self.output_shape(node)?;
        if weight_shape.len() != shape.len() {
            return Err(format!("weights of shape {weight_shape:?} for an input of shape {shape:?}"));
        }
        let groups = usize::try_from(node.int("group", 1)).map_err(|_| "group is negative")?;
        let window = Self::window(node, &shape, &weight_shape[2..], &output_shape)?;
        let channels = ConvolutionShape { input_channels: shape[1], output_channels: weights.rows, groups };
        if output_shape.get(1) != Some(&weights.rows) {
            return Err(format!("{} filters for an output of shape {output_shape:?}", weights.rows));
        }
        let work = Work::Convolution { input, x, weights, bias, window, channels };
        Ok(Pending::new(work, output_shape))
    }

    pub(crate) fn qlinear_conv(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let x = self.affine(node, 1)?;
        let y = self.affine(node, 6)?;
        let value = self.stored_input(node, 0, &x)?;
        let input = self.channels_last(value)?;
        let constant = self.quantized_constant(node, 3, 0)?;
        let weights = Weights::of(&constant, ChannelAxis::First)?;
        let bias = match self.constant(node, 8)? {
            None => Bias::None,
            Some(tensor) => self.integer_bias(tensor, weights.rows)?,
        };
        let pending = self.convolution(node, (input, x), constant.tensor.shape(), weights, bias)?;
        Ok(Meaning::Stored(self.quantize_pending(&pending, &y)?))
    }

    fn integer_bias(&self, tensor: &Tensor, rows: usize) -> Result<Bias, Reason> {
        let values = tensor.as_i32().map_err(|error| format!("failed to {error}"))?;
        if values.len() == rows {
            Ok(Bias::Integers(values.to_vec()))
        } else {
            Err(format!("its bias has shape {:?} for {rows} outputs", tensor.shape()))
        }
    }

    /// The constant at inputs `position` to `position + 2` of a quantized operator: integers, scales, zero points.
    fn quantized_constant(&self, node: &Node, position: usize, axis: usize) -> Result<RealConstant, Reason> {
        let tensor = self.constant(node, position)?.ok_or("it has no weights")?;
        let scales = self.constant(node, position + 1)?.ok_or("its weights have no scale")?;
        let scales = scales.as_f32().map_err(|error| format!("failed to {error}"))?.to_vec();
        let zero_points = match self.constant(node, position + 2)? {
            None => vec![0; scales.len()],
            Some(zero_points) => super::quantized::integers(zero_points)?,
        };
        let per_channel = tensor.shape().get(axis) == Some(&scales.len());
        if scales.len() != zero_points.len() || !(scales.len() == 1 || per_channel) {
            return Err(format!(
                "{} scales and {} zero points for {:?}",
                scales.len(),
                zero_points.len(),
                tensor.shape()
            ));
        }
        Ok(RealConstant { tensor: tensor.clone(), scales, zero_points, axis })
    }

    /// The stored bytes at input `position`, which must be of the type of `affine`'s zero point.
    pub(crate) fn stored_input(&self, node: &Node, position: usize, affine: &Affine) -> Result<ValueId, Reason> {
        match self.input_meaning(node, position)? {
            Meaning::Stored(value)
                if self.builder.value(value).element == (Element::Stored { signed: affine.signed }) =>
            {
                Ok(value)
            }
            Meaning::Stored(_) => Err("the types of its input and its zero point differ".into()),
            _ => Err(format!("its input {} is not quantized", node.inputs[position])),
        }
    }

    pub(crate) fn gemm(&mut self, node: &Node) -> Result<Meaning, Reason> {
        if node.float("alpha", 1.0) != 1.0 || node.float("beta", 1.0) != 1.0 || node.int("transA", 0) != 0 {
            return Err("alpha, beta and transA are not supported; fold them into the weights".into());
        }
        let channels = if node.int("transB", 0) != 0 { ChannelAxis::First } else { ChannelAxis::Second };
        let (input, x) = self.rows_input(node)?;
        let weights = self.weights(node, 1, channels)?;
        let bias = self.bias(node, 2, x.scale, &weights)?;
        Ok(Meaning::Pending(self.dense(node, (input, x), weights, bias)?.into()))
    }

    pub(crate) fn mat_mul(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let (input, x) = self.rows_input(node)?;
        let weights = self.weights(node, 1, ChannelAxis::Second)?;
        Ok(Meaning::Pending(self.dense(node, (input, x), weights, Bias::None)?.into()))
    }

    pub(crate) fn qlinear_mat_mul(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let (x, y) = (self.affine(node, 1)?, self.affine(node, 6)?);
        let value = self.stored_input(node, 0, &x)?;
        let input = self.builder.in_order(value, &plain(self.builder.value(value).shape.len()))?;
        let weights = Weights::of(&self.quantized_constant(node, 3, 1)?, ChannelAxis::Second)?;
        let pending = self.dense(node, (input, x), weights, Bias::None)?;
        Ok(Meaning::Stored(self.quantize_pending(&pending, &y)?))
    }

    /// The stored bytes of input 0 in the model's order.
    fn rows_input(&mut self, node: &Node) -> Result<(ValueId, Affine), Reason> {
        match self.input_meaning(node, 0)? {
            Meaning::Real(value, affine) => {
                let order = plain(self.builder.value(value).shape.len());
                Ok((self.builder.in_order(value, &order)?, affine))
            }
            Meaning::Pending(_) => Err(format!("its input {} is not quantized after it was computed", node.inputs[0])),
            _ => Err(format!("its input {} is float; quantize it", node.inputs[0])),
        }
    }

    fn dense(
        &self,
        node: &Node,
        (input, x): (ValueId, Affine),
        weights: Weights,
        bias: Bias,
    ) -> Result<Pending, Reason> {
        let shape = &self.builder.value(input).shape;
        let output_shape = self.output_shape(node)?;
        let rows = match shape.split_last() {
            Some((&depth, rows)) if depth == weights.depth && !rows.is_empty() => rows.iter().product(),
            _ => return Err(format!("weights of depth {} for an input of shape {shape:?}", weights.depth)),
        };
        if output_shape.iter().product::<usize>() != rows * weights.rows {
            return Err(format!("{rows} rows of {} outputs for a result of shape {output_shape:?}", weights.rows));
        }
        Ok(Pending::new(Work::Dense { input, x, weights, bias, rows }, output_shape))
    }
}
