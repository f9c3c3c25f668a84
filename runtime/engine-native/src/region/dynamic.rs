//! Dynamic quantization: DynamicQuantizeLinear, MatMulInteger and ConvInteger, and the Cast and Mul that make real
//! numbers of their sums.
//!
//! A program works on one sample at a time, so each sample of a batch is quantized by its own range: an answer does
//! not depend on which samples share its batch. (ONNX takes one range for the whole tensor, so that the answers of a
//! batch lie within the quantization's error of these.)

use std::rc::Rc;

use runtime_graph::Node;
use runtime_kernels::{
    ConvolutionShape, DynamicConvolution, DynamicLinear, FloatConvolution, KernelError, ScaledWeights, Scaling, Window,
};
use runtime_tensor::{ElementType, Tensor};

use super::elements::Elements;
use super::float::{floats, refused};
use super::meaning::{Meaning, RealConstant};
use super::quantized::integers;
use super::reader::{Reader, Reason};
use super::weights::{ChannelAxis, Weights};
use crate::program::{DynamicStep, Element, FloatStep, RangeId, Step, ValueId, channels_last, plain};

/// Products of a byte's distance from its zero point and a weight of which a float holds the sum exactly: below 2^24.
const EXACT_TAPS_MAX: usize = (1 << 24) / (255 * 255);

/// What DynamicQuantizeLinear, or an operator on integers, gives.
#[derive(Clone, Debug)]
pub(crate) enum Dynamic {
    /// Bytes, by the range that is measured with them.
    Bytes(ValueId, RangeId),
    /// The scale of that range, times one factor, or one a column.
    Scale(RangeId, Rc<Vec<f32>>),
    /// The zero point of that range.
    ZeroPoint(RangeId),
    /// Exact sums of products, which still need their scale.
    Sums(Rc<Sums>),
}

/// Sums of products with weights.
#[derive(Debug)]
pub(crate) struct Sums {
    input: ValueId,
    range: RangeId,
    weights: Weights,
    kind: Kind,
    /// Shape of the result.
    shape: Vec<usize>,
}

#[derive(Debug)]
enum Kind {
    Rows(usize),
    Windows(Window, ConvolutionShape),
}

impl Reader<'_> {
    /// The meanings of a node's outputs if it is part of a dynamic quantization.
    pub(crate) fn dynamic_node(&mut self, node: &Node) -> Option<Result<Vec<Meaning>, Reason>> {
        let one = |dynamic: Result<Dynamic, Reason>| dynamic.map(|dynamic| vec![Meaning::Dynamic(dynamic)]);
        match node.operator.as_str() {
            "DynamicQuantizeLinear" => Some(self.quantize_dynamically(node)),
            "MatMulInteger" | "ConvInteger" => Some(one(self.sums(node))),
            "Cast" => {
                let Some(Dynamic::Sums(sums)) = self.dynamic_input(node, 0) else { return None };
                let to_float = node.int("to", 0) == i64::from(ElementType::F32.onnx());
                let reason = || "sums of integers are cast to another type than f32".to_owned();
                Some(one(if to_float { Ok(Dynamic::Sums(sums)) } else { Err(reason()) }))
            }
            "Mul" => match (self.dynamic_input(node, 0), self.dynamic_input(node, 1)) {
                (None, None) => None,
                (Some(Dynamic::Sums(sums)), Some(Dynamic::Scale(range, factors)))
                | (Some(Dynamic::Scale(range, factors)), Some(Dynamic::Sums(sums))) => {
                    Some(self.scaled(node, &sums, range, &factors).map(|value| vec![Meaning::Float(value)]))
                }
                (Some(Dynamic::Scale(range, factors)), None) => Some(one(self.times(node, 1, range, &factors))),
                (None, Some(Dynamic::Scale(range, factors))) => Some(one(self.times(node, 0, range, &factors))),
                _ => Some(Err("it multiplies what a dynamic quantization gives with something else".into())),
            },
            _ => None,
        }
    }

    fn dynamic_input(&self, node: &Node, position: usize) -> Option<Dynamic> {
        match self.meaning(node.input(position)?) {
            Ok(Meaning::Dynamic(dynamic)) => Some(dynamic),
            _ => None,
        }
    }

    fn quantize_dynamically(&mut self, node: &Node) -> Result<Vec<Meaning>, Reason> {
        self.output_shape(node)?;
        let input = self.float_input(node, 0)?;
        let value = self.like(input, Element::Stored { signed: false });
        let range = self.builder.add_range();
        let (input, output) = (self.builder.buffer(input), self.builder.buffer(value));
        self.builder.add_step(Step::Dynamic(DynamicStep::Quantize { input, range, output }));
        let outputs =
            [Dynamic::Bytes(value, range), Dynamic::Scale(range, Rc::new(vec![1.0])), Dynamic::ZeroPoint(range)];
        Ok(outputs.map(Meaning::Dynamic).into())
    }

    /// The sums of MatMulInteger or ConvInteger.
    fn sums(&mut self, node: &Node) -> Result<Dynamic, Reason> {
        let Some(Dynamic::Bytes(input, range)) = self.dynamic_input(node, 0) else {
            return Err("its input is not what DynamicQuantizeLinear gives".into());
        };
        if !matches!(self.dynamic_input(node, 2), Some(Dynamic::ZeroPoint(of)) if of == range) {
            return Err("its input's zero point is not the one of the same DynamicQuantizeLinear".into());
        }
        let elements = match node.input(1).and_then(|name| self.graph.deferred.get(name)).and_then(Elements::in_file) {
            Some(elements) => elements,
            None => Elements::Here(self.constant(node, 1)?.ok_or("it has no weights")?.clone()),
        };
        let zero_points = match self.constant(node, 3)? {
            Some(zero_points) => integers(zero_points)?,
            None => vec![0],
        };
        let is_conv = node.is("ConvInteger");
        let (channels, axis) = if is_conv { (ChannelAxis::First, 0) } else { (ChannelAxis::Second, 1) };
        let weight_shape = elements.shape().to_vec();
        let columns = weight_shape.get(axis).copied().unwrap_or(0);
        if zero_points.len() != 1 && zero_points.len() != columns {
            return Err(format!("its weights have {} zero points for {columns} columns", zero_points.len()));
        }
        let scales = vec![1.0; zero_points.len()];
        let constant = RealConstant { tensor: elements, scales, zero_points, axis };
        let shape = self.output_shape(node)?;
        let weights = Weights::of(&constant, self.file, channels)?;
        let (input, kind) = if is_conv {
            let input = self.channels_last(input)?;
            let (window, channels) = self.convolved(node, input, &weight_shape, &shape)?;
            (input, Kind::Windows(window, channels))
        } else {
            let input = self.builder.in_order(input, &plain(self.builder.value(input).shape.len()))?;
            (input, Kind::Rows(self.rows_of(input, (weights.depth, weights.rows), &shape)?))
        };
        Ok(Dynamic::Sums(Rc::new(Sums { input, range, weights, kind, shape })))
    }

    /// The scale times the weights' constant scales, at input `position`.
    fn times(&self, node: &Node, position: usize, range: RangeId, factors: &[f32]) -> Result<Dynamic, Reason> {
        let constant = self.constant(node, position)?.ok_or("it has one input")?;
        let row = row(constant)?;
        let [factor] = *factors else { return Err("the scale is multiplied a second time".into()) };
        if factor != 1.0 {
            // Three factors in another order round differently.
            return Err("the scale is multiplied a second time".into());
        }
        Ok(Dynamic::Scale(range, Rc::new(row.to_vec())))
    }

    /// The real numbers that sums stand for.
    fn scaled(&mut self, node: &Node, sums: &Sums, range: RangeId, factors: &[f32]) -> Result<ValueId, Reason> {
        let Sums { input, weights, kind, shape, .. } = sums;
        if range != sums.range || self.output_shape(node)? != *shape {
            return Err("the sums are multiplied with the scale of another tensor".into());
        }
        let scales = match factors {
            [one] => vec![*one; weights.rows],
            many if many.len() == weights.rows => many.to_vec(),
            many => return Err(format!("{} weight scales for {} columns", many.len(), weights.rows)),
        };
        let own = ScaledWeights {
            values: &weights.values(self.file),
            order: weights.order,
            offsets: &weights.offsets,
            scales: &scales,
        };
        let (table, buffer) = (self.table, self.builder.buffer(*input));
        let value = match kind {
            Kind::Rows(rows) => {
                let linear = DynamicLinear::new(table, &own, weights.depth).map_err(refused)?;
                let (linear, rows) = (Box::new(linear), *rows);
                let step = |output| DynamicStep::Dense { linear, range, rows, input: buffer, output };
                self.dynamic_value(shape, plain(shape.len()), step)
            }
            Kind::Windows(window, channels) if DynamicConvolution::takes(channels) => {
                let convolution = DynamicConvolution::new(table, window.clone(), *channels, &own);
                let convolution = Box::new(convolution.map_err(refused)?);
                let step = |output| DynamicStep::Convolve { convolution, range, input: buffer, output };
                self.dynamic_value(shape, channels_last(shape.len()), step)
            }
            Kind::Windows(window, channels) => {
                self.depthwise(sums, window, channels, &scales).map_err(|error| match error {
                    Some(error) => refused(error),
                    None => format!("a filter of {} taps; {EXACT_TAPS_MAX} have exact sums", window.taps()),
                })?
            }
        };
        self.fusible(node, value);
        Ok(value)
    }

    /// A convolution of one filter a channel: floats that are integers, whose few products a float sums exactly.
    fn depthwise(
        &mut self,
        sums: &Sums,
        window: &Window,
        channels: &ConvolutionShape,
        scales: &[f32],
    ) -> Result<ValueId, Option<KernelError>> {
        if window.taps() > EXACT_TAPS_MAX {
            return Err(None);
        }
        let Sums { input, range, weights, shape, .. } = sums;
        let range = *range;
        let centred = self.like(*input, Element::Float);
        let (from, output) = (self.builder.buffer(*input), self.builder.buffer(centred));
        self.builder.add_step(Step::Dynamic(DynamicStep::Centre { input: from, range, output }));
        let values = weights.values(self.file);
        let filters = values.iter().enumerate().map(|(index, &weight)| {
            let offset = weights.offsets.get(weights.row(index)).unwrap_or(&0);
            (i32::from(weight) + offset) as f32
        });
        let filters: Vec<f32> = filters.collect();
        let convolution = FloatConvolution::new(self.table, window.clone(), *channels, &filters, &[])?;
        let (convolution, order) = (Box::new(convolution), channels_last(shape.len()));
        let summed = self.builder.add_value(Element::Float, shape, order.clone());
        let summed = self.builder.buffer(summed);
        // Exact, unlike other float convolutions.
        self.builder.add_step(Step::Float(FloatStep::Convolve {
            convolution,
            input: output,
            added: None,
            output: summed,
        }));
        let scaling = Box::new(Scaling::of_differences(scales)?);
        let step = |output| DynamicStep::Scale { scaling, range, input: summed, output };
        Ok(self.dynamic_value(shape, order, step))
    }

    fn dynamic_value(
        &mut self,
        shape: &[usize],
        order: Vec<usize>,
        step: impl FnOnce(usize) -> DynamicStep,
    ) -> ValueId {
        let value = self.builder.add_value(Element::Float, shape, order);
        let step = step(self.builder.buffer(value));
        self.builder.add_step(Step::Dynamic(step));
        value
    }

    /// Puts a bias at input `position` of `node` into the step that made `value`.
    pub(crate) fn dynamic_bias(&mut self, node: &Node, value: ValueId, position: usize) -> Result<bool, Reason> {
        let Some(bias) = self.float_constant(node, position)? else { return Ok(false) };
        let (buffer, shape) = (self.builder.buffer(value), self.builder.value(value).shape.clone());
        let Some(Step::Dynamic(step)) = self.builder.filling(buffer) else { return Ok(false) };
        let windows = !matches!(step, DynamicStep::Dense { .. });
        let Some(scaling) = step.scaling_mut() else { return Ok(false) };
        if scaling.end().is_bounded() || scaling.has_bias() {
            return Ok(false);
        }
        let behind = if windows { shape.len() - 2 } else { 0 };
        let columns = scaling.columns();
        let Some(row) = column_row(&bias, columns, behind)? else { return Ok(false) };
        scaling.add_bias(&row).map_err(refused)?;
        Ok(true)
    }
}

/// The numbers of a constant of which at most one axis is longer than 1.
fn row(tensor: &Tensor) -> Result<&[f32], Reason> {
    let values = floats(tensor)?;
    let longer = tensor.shape().iter().filter(|&&size| size != 1).count();
    if longer <= 1 { Ok(values) } else { Err(format!("its scales have shape {:?}", tensor.shape())) }
}

/// One number for each of `columns` channels, behind which lie `behind` more axes; `None` when it spreads otherwise.
fn column_row(tensor: &Tensor, columns: usize, behind: usize) -> Result<Option<Vec<f32>>, Reason> {
    let (values, shape) = (floats(tensor)?, tensor.shape());
    if values.len() == 1 {
        return Ok(Some(vec![values[0]; columns]));
    }
    let Some(channel) = shape.len().checked_sub(behind + 1) else { return Ok(None) };
    let fits = shape[channel] == columns && values.len() == columns;
    Ok(fits.then(|| values.to_vec()))
}
