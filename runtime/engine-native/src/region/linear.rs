//! Convolutions and matrix products.

use runtime_graph::Node;
use runtime_kernels::{Affine, ConvolutionShape, Window};

use super::meaning::{Meaning, Pending, Work};
use super::reader::{Reader, Reason};
use super::weights::{Bias, ChannelAxis, Weights};
use crate::program::{ValueId, plain};

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
        let output_shape = self.output_shape(node)?;
        let (window, channels) = self.convolved(node, input, weight_shape, &output_shape)?;
        if weights.offset()? != 0 && channels.is_depthwise() {
            return Err("filters of one channel whose weights less their zero point do not fit 8 bits".into());
        }
        let work = Work::Convolution { input, x, weights, bias, window, channels };
        Ok(Pending::new(work, output_shape))
    }

    /// The window and the channels of a convolution of `input` by filters of `weight_shape`.
    pub(crate) fn convolved(
        &self,
        node: &Node,
        input: ValueId,
        weight_shape: &[usize],
        output_shape: &[usize],
    ) -> Result<(Window, ConvolutionShape), Reason> {
        let shape = &self.builder.value(input).shape;
        if weight_shape.len() != shape.len() {
            return Err(format!("weights of shape {weight_shape:?} for an input of shape {shape:?}"));
        }
        let groups = usize::try_from(node.int("group", 1)).map_err(|_| "group is negative")?;
        let window = Self::window(node, shape, &weight_shape[2..], output_shape)?;
        let filters = weight_shape[0];
        if output_shape.get(1) != Some(&filters) {
            return Err(format!("{filters} filters for an output of shape {output_shape:?}"));
        }
        Ok((window, ConvolutionShape { input_channels: shape[1], output_channels: filters, groups }))
    }

    /// Rows of `input`, which are multiplied by weights of `depth` for each of `columns` outputs.
    pub(crate) fn rows_of(
        &self,
        input: ValueId,
        (depth, columns): (usize, usize),
        output_shape: &[usize],
    ) -> Result<usize, Reason> {
        let shape = &self.builder.value(input).shape;
        let rows: usize = match shape.split_last() {
            Some((&last, rows)) if last == depth && !rows.is_empty() => rows.iter().product(),
            _ => return Err(format!("weights of depth {depth} for an input of shape {shape:?}")),
        };
        if output_shape.iter().product::<usize>() != rows * columns {
            return Err(format!("{rows} rows of {columns} outputs for a result of shape {output_shape:?}"));
        }
        Ok(rows)
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
        if matches!(self.input_meaning(node, 1)?, Meaning::Real(..)) {
            return self.product(node);
        }
        let (input, x) = self.rows_input(node)?;
        let weights = self.weights(node, 1, ChannelAxis::Second)?;
        Ok(Meaning::Pending(self.dense(node, (input, x), weights, Bias::None)?.into()))
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
        let output_shape = self.output_shape(node)?;
        let rows = self.rows_of(input, (weights.depth, weights.rows), &output_shape)?;
        Ok(Pending::new(Work::Dense { input, x, weights, bias, rows }, output_shape))
    }
}
