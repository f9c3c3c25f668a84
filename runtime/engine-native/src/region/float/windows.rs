//! Float pools, means and padding.

use runtime_graph::Node;
use runtime_kernels::{FloatPool, Window};

use super::refused;
use crate::program::{FloatStep, ValueId, channels_last};
use crate::region::reader::{Reader, Reason};
use crate::region::windows::{kernel_shape, space, whole};

impl Reader<'_> {
    pub(crate) fn float_pool(&mut self, node: &Node) -> Result<ValueId, Reason> {
        let shape = self.output_shape(node)?;
        let input = self.float_input(node, 0)?;
        let input = self.channels_last(input)?;
        let from = self.builder.value(input).shape.clone();
        let channels = *from.get(1).ok_or("its input has no channels")?;
        let window = match node.operator.as_str() {
            "GlobalMaxPool" | "GlobalAveragePool" => whole(&from)?,
            _ => Self::window(node, &from, &kernel_shape(node)?, &shape)?,
        };
        if node.int("storage_order", 0) != 0 {
            return Err("storage_order 1 is not supported".into());
        }
        if node.operator.ends_with("AveragePool") {
            let count_padding = node.int("count_include_pad", 0) != 0;
            if count_padding && node.int("ceil_mode", 0) != 0 {
                return Err("count_include_pad together with ceil_mode has no agreed meaning".into());
            }
            return self.average_of(input, window, channels, count_padding, &shape);
        }
        let pool = FloatPool::max(window, channels).map_err(refused)?;
        Ok(self.pooled(pool, input, &shape))
    }

    fn pooled(&mut self, pool: FloatPool, input: ValueId, shape: &[usize]) -> ValueId {
        let (pool, input) = (Box::new(pool), self.builder.buffer(input));
        self.float_value(shape, channels_last(shape.len()), |output| FloatStep::Pool { pool, input, output })
    }

    pub(crate) fn average_of(
        &mut self,
        input: ValueId,
        window: Window,
        channels: usize,
        count_padding: bool,
        shape: &[usize],
    ) -> Result<ValueId, Reason> {
        let pool = FloatPool::average(window, channels, count_padding).map_err(refused)?;
        Ok(self.pooled(pool, input, shape))
    }

    pub(crate) fn global_average_of(&mut self, input: ValueId, shape: &[usize]) -> Result<ValueId, Reason> {
        let input = self.channels_last(input)?;
        let from = self.builder.value(input).shape.clone();
        self.average_of(input, whole(&from)?, from[1], false, shape)
    }

    /// ReduceMean: reduced axes before those that are kept, but for the first, then one pool over them.
    pub(crate) fn float_mean(&mut self, node: &Node) -> Result<ValueId, Reason> {
        let shape = self.output_shape(node)?;
        let input = self.float_input(node, 0)?;
        let from = self.builder.value(input).shape.clone();
        let (reduced, kept) = self.reduced_axes(node, &from)?;
        let order: Vec<usize> = std::iter::once(0).chain(reduced.iter().copied()).chain(kept.iter().copied()).collect();
        let input = self.builder.in_order(input, &order)?;
        let product = |axes: &[usize]| axes.iter().map(|&axis| from[axis]).product::<usize>();
        self.mean_of(input, product(&reduced), product(&kept), &shape)
    }

    /// The mean of `pixels` times `channels` elements of each sample, for every channel.
    pub(crate) fn mean_of(
        &mut self,
        input: ValueId,
        pixels: usize,
        channels: usize,
        shape: &[usize],
    ) -> Result<ValueId, Reason> {
        let space = [1, pixels];
        let window =
            Window { input: space, kernel: space, stride: [1, 1], dilation: [1, 1], pad: [0, 0], output: [1, 1] };
        let pool = Box::new(FloatPool::average(window, channels, false).map_err(refused)?);
        let input = self.builder.buffer(input);
        // With the reduced axes gone or of size 1 the kept ones lie in the model's order.
        let plain = (0..shape.len()).collect();
        Ok(self.float_value(shape, plain, |output| FloatStep::Pool { pool, input, output }))
    }

    /// The axes of `from`, but for the first, that a mean takes together, and those that it keeps.
    pub(crate) fn reduced_axes(&self, node: &Node, from: &[usize]) -> Result<(Vec<usize>, Vec<usize>), Reason> {
        let axes = match node.ints("axes") {
            Some(axes) => axes.to_vec(),
            None => match self.constant(node, 1)? {
                Some(axes) => axes.as_i64().map_err(|error| format!("failed to {error}"))?.to_vec(),
                None => return Err("a mean over all axes has no kernel".into()),
            },
        };
        let place = |&axis: &i64| usize::try_from(if axis < 0 { axis + from.len() as i64 } else { axis });
        let axes =
            axes.iter().map(place).collect::<Result<Vec<_>, _>>().map_err(|_| "an axis is none of its input's")?;
        if axes.is_empty() || axes.iter().any(|&axis| axis >= from.len() || axis == 0) {
            return Err(format!("a mean over axes {axes:?} of {from:?} has no kernel"));
        }
        let kept: Vec<usize> = (1..from.len()).filter(|axis| !axes.contains(axis)).collect();
        let reduced: Vec<usize> = (1..from.len()).filter(|axis| axes.contains(axis)).collect();
        Ok((reduced, kept))
    }

    /// Padding of height and width with a constant.
    pub(crate) fn float_pad(&mut self, node: &Node) -> Result<ValueId, Reason> {
        if node.text("mode").is_some_and(|mode| mode != "constant") {
            return Err("it pads with something other than a constant".into());
        }
        let shape = self.output_shape(node)?;
        let pads = match node.ints("pads") {
            Some(pads) => pads.to_vec(),
            None => {
                let pads = self.constant(node, 1)?.ok_or("it has no pads")?;
                pads.as_i64().map_err(|error| format!("failed to {error}"))?.to_vec()
            }
        };
        let value = match self.float_constant(node, 2)? {
            None => node.float("value", 0.0),
            Some(tensor) => *super::linear::floats(&tensor)?.first().unwrap_or(&0.0),
        };
        let input = self.float_input(node, 0)?;
        let input = self.channels_last(input)?;
        let from = self.builder.value(input).shape.clone();
        let rank = from.len();
        let spatial = |axis: usize| axis >= 2 && axis < rank;
        let fits = node.input(3).is_none()
            && pads.len() == 2 * rank
            && pads.iter().enumerate().all(|(place, &pad)| pad == 0 || (pad > 0 && spatial(place % rank)));
        if !fits {
            return Err(format!("pads {pads:?} have no kernel; those of height and width have"));
        }
        let before = |axis: usize| usize::try_from(pads[axis]).unwrap_or(0);
        let pad = if rank == 3 { [0, before(2)] } else { [before(2), before(3)] };
        let place = Window {
            input: space(&from)?,
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            pad,
            output: space(&shape)?,
        };
        if (0..2).any(|axis| place.pad[axis] + place.input[axis] > place.output[axis]) {
            return Err(format!("pads {pads:?} for a result of shape {shape:?}"));
        }
        let (place, channels, input) = (Box::new(place), from[1], self.builder.buffer(input));
        let step = |output| FloatStep::Pad { place, channels, value, input, output };
        Ok(self.float_value(&shape, channels_last(rank), step))
    }
}
