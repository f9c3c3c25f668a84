//! Float convolutions and matrix products.

use runtime_graph::Node;
use runtime_kernels::{
    ConvolutionShape, FloatConvolution, FloatLinear, FloatProduct, FloatWeight, LayerNorm, ProductSide, WeightOrder,
    Window,
};
use runtime_tensor::Tensor;

use super::refused;
use crate::program::{FloatStep, ValueId, channels_last, plain};
use crate::region::elements::{Elements, File};
use crate::region::meaning::{Pending, Work};
use crate::region::reader::{Reader, Reason};
use crate::region::weights::{Bias, Weights};

impl Reader<'_> {
    pub(crate) fn float_conv(&mut self, node: &Node) -> Result<ValueId, Reason> {
        let weights = self.float_weights(node)?;
        let bias = self.float_constant(node, 2)?;
        let input = self.float_input(node, 0)?;
        let input = self.channels_last(input)?;
        let output_shape = self.output_shape(node)?;
        let (window, channels) = self.convolved(node, input, weights.shape(), &output_shape)?;
        let bias = bias.as_ref().map_or(Ok(&[][..]), floats)?;
        let weights = le_floats(&weights, self.file);
        let value = self.float_convolution(input, window, channels, weights, bias, &output_shape)?;
        self.fusible(node, value);
        Ok(value)
    }

    fn float_convolution<W: FloatWeight>(
        &mut self,
        input: ValueId,
        window: Window,
        channels: ConvolutionShape,
        weights: &[W],
        bias: &[f32],
        shape: &[usize],
    ) -> Result<ValueId, Reason> {
        let convolution = FloatConvolution::new(self.table, window, channels, weights, bias).map_err(refused)?;
        let (convolution, input) = (Box::new(convolution), self.builder.buffer(input));
        let step = |output| FloatStep::Convolve { convolution, input, added: None, output };
        Ok(self.float_value(shape, channels_last(shape.len()), step))
    }

    /// The weights at input 1 of `node`.
    fn float_weights(&self, node: &Node) -> Result<Elements, Reason> {
        let deferred = node.input(1).and_then(|name| self.graph.deferred.get(name));
        if let Some(elements) = deferred.and_then(Elements::in_file) {
            return Ok(elements);
        }
        Ok(Elements::Here(self.float_constant(node, 1)?.ok_or("it has no weights")?))
    }

    pub(crate) fn float_gemm(&mut self, node: &Node) -> Result<ValueId, Reason> {
        let (alpha, beta) = (node.float("alpha", 1.0), node.float("beta", 1.0));
        if node.int("transA", 0) != 0 {
            return Err("transA is not supported; transpose before it".into());
        }
        let weights = self.float_weights(node)?;
        let [first, second] = *weights.shape() else {
            return Err(format!("weights of shape {:?} are no matrix", weights.shape()));
        };
        let is_transposed = node.int("transB", 0) != 0;
        let (depth, columns, order) =
            if is_transposed { (second, first, WeightOrder::Columns) } else { (first, second, WeightOrder::Rows) };
        let bias = match self.float_constant(node, 2)? {
            None => Vec::new(),
            Some(bias) => row_of(&bias, columns)?.into_iter().map(|bias| beta * bias).collect(),
        };
        let input = self.float_input(node, 0)?;
        let weights = le_floats(&weights, self.file);
        let value = if alpha == 1.0 {
            self.float_linear(node, input, (weights, order), (depth, columns), &bias)?
        } else {
            let scaled: Vec<f32> = weights.iter().map(|weight| alpha * weight.float()).collect();
            self.float_linear(node, input, (&scaled, order), (depth, columns), &bias)?
        };
        self.fusible(node, value);
        Ok(value)
    }

    /// Rows of `input` in the model's order times a constant matrix.
    fn float_linear<W: FloatWeight>(
        &mut self,
        node: &Node,
        input: ValueId,
        (weights, lie): (&[W], WeightOrder),
        (depth, columns): (usize, usize),
        bias: &[f32],
    ) -> Result<ValueId, Reason> {
        let shape = self.output_shape(node)?;
        let order = plain(self.builder.value(input).shape.len());
        let input = self.builder.in_order(input, &order)?;
        let rows = self.rows_of(input, (depth, columns), &shape)?;
        let linear = FloatLinear::new(self.table, weights, lie, depth, columns, bias).map_err(refused)?;
        let (linear, input) = (Box::new(linear), self.builder.buffer(input));
        let step = |output| FloatStep::Dense { linear, rows, input, added: None, output };
        Ok(self.float_value(&shape, plain(shape.len()), step))
    }

    pub(crate) fn float_mat_mul(&mut self, node: &Node) -> Result<ValueId, Reason> {
        let value = match self.float_weights(node) {
            Ok(weights) if weights.shape().len() == 2 => {
                let (depth, columns) = (weights.shape()[0], weights.shape()[1]);
                let input = self.float_input(node, 0)?;
                let weights = le_floats(&weights, self.file);
                self.float_linear(node, input, (weights, WeightOrder::Rows), (depth, columns), &[])?
            }
            _ => {
                let (a, b) = (self.float_input(node, 0)?, self.float_input(node, 1)?);
                self.float_product(node, a, b)?
            }
        };
        self.fusible(node, value);
        Ok(value)
    }

    /// A product of two matrices that are both known only at run time.
    fn float_product(&mut self, node: &Node, a: ValueId, b: ValueId) -> Result<ValueId, Reason> {
        let shape = self.output_shape(node)?;
        self.float_product_of(a, b, &shape)
    }

    fn float_product_of(&mut self, a: ValueId, b: ValueId, shape: &[usize]) -> Result<ValueId, Reason> {
        let (rank, a_rank) = (shape.len(), self.builder.value(a).shape.len());
        if rank < 2 || a_rank < 2 || self.builder.value(b).shape.len() < 2 {
            return Err("products with vectors have no kernels; give them a second axis".into());
        }
        // The kernel reads rows of `a`; everything else may lie anyhow.
        let a_lies = self.builder.value(a).order.last() == Some(&(a_rank - 1));
        let a = if a_lies { a } else { self.builder.in_order(a, &plain(a_rank))? };
        let order = if a_rank == rank { self.builder.value(a).order.clone() } else { plain(rank) };
        let ((a_side, [rows, depth]), (b_side, [b_depth, columns])) =
            (self.product_side(a, shape)?, self.product_side(b, shape)?);
        if depth != b_depth || shape[rank - 2..] != [rows, columns] {
            return Err(format!("{rows} x {depth} times {b_depth} x {columns} for a result of shape {shape:?}"));
        }
        let (a, b) = (self.builder.buffer(a), self.builder.buffer(b));
        let value = self.builder.add_value(crate::program::Element::Float, shape, order.clone());
        let (y_side, _) = self.product_side(value, shape)?;
        // A size of 1 has no step of its own to spread; the kernel asks that columns lie beside each other.
        let beside = |side: ProductSide| ProductSide { columns: 1, ..side };
        let product =
            FloatProduct::new(&shape[..rank - 2], [rows, depth, columns], beside(a_side), b_side, beside(y_side));
        let product = Box::new(product.map_err(refused)?);
        Ok(self.float_value(shape, order, |output| FloatStep::Product { product, a, b, output }))
    }

    /// A result that is never quantized, in float arithmetic.
    pub(crate) fn float_pending(&mut self, pending: &Pending) -> Result<ValueId, Reason> {
        let shape = pending.shape.as_slice();
        let value = match pending.work.as_ref() {
            Work::Convolution { input, x, weights, bias, window, channels } => {
                let (weights, bias) = (real_weights(weights, self.file), real_bias(bias, x.scale, weights));
                let input = self.dequantized(*input, x);
                self.float_convolution(input, window.clone(), *channels, &weights, &bias, shape)?
            }
            Work::Dense { input, x, weights, bias, rows } => {
                let (depth, columns) = (weights.depth, weights.rows);
                let (real, bias) = (real_weights(weights, self.file), real_bias(bias, x.scale, weights));
                let linear =
                    FloatLinear::new(self.table, &real, weights.order, depth, columns, &bias).map_err(refused)?;
                let input = self.dequantized(*input, x);
                let (linear, rows, input) = (Box::new(linear), *rows, self.builder.buffer(input));
                let step = |output| FloatStep::Dense { linear, rows, input, added: None, output };
                self.float_value(shape, plain(shape.len()), step)
            }
            Work::Pair { operation, a, b } => self.float_pair((*operation, *a, *b), shape)?,
            Work::Product { a: (a, a_affine), b: (b, b_affine) } => {
                let (a, b) = (self.dequantized(*a, a_affine), self.dequantized(*b, b_affine));
                self.float_product_of(a, b, shape)?
            }
            Work::LayerNorm { input, x, scale, bias, epsilon } => {
                let norm = LayerNorm::new(x, scale, bias, *epsilon, None).map_err(refused)?;
                self.layer_norm_to_floats(*input, norm)
            }
            Work::Softmax { input, scale, width } => self.softmax_to_floats((*input, *scale, *width))?,
            Work::Mean { input, x, pixels, channels } => {
                let input = self.dequantized(*input, x);
                self.mean_of(input, *pixels, *channels, shape)?
            }
            Work::Table(tabled) => self.floats_of_table(tabled),
            Work::Concat { parts, axis } => {
                let parts: Vec<ValueId> = parts.iter().map(|(value, x)| self.dequantized(*value, x)).collect();
                self.concat_of(&parts, *axis, shape)?
            }
            Work::AveragePool { input, x, window, channels, count_padding } => {
                let input = self.dequantized(*input, x);
                self.average_of(input, window.clone(), *channels, *count_padding, shape)?
            }
            Work::GlobalAveragePool { input, x, .. } => {
                let input = self.dequantized(*input, x);
                self.global_average_of(input, shape)?
            }
        };
        if pending.is_bounded() { Ok(self.clipped(value, pending.low, pending.high)) } else { Ok(value) }
    }
}

/// The floats of a tensor.
pub(crate) fn floats(tensor: &Tensor) -> Result<&[f32], Reason> {
    tensor.as_f32().map_err(|error| format!("failed to {error}"))
}

/// One number for each of `columns` outputs, from as many or from one.
pub(crate) fn row_of(tensor: &Tensor, columns: usize) -> Result<Vec<f32>, Reason> {
    let (values, shape) = (floats(tensor)?, tensor.shape());
    if values.len() == 1 {
        return Ok(vec![values[0]; columns]);
    }
    if values.len() == columns && shape.last() == Some(&columns) {
        return Ok(values.to_vec());
    }
    Err(format!("its bias has shape {shape:?} for {columns} outputs"))
}

/// The elements of an `f32` constant as they lie, wherever that is.
fn le_floats<'b>(elements: &'b Elements, file: &'b File<'_>) -> &'b [[u8; 4]] {
    elements.bytes(file).as_chunks().0
}

/// The real numbers of `weights`, in their order.
fn real_weights(weights: &Weights, file: &File<'_>) -> Vec<f32> {
    let real = |(index, &weight): (usize, &i8)| {
        let row = weights.row(index);
        let offset = weights.offsets.get(row).unwrap_or(&0);
        (i32::from(weight) + offset) as f32 * weights.scales[row]
    };
    weights.values(file).iter().enumerate().map(real).collect()
}

fn real_bias(bias: &Bias, x_scale: f32, weights: &Weights) -> Vec<f32> {
    match bias {
        Bias::None => Vec::new(),
        Bias::Floats(values) => values.clone(),
        Bias::Integers(values) => {
            values.iter().zip(&weights.scales).map(|(&value, scale)| value as f32 * (x_scale * scale)).collect()
        }
    }
}
