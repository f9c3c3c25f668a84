//! QuantizeLinear and DequantizeLinear.

use std::rc::Rc;

use runtime_graph::Node;
use runtime_kernels::Affine;
use runtime_tensor::{ElementType, Tensor};

use super::elements::Elements;
use super::meaning::{Meaning, RealConstant};
use super::reader::{Reader, Reason};
use crate::program::{Element, Step, ValueId};

/// The quantization of a constant.
struct Slices {
    /// One, or one a slice.
    scales: Vec<f32>,
    /// As many.
    zero_points: Vec<i32>,
    /// The axis of the slices.
    axis: usize,
}

impl Reader<'_> {
    /// Scale and zero point at inputs `scale` and `scale + 1` of `node`, for a whole tensor.
    pub(crate) fn affine(&self, node: &Node, scale: usize) -> Result<Affine, Reason> {
        let scales = self.constant(node, scale)?.ok_or("it has no scale")?;
        let [scale_value] = *scales.as_f32().map_err(|error| format!("failed to {error}"))? else {
            return Err(format!("an activation has {} scales; one is supported", scales.len()));
        };
        let (zero_point, signed) = match self.constant(node, scale + 1)? {
            None => (0, false),
            Some(tensor) => {
                let signed = match tensor.element() {
                    ElementType::U8 => false,
                    ElementType::I8 => true,
                    other => return Err(format!("activations of type {other} have no kernels; u8 and i8 have")),
                };
                let [zero_point] = integers(tensor)?[..] else {
                    return Err(format!("an activation has {} zero points; one is supported", tensor.len()));
                };
                (zero_point, signed)
            }
        };
        Affine::new(scale_value, zero_point, signed).map_err(|error| format!("failed to {error}"))
    }

    pub(crate) fn quantize_linear(&mut self, node: &Node) -> Result<Meaning, Reason> {
        if let Some(tensor) = node.input(0).and_then(|name| self.graph.initializers.get(name)) {
            return Ok(Meaning::StoredConstant(Rc::new(self.quantized_tensor(node, tensor)?)));
        }
        let affine = self.affine(node, 1)?;
        if !matches!(node.int("output_dtype", 0), 0 | 2 | 3) {
            return Err("its output type has no kernels; u8 and i8 have".into());
        }
        self.output_shape(node)?;
        match self.input_meaning(node, 0)? {
            Meaning::FloatInput(input) => {
                let shape = self.batch.input_shapes[input].clone();
                let order = (0..shape.len()).collect();
                let value = self.builder.add_value(stored(&affine), &shape, order);
                let output = self.builder.buffer(value);
                self.builder.add_step(Step::QuantizeInput { input, affine, output });
                Ok(Meaning::Stored(value))
            }
            Meaning::Float(input) => {
                let value = self.like(input, stored(&affine));
                let (input, output) = (self.builder.buffer(input), self.builder.buffer(value));
                self.builder.add_step(Step::Quantize { input, affine, output });
                Ok(Meaning::Stored(value))
            }
            Meaning::Real(input, x) => Ok(Meaning::Stored(self.requantized(input, &x, &affine))),
            Meaning::Pending(pending) => Ok(Meaning::Stored(self.quantize_pending(&pending, &affine)?)),
            Meaning::Stored(_) | Meaning::Dynamic(_) => Err("its input is quantized already".into()),
            Meaning::RealConstant(_) | Meaning::StoredConstant(_) => {
                Err("it quantizes a constant a second time".into())
            }
        }
    }

    pub(crate) fn dequantize_linear(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let name = node.input(0).ok_or("it has no input")?;
        if let Some(tensor) = self.graph.initializers.get(name) {
            return self.real_constant(node, Elements::Here(tensor.clone()));
        }
        if let Some(elements) = self.graph.deferred.get(name).and_then(Elements::in_file) {
            return self.real_constant(node, elements);
        }
        match self.input_meaning(node, 0)? {
            Meaning::StoredConstant(tensor) => self.real_constant(node, Elements::Here(tensor.as_ref().clone())),
            Meaning::Stored(value) => {
                let affine = self.affine(node, 1)?;
                if self.builder.value(value).element != stored(&affine) {
                    return Err("the types of its input and its zero point differ".into());
                }
                Ok(Meaning::Real(value, affine))
            }
            _ => Err("its input is not quantized".into()),
        }
    }

    /// The integers of a float constant, with one scale or one a slice along an axis.
    fn quantized_tensor(&self, node: &Node, tensor: &Tensor) -> Result<Tensor, Reason> {
        let values = tensor.as_f32().map_err(|error| format!("failed to {error}"))?;
        let element = match self.constant(node, 2)? {
            Some(zero_points) => zero_points.element(),
            None => ElementType::U8,
        };
        if !matches!(element, ElementType::U8 | ElementType::I8) {
            return Err(format!("constants quantized to {element} have no kernels; u8 and i8 have"));
        }
        let Slices { scales, zero_points, axis } = self.slices(node, tensor.shape())?;
        let signed = element == ElementType::I8;
        let affines =
            scales.iter().zip(&zero_points).map(|(&scale, &zero_point)| Affine::new(scale, zero_point, signed));
        let affines: Vec<Affine> = affines.collect::<Result<_, _>>().map_err(|error| format!("failed to {error}"))?;
        let inner: usize = tensor.shape().iter().skip(axis + 1).product();
        let stored = |(index, &value): (usize, &f32)| {
            let affine = &affines[index / inner.max(1) % affines.len()];
            affine.quantize(value) ^ if signed { 0x80 } else { 0 }
        };
        let bytes: Vec<u8> = values.iter().enumerate().map(stored).collect();
        Tensor::new(element, tensor.shape().to_vec(), &bytes).map_err(|error| format!("failed to {error}"))
    }

    /// Scales and zero points of a constant of `shape`.
    fn slices(&self, node: &Node, shape: &[usize]) -> Result<Slices, Reason> {
        if node.int("block_size", 0) != 0 {
            return Err("constants that are quantized in blocks have no kernels".into());
        }
        let scales = self.constant(node, 1)?.ok_or("it has no scale")?;
        let scales = scales.as_f32().map_err(|error| format!("failed to {error}"))?.to_vec();
        let zero_points = match self.constant(node, 2)? {
            Some(zero_points) => integers(zero_points)?,
            None => vec![0; scales.len()],
        };
        if zero_points.len() != scales.len() {
            return Err(format!("it has {} scales and {} zero points", scales.len(), zero_points.len()));
        }
        let axis = node.int("axis", 1);
        let axis = usize::try_from(if axis < 0 { axis + shape.len() as i64 } else { axis }).unwrap_or(usize::MAX);
        if scales.len() != 1 && shape.get(axis) != Some(&scales.len()) {
            return Err(format!("it has {} scales for axis {axis} of {shape:?}", scales.len()));
        }
        // Without slices the axis says nothing, and may be none of the tensor's.
        Ok(Slices { axis: if scales.len() == 1 { 0 } else { axis }, scales, zero_points })
    }

    fn real_constant(&self, node: &Node, tensor: Elements) -> Result<Meaning, Reason> {
        if !matches!(tensor.element(), ElementType::I8 | ElementType::U8 | ElementType::I32) {
            return Err(format!("constants of type {} have no kernels; i8, u8 and i32 have", tensor.element()));
        }
        let Slices { scales, zero_points, axis } = self.slices(node, tensor.shape())?;
        let constant = RealConstant { tensor, scales, zero_points, axis };
        Ok(Meaning::RealConstant(Rc::new(constant)))
    }

    /// A new value with shape and order of `value`.
    pub(crate) fn like(&mut self, value: ValueId, element: Element) -> ValueId {
        let like = self.builder.value(value);
        let (shape, order) = (like.shape.clone(), like.order.clone());
        self.builder.add_value(element, &shape, order)
    }
}

/// The element of bytes under `affine`.
pub(crate) fn stored(affine: &Affine) -> Element {
    Element::Stored { signed: affine.signed }
}

/// The elements of an 8-bit or 32-bit integer tensor.
pub(crate) fn integers(tensor: &Tensor) -> Result<Vec<i32>, Reason> {
    match tensor.element() {
        ElementType::U8 => Ok(tensor.bytes().iter().map(|&byte| i32::from(byte)).collect()),
        ElementType::I8 => Ok(tensor.bytes().iter().map(|&byte| i32::from(byte as i8)).collect()),
        ElementType::I32 => Ok(tensor.as_i32().map_err(|error| format!("failed to {error}"))?.to_vec()),
        other => Err(format!("constants of type {other} have no kernels; u8, i8 and i32 have")),
    }
}
