//! Where a pending result meets its quantization: kernels are built and steps emitted.

use std::rc::Rc;

use runtime_kernels::{
    Affine, AveragePool, Convolution, DenseWeights, GlobalAveragePool, LayerNorm, Linear, Lookup, OutputScale,
    Requantization,
};

use super::float::{real_numbers, refused};
use super::meaning::{Meaning, Pending, Work};
use super::quantized::stored;
use super::reader::{Reader, Reason};
use super::tables::Tabled;
use super::weights::{Bias, Weights};
use crate::program::{ConcatPart, Element, Step, ValueId, channels_last, plain};

impl Reader<'_> {
    /// The stored bytes of `pending` under the quantization `y`.
    pub(crate) fn quantize_pending(&mut self, pending: &Pending, y: &Affine) -> Result<ValueId, Reason> {
        // Quantization is monotonic: the quantized bounds bound the quantized result.
        let bounds = [y.quantize(pending.low), y.quantize(pending.high)];
        let shape = pending.shape.as_slice();
        match pending.work.as_ref() {
            Work::Convolution { input, x, weights, bias, window, channels } => {
                let scale = OutputScale {
                    x_scale: x.scale,
                    weight_scales: weights.scales.clone(),
                    weight_offset: weights.offset()?,
                    y_scale: y.scale,
                    zero_point: y.zero_point,
                    bounds,
                };
                let bias = bias.integers(x.scale, &weights.scales);
                let convolution = Convolution::new(
                    self.table,
                    window.clone(),
                    *channels,
                    &weights.values(self.file),
                    &bias,
                    x.zero_point,
                    &scale,
                );
                let convolution = Box::new(convolution.map_err(refused)?);
                let (value, input, output) = self.output_of(*input, y, shape, channels_last(shape.len()));
                self.builder.add_step(Step::Convolve { convolution, input, output });
                Ok(value)
            }
            Work::Dense { input, x, weights, bias, rows } => {
                let linear = Box::new(self.linear(x, weights, bias)?);
                let requantization =
                    Requantization::new(x.scale, &weights.scales, y.scale, y.zero_point, bounds[0], bounds[1]);
                let requantization = requantization.map_err(refused)?;
                let (value, input, output) = self.output_of(*input, y, shape, plain(shape.len()));
                self.builder.add_step(Step::Dense { linear, requantization, rows: *rows, input, output });
                Ok(value)
            }
            Work::Pair { operation, a, b } => self.quantized_pair((*operation, *a, *b), y, bounds, shape),
            Work::Product { a, b } => self.quantized_product([*a, *b], y, bounds, shape),
            Work::LayerNorm { input, x, scale, bias, epsilon } => {
                let norm = LayerNorm::new(x, scale, bias, *epsilon, Some((y, bounds))).map_err(refused)?;
                Ok(self.quantized_layer_norm(*input, norm, y))
            }
            Work::Softmax { input, scale, width } => self.quantized_softmax((*input, *scale, *width), y, bounds),
            Work::AveragePool { input, x, window, channels, count_padding } => {
                let pool = AveragePool::new(window.clone(), *channels, *x, *y, bounds, *count_padding);
                let pool = Box::new(pool.map_err(refused)?);
                let (value, input, output) = self.output_of(*input, y, shape, channels_last(shape.len()));
                self.builder.add_step(Step::AveragePool { pool, input, output });
                Ok(value)
            }
            Work::GlobalAveragePool { input, x, pixels, channels } => {
                let pool = Box::new(GlobalAveragePool::new(*pixels, *channels, *x, *y, bounds).map_err(refused)?);
                let (value, input, output) = self.output_of(*input, y, shape, channels_last(shape.len()));
                self.builder.add_step(Step::GlobalAveragePool { pool, input, output });
                Ok(value)
            }
            Work::Concat { parts, axis } => {
                let lookup = |x: &Affine| Lookup::requantizing(x, y).bounded(bounds[0], bounds[1]);
                let parts: Vec<_> = parts.iter().map(|(value, x)| (*value, Some(lookup(x)))).collect();
                self.concatenated(&parts, *axis, stored(y), shape)
            }
            Work::Mean { input, x, pixels, channels } => {
                let pool = Box::new(GlobalAveragePool::new(*pixels, *channels, *x, *y, bounds).map_err(refused)?);
                let (value, input, output) = self.output_of(*input, y, shape, plain(shape.len()));
                self.builder.add_step(Step::GlobalAveragePool { pool, input, output });
                Ok(value)
            }
            Work::Table(Tabled { input, values }) => {
                let lookup = Lookup::of(values.map(|value| y.quantize(value))).bounded(bounds[0], bounds[1]);
                Ok(self.looked_up(*input, &lookup, y))
            }
        }
    }

    /// A new stored value of `shape`, and the buffers of `input` and of itself.
    fn output_of(&mut self, input: ValueId, y: &Affine, shape: &[usize], order: Vec<usize>) -> (ValueId, usize, usize) {
        let value = self.builder.add_value(stored(y), shape, order);
        (value, self.builder.buffer(input), self.builder.buffer(value))
    }

    fn linear(&self, x: &Affine, weights: &Weights, bias: &Bias) -> Result<Linear, Reason> {
        let (bias, offset) = (bias.integers(x.scale, &weights.scales), weights.offset()?);
        let weights = DenseWeights {
            weights: &weights.values(self.file),
            order: weights.order,
            depth: weights.depth,
            piece: weights.depth,
            columns: weights.rows,
            bias: &bias,
            zero_point: x.zero_point,
        };
        Linear::with_offset(self.table, &weights, offset).map_err(refused)
    }

    /// `parts` side by side along `axis`, each through its table.
    pub(crate) fn concatenated(
        &mut self,
        parts: &[(ValueId, Option<Lookup>)],
        axis: usize,
        element: Element,
        shape: &[usize],
    ) -> Result<ValueId, Reason> {
        let Some(&(first, _)) = parts.first() else { return Err("it has no inputs".into()) };
        let order = self.builder.value(first).order.clone();
        let place = order.iter().position(|&other| other == axis).ok_or("its axis is none of its input's")?;
        let row = |shape: &[usize]| order[place..].iter().map(|&axis| shape[axis]).product::<usize>();
        let mut ready = Vec::new();
        for (value, lookup) in parts {
            let value = self.builder.in_order(*value, &order)?;
            let width = row(&self.builder.value(value).shape);
            let lookup = lookup.clone().filter(|lookup| !lookup.is_identity());
            ready.push(ConcatPart { input: self.builder.buffer(value), width, lookup });
        }
        let stride = row(shape);
        if ready.iter().map(|part| part.width).sum::<usize>() != stride {
            return Err(format!("its inputs do not add up to a result of shape {shape:?}"));
        }
        let value = self.builder.add_value(element, shape, order);
        let output = self.builder.buffer(value);
        self.builder.add_step(Step::Concat { parts: ready, stride, output });
        Ok(value)
    }

    /// `meaning` as floats in the arena: what an output of the model or a float operator at the border reads.
    pub(crate) fn floats_of(&mut self, meaning: &Meaning) -> Result<ValueId, Reason> {
        match meaning {
            Meaning::Float(value) => Ok(*value),
            Meaning::Real(input, affine) => Ok(self.dequantized(*input, affine)),
            Meaning::Pending(pending) => self.floats_of_pending(pending),
            Meaning::FloatInput(input) => Ok(self.imported(*input)),
            Meaning::Stored(_) => Err("it reads quantized bytes as real numbers".into()),
            Meaning::RealConstant(constant) => {
                let real = real_numbers(constant, self.file)?;
                let floats = real.as_f32().map_err(|error| format!("failed to {error}"))?.to_vec();
                Ok(self.builder.add_floats(real.shape(), floats))
            }
            Meaning::Dynamic(_) => Err("it reads a part of a dynamic quantization as real numbers".into()),
            Meaning::StoredConstant(_) => Err("it reads the bytes of a constant as real numbers".into()),
        }
    }

    pub(crate) fn dequantized(&mut self, input: ValueId, affine: &Affine) -> ValueId {
        let value = self.like(input, Element::Float);
        let (input, output) = (self.builder.buffer(input), self.builder.buffer(value));
        self.builder.add_step(Step::Dequantize { input, affine: *affine, output });
        value
    }

    /// A result that is never quantized: exact where float arithmetic is one operation an element.
    fn floats_of_pending(&mut self, pending: &Rc<Pending>) -> Result<ValueId, Reason> {
        if let Some(tabled) = self.tabled(&Meaning::Pending(Rc::clone(pending))) {
            return Ok(self.floats_of_table(&tabled));
        }
        match pending.work.as_ref() {
            Work::Dense { input, x, weights, bias, rows } if !pending.is_bounded() && weights.offsets.is_empty() => {
                let linear = Box::new(self.linear(x, weights, bias)?);
                let multipliers: Vec<f32> = weights.scales.iter().map(|scale| x.scale * scale).collect();
                let value = self.builder.add_value(Element::Float, &pending.shape, plain(pending.shape.len()));
                let (input, output) = (self.builder.buffer(*input), self.builder.buffer(value));
                self.builder.add_step(Step::DenseToFloats { linear, multipliers, rows: *rows, input, output });
                Ok(value)
            }
            Work::LayerNorm { input, x, scale, bias, epsilon } if !pending.is_bounded() => {
                let norm = LayerNorm::new(x, scale, bias, *epsilon, None).map_err(refused)?;
                Ok(self.layer_norm_to_floats(*input, norm))
            }
            Work::Softmax { input, scale, width } if !pending.is_bounded() => {
                self.softmax_to_floats((*input, *scale, *width))
            }
            _ => self.float_pending(pending),
        }
    }
}
