//! Resize by the nearest pixel, and means of quantized tensors.

use runtime_graph::Node;
use runtime_kernels::NearestResize;

use super::float::refused;
use super::meaning::{Meaning, Pending, Work};
use super::reader::{Reader, Reason};
use super::windows::space;
use crate::program::{Step, StoredStep, channels_last};

impl Reader<'_> {
    pub(crate) fn resize(&mut self, node: &Node) -> Result<Meaning, Reason> {
        if node.text("mode").unwrap_or("nearest") != "nearest" {
            return Err("modes other than nearest have no kernel".into());
        }
        let stretches = node.text("keep_aspect_ratio_policy").unwrap_or("stretch") == "stretch";
        if !stretches || node.int("antialias", 0) != 0 {
            return Err("a fixed aspect ratio and antialiasing have no kernel".into());
        }
        let (input, affine) = match self.input_meaning(node, 0)? {
            Meaning::Stored(value) => (value, None),
            Meaning::Real(value, affine) => (value, Some(affine)),
            _ => return Err(format!("its input {} is float; quantize it", node.inputs[0])),
        };
        let input = self.channels_last(input)?;
        let (from, shape) = (self.builder.value(input).shape.clone(), self.output_shape(node)?);
        let (sizes, to) = (space(&from)?, space(&shape)?);
        if from.len() != shape.len() || from[..2] != shape[..2] {
            return Err(format!("{from:?} to {shape:?} changes more than height and width"));
        }
        let scales = self.resize_scales(node, from.len())?;
        let mut places = Vec::new();
        for axis in 0..2 {
            places.push(nearest(node, sizes[axis], to[axis], scales.map(|scales| scales[axis]))?);
        }
        let [lines, columns] = [0, 1].map(|axis: usize| std::mem::take(&mut places[axis]));
        let resize = Box::new(NearestResize::new(sizes, lines, columns, from[1]).map_err(refused)?);
        let value = self.builder.add_value(self.builder.value(input).element, &shape, channels_last(shape.len()));
        let (input, output) = (self.builder.buffer(input), self.builder.buffer(value));
        self.builder.add_step(Step::Stored(StoredStep::Resize { resize, input, output }));
        Ok(affine.map_or(Meaning::Stored(value), |affine| Meaning::Real(value, affine)))
    }

    /// The scales of height and width that the node names; `None` when they follow from the sizes.
    fn resize_scales(&self, node: &Node, rank: usize) -> Result<Option<[f32; 2]>, Reason> {
        let position = if self.opset < 11 || node.is("Upsample") { 1 } else { 2 };
        let Some(tensor) = self.constant(node, position)? else { return Ok(None) };
        let scales = tensor.as_f32().map_err(|error| format!("failed to {error}"))?;
        if scales.is_empty() {
            return Ok(None);
        }
        match scales {
            _ if node.ints("axes").is_some() => Err("axes have no kernel; name every axis".into()),
            [.., width] if rank == 3 && scales.len() == 3 => Ok(Some([1.0, *width])),
            [.., height, width] if scales.len() == rank => Ok(Some([*height, *width])),
            _ => Err(format!("{} scales for {rank} axes", scales.len())),
        }
    }

    /// ReduceMean as a pool: reduced axes before those that are kept, but for the first.
    pub(crate) fn mean(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let Meaning::Real(input, x) = self.input_meaning(node, 0)? else {
            return Err(format!("its input {} is not quantized", node.inputs[0]));
        };
        let shape = self.output_shape(node)?;
        let from = self.builder.value(input).shape.clone();
        let (reduced, kept) = self.reduced_axes(node, &from)?;
        let order: Vec<usize> = std::iter::once(0).chain(reduced.iter().copied()).chain(kept.iter().copied()).collect();
        let input = self.builder.in_order(input, &order)?;
        let product = |axes: &[usize]| axes.iter().map(|&axis| from[axis]).product::<usize>();
        let work = Work::Mean { input, x, pixels: product(&reduced), channels: product(&kept) };
        Ok(Meaning::Pending(Pending::new(work, shape).into()))
    }
}

/// For each of `to` pixels of an axis, which of `from` is nearest, as ONNX defines it.
fn nearest(node: &Node, from: usize, to: usize, scale: Option<f32>) -> Result<Vec<usize>, Reason> {
    let scale = scale.unwrap_or(to as f32 / from as f32);
    let place: fn(f32, f32, [f32; 2]) -> f32 = match node.text("coordinate_transformation_mode").unwrap_or("half_pixel")
    {
        "asymmetric" => |x, scale, _| x / scale,
        "half_pixel" => |x, scale, _| (x + 0.5) / scale - 0.5,
        "pytorch_half_pixel" => |x, scale, [_, to]| if to > 1.0 { (x + 0.5) / scale - 0.5 } else { 0.0 },
        "align_corners" => |x, _, [from, to]| if to > 1.0 { x * (from - 1.0) / (to - 1.0) } else { 0.0 },
        other => return Err(format!("coordinate transformation {other} has no kernel")),
    };
    let round: fn(f32) -> f32 = match node.text("nearest_mode").unwrap_or("round_prefer_floor") {
        "floor" => f32::floor,
        "ceil" => f32::ceil,
        "round_prefer_ceil" => |x| (x + 0.5).floor(),
        "round_prefer_floor" => |x| (x - 0.5).ceil(),
        other => return Err(format!("nearest mode {other} is not known")),
    };
    let last = from.saturating_sub(1) as f32;
    // At least 0 and at most the last.
    let of = |x: usize| round(place(x as f32, scale, [from as f32, to as f32])).clamp(0.0, last) as usize;
    Ok((0..to).map(of).collect())
}
