//! Layer normalization, normalization across channels, and batch normalization that stands alone.

use runtime_graph::Node;
use runtime_kernels::{AcrossChannels, Binary};

use super::linear::floats;
use crate::program::{FloatStep, ValueId, channels_last, plain};
use crate::region::reader::{Reader, Reason};

impl Reader<'_> {
    pub(crate) fn float_layer_norm(&mut self, node: &Node) -> Result<ValueId, Reason> {
        let shape = self.output_shape(node)?;
        let axis = node.int("axis", -1);
        if axis != -1 && axis != shape.len() as i64 - 1 {
            return Err(format!("axis {axis} has no kernel; the last has"));
        }
        let width = shape.last().copied().unwrap_or(1);
        let scale = self.float_constant(node, 1)?.ok_or("it has no scale")?;
        let scale = floats(&scale)?.to_vec();
        let bias = match self.float_constant(node, 2)? {
            None => Vec::new(),
            Some(bias) => floats(&bias)?.to_vec(),
        };
        if scale.len() != width || !(bias.is_empty() || bias.len() == width) {
            return Err(format!("{} scales and {} biases for rows of {width}", scale.len(), bias.len()));
        }
        let epsilon = node.float("epsilon", 1e-5);
        let input = self.float_input(node, 0)?;
        // Rows may lie in any order.
        let order = self.builder.value(input).order.clone();
        let order = if order.last() == Some(&(shape.len() - 1)) { order } else { plain(shape.len()) };
        let input = self.builder.in_order(input, &order)?;
        let input = self.builder.buffer(input);
        Ok(self.float_value(&shape, order, |output| FloatStep::LayerNorm { scale, bias, epsilon, input, output }))
    }

    /// LRN: each channel divided by a power of the squares of those around it.
    pub(crate) fn float_across_channels(&mut self, node: &Node) -> Result<ValueId, Reason> {
        let shape = self.output_shape(node)?;
        let channels = *shape.get(1).ok_or("its input has no channels")?;
        let size = usize::try_from(node.int("size", 0)).ok().filter(|&size| size > 0);
        let size = size.ok_or_else(|| format!("{} channels are no region of LRN", node.int("size", 0)))?;
        let norm = AcrossChannels {
            channels,
            before: (size - 1) / 2,
            behind: size / 2,
            scale: node.float("alpha", 1e-4) / size as f32,
            bias: node.float("bias", 1.0),
            power: node.float("beta", 0.75),
        };
        let order = channels_last(shape.len());
        let input = self.float_input(node, 0)?;
        let input = self.builder.in_order(input, &order)?;
        let input = self.builder.buffer(input);
        Ok(self.float_value(&shape, order, |output| FloatStep::AcrossChannels { norm, input, output }))
    }

    /// A factor and a summand for each channel.
    pub(crate) fn float_batch_norm(&mut self, node: &Node) -> Result<ValueId, Reason> {
        let shape = self.output_shape(node)?;
        let channels = *shape.get(1).ok_or("its input has no channels")?;
        let row = |reader: &Self, position: usize| -> Result<Vec<f32>, Reason> {
            let tensor = reader.float_constant(node, position)?.ok_or("it lacks an input")?;
            let values = floats(&tensor)?;
            if values.len() == channels {
                Ok(values.to_vec())
            } else {
                Err(format!("{} numbers for {channels} channels", values.len()))
            }
        };
        let (scale, shift, mean, variance) = (row(self, 1)?, row(self, 2)?, row(self, 3)?, row(self, 4)?);
        let epsilon = node.float("epsilon", 1e-5);
        let factor: Vec<f32> = scale.iter().zip(&variance).map(|(scale, var)| scale / (var + epsilon).sqrt()).collect();
        let rest = shift.iter().zip(&mean).zip(&factor).map(|((shift, mean), factor)| shift - mean * factor).collect();
        let mut spread = vec![1; shape.len() - 1];
        spread[0] = channels;
        let input = self.float_input(node, 0)?;
        let factor = self.builder.add_floats(&spread, factor);
        let scaled = self.binary_of(Binary::Mul, input, factor, &shape)?;
        let rest = self.builder.add_floats(&spread, rest);
        self.binary_of(Binary::Add, scaled, rest, &shape)
    }
}
