//! Computing a node whose inputs are all constants.
//!
//! Only what exporters leave over: shape arithmetic, filled tensors, moved and joined constants. Quantization
//! nodes are never computed: they say how a model is to run. `None` always means "leave the node as it is".

use runtime_tensor::{ElementType, Tensor};

use crate::shapes::{axis_index, broadcast_sizes};
use crate::{Attribute, Node};

/// Elements up to which arithmetic is done here; more is work for an engine.
const ARITHMETIC_ELEMENTS_MAX: usize = 1 << 16;

/// What computing a node may use.
pub(crate) struct Constants<'a> {
    /// Constant inputs by position; `None` where the input is absent.
    pub(crate) inputs: Vec<Option<&'a Tensor>>,
    /// The shape of the first output, when inference knows every size.
    pub(crate) shape: Option<Vec<usize>>,
    /// Bytes that the result may take.
    pub(crate) bytes_max: u64,
}

impl Constants<'_> {
    fn input(&self, position: usize) -> Option<&Tensor> {
        self.inputs.get(position).copied().flatten()
    }

    fn fits(&self, element: ElementType, shape: &[usize]) -> bool {
        let bytes = shape.iter().try_fold(element.size_bytes() as u64, |bytes, &size| bytes.checked_mul(size as u64));
        bytes.is_some_and(|bytes| bytes <= self.bytes_max)
    }
}

/// The value of the node's only output.
pub(crate) fn evaluate(node: &Node, constants: &Constants<'_>) -> Option<Tensor> {
    if !node.is_standard() || node.outputs.len() != 1 {
        return None;
    }
    match node.operator.as_str() {
        "Constant" => constant(node),
        "ConstantOfShape" => filled(node, constants),
        "Identity" => fitting(constants, constants.input(0)?.clone()),
        // These keep the elements in order.
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
            fitting(constants, constants.input(0)?.clone().reshape(constants.shape.clone()?).ok()?)
        }
        "Cast" => cast(node, constants),
        "Transpose" => transpose(node, constants),
        "Gather" => gather(node, constants),
        "Concat" => concat(node, constants),
        "Slice" => slice(node, constants),
        "Expand" => expand(constants),
        "Range" => range(constants),
        "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Equal" => binary(node, constants),
        "Neg" | "Sqrt" | "Floor" | "Ceil" | "Abs" => unary(node, constants),
        _ => None,
    }
}

fn fitting(constants: &Constants<'_>, tensor: Tensor) -> Option<Tensor> {
    constants.fits(tensor.element(), tensor.shape()).then_some(tensor)
}

fn constant(node: &Node) -> Option<Tensor> {
    node.attributes.iter().find_map(|(name, value)| match (name.as_str(), value) {
        ("value", Attribute::Tensor(tensor)) => Some(tensor.clone()),
        ("value_int", Attribute::Int(value)) => Tensor::from_i64(vec![], vec![*value]).ok(),
        ("value_float", Attribute::Float(value)) => Tensor::from_f32(vec![], vec![*value]).ok(),
        ("value_ints", Attribute::Ints(values)) => Tensor::from_i64(vec![values.len()], values.clone()).ok(),
        ("value_floats", Attribute::Floats(values)) => Tensor::from_f32(vec![values.len()], values.clone()).ok(),
        _ => None,
    })
}

fn filled(node: &Node, constants: &Constants<'_>) -> Option<Tensor> {
    let shape = constants.input(0)?.as_i64().ok()?;
    let shape: Vec<usize> = shape.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<_>>()?;
    let zero = Tensor::from_f32(vec![1], vec![0.0]).ok()?;
    let value = node.tensor("value").unwrap_or(&zero);
    if value.len() != 1 || !constants.fits(value.element(), &shape) {
        return None;
    }
    let mut tensor = Tensor::zeros(value.element(), shape).ok()?;
    let pattern = value.bytes();
    if pattern.iter().any(|&byte| byte != 0) {
        tensor.bytes_mut().chunks_exact_mut(pattern.len()).for_each(|element| element.copy_from_slice(pattern));
    }
    Some(tensor)
}

/// Elements as numbers that every supported type fits into.
enum Numbers {
    Ints(Vec<i64>),
    Floats(Vec<f64>),
}

impl Numbers {
    fn of(tensor: &Tensor) -> Option<Self> {
        let floats = || (0..tensor.len()).map(|index| tensor.value_f64(index)).collect::<Option<Vec<f64>>>();
        Some(match tensor.element() {
            ElementType::I64 => Self::Ints(tensor.as_i64().ok()?.to_vec()),
            // Beyond i64 they would wrap.
            ElementType::U64 => return None,
            element if element.is_float() => Self::Floats(floats()?),
            _ => Self::Ints(floats()?.into_iter().map(|value| value as i64).collect()),
        })
    }

    fn into_tensor(self, element: ElementType, shape: Vec<usize>) -> Option<Tensor> {
        let size = element.size_bytes();
        let bytes: Vec<u8> = match (self, element) {
            (Self::Floats(values), ElementType::F32) => {
                values.into_iter().flat_map(|value| (value as f32).to_le_bytes()).collect()
            }
            (Self::Floats(values), ElementType::F64) => values.into_iter().flat_map(f64::to_le_bytes).collect(),
            (Self::Ints(values), ElementType::Bool) => values.into_iter().map(|value| u8::from(value != 0)).collect(),
            // Two's complement: the low bytes are the narrower integer, wrapped.
            (Self::Ints(values), element) if !element.is_float() => {
                values.into_iter().flat_map(|value| value.to_le_bytes().into_iter().take(size)).collect()
            }
            _ => return None,
        };
        Tensor::new(element, shape, &bytes).ok()
    }
}

fn cast(node: &Node, constants: &Constants<'_>) -> Option<Tensor> {
    let input = constants.input(0)?;
    let element = ElementType::from_onnx(i32::try_from(node.int("to", 0)).ok()?)?;
    if input.len() > ARITHMETIC_ELEMENTS_MAX {
        return None;
    }
    let numbers = match (Numbers::of(input)?, element.is_float()) {
        (Numbers::Ints(values), true) => Numbers::Floats(values.into_iter().map(|value| value as f64).collect()),
        // Out of range is undefined in ONNX; Bool asks only whether it is zero.
        (Numbers::Floats(values), false) if element == ElementType::Bool => {
            Numbers::Ints(values.into_iter().map(|value| i64::from(value != 0.0)).collect())
        }
        (Numbers::Floats(values), false) => Numbers::Ints(values.into_iter().map(|value| value as i64).collect()),
        (same, _) => same,
    };
    numbers.into_tensor(element, input.shape().to_vec())
}

/// Distance in elements between neighbours of each axis, row-major.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// The tensor of `shape` whose element at each place is the element of `input` at the place's own offset:
/// `base` plus place times `steps`. Offsets that hostile steps send round the number line fall outside of the
/// input, which is checked for each element.
fn pick(input: &Tensor, shape: Vec<usize>, base: usize, steps: &[isize]) -> Option<Tensor> {
    let size = input.element().size_bytes();
    let mut tensor = Tensor::zeros(input.element(), shape.clone()).ok()?;
    let source = input.bytes();
    let mut place = vec![0usize; shape.len()];
    let mut offset = isize::try_from(base).ok()?;
    for element in tensor.bytes_mut().chunks_exact_mut(size) {
        let at = usize::try_from(offset).ok()? * size;
        element.copy_from_slice(source.get(at..at + size)?);
        for axis in (0..shape.len()).rev() {
            place[axis] += 1;
            offset = offset.wrapping_add(steps[axis]);
            if place[axis] < shape[axis] {
                break;
            }
            offset = offset.wrapping_sub(steps[axis].wrapping_mul(shape[axis] as isize));
            place[axis] = 0;
        }
    }
    Some(tensor)
}

fn transpose(node: &Node, constants: &Constants<'_>) -> Option<Tensor> {
    let (input, shape) = (constants.input(0)?, constants.shape.clone()?);
    let rank = input.shape().len();
    let order: Vec<usize> = match node.ints("perm") {
        None => (0..rank).rev().collect(),
        Some(order) => order.iter().map(|&axis| axis_index(axis, rank).ok()).collect::<Option<_>>()?,
    };
    let strides = strides(input.shape());
    let steps: Vec<isize> = order.iter().map(|&axis| strides[axis] as isize).collect();
    constants.fits(input.element(), &shape).then(|| pick(input, shape, 0, &steps)).flatten()
}

fn expand(constants: &Constants<'_>) -> Option<Tensor> {
    let (input, shape) = (constants.input(0)?, constants.shape.clone()?);
    let lead = shape.len().checked_sub(input.shape().len())?;
    let strides = strides(input.shape());
    let step = |axis: usize| match axis.checked_sub(lead) {
        Some(own) if input.shape()[own] != 1 => strides[own] as isize,
        _ => 0,
    };
    let steps: Vec<isize> = (0..shape.len()).map(step).collect();
    constants.fits(input.element(), &shape).then(|| pick(input, shape, 0, &steps)).flatten()
}

fn slice(node: &Node, constants: &Constants<'_>) -> Option<Tensor> {
    let (input, shape) = (constants.input(0)?, constants.shape.clone()?);
    let list = |attribute: &str, position: usize| match (node.ints(attribute), constants.input(position)) {
        (Some(values), _) => Some(values.to_vec()),
        (None, Some(tensor)) => match Numbers::of(tensor)? {
            Numbers::Ints(values) => Some(values),
            Numbers::Floats(_) => None,
        },
        (None, None) => None,
    };
    let starts = list("starts", 1)?;
    let axes = list("axes", 3).unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps_given = list("steps", 4).unwrap_or_else(|| vec![1; starts.len()]);
    let mut steps: Vec<isize> = strides(input.shape()).into_iter().map(|stride| stride as isize).collect();
    let mut base = 0usize;
    for (index, &axis) in axes.iter().enumerate() {
        let axis = axis_index(axis, input.shape().len()).ok()?;
        let size = input.shape()[axis] as i64;
        let (start, step) = (*starts.get(index)?, *steps_given.get(index)?);
        let start = if start < 0 { start.saturating_add(size) } else { start };
        let start = if step > 0 { start.clamp(0, size) } else { start.clamp(-1, size - 1) };
        // An empty slice begins nowhere; nothing is picked then.
        let skipped = usize::try_from(start).unwrap_or(0).checked_mul(usize::try_from(steps[axis]).ok()?)?;
        base = base.checked_add(skipped)?;
        steps[axis] = steps[axis].checked_mul(isize::try_from(step).ok()?)?;
    }
    constants.fits(input.element(), &shape).then(|| pick(input, shape, base, &steps)).flatten()
}

fn gather(node: &Node, constants: &Constants<'_>) -> Option<Tensor> {
    let (data, indices) = (constants.input(0)?, constants.input(1)?);
    let axis = axis_index(node.int("axis", 0), data.shape().len()).ok()?;
    let Numbers::Ints(indices) = Numbers::of(indices)? else { return None };
    let shape = constants.shape.clone()?;
    if !constants.fits(data.element(), &shape) {
        return None;
    }
    let size = data.element().size_bytes();
    let outer: usize = data.shape()[..axis].iter().product();
    let block = data.shape()[axis + 1..].iter().product::<usize>() * size;
    let row = data.shape()[axis] * block;
    let mut bytes = Vec::new();
    for outer in 0..outer {
        for &index in &indices {
            let index = axis_index(index, data.shape()[axis]).ok()?;
            let begin = outer * row + index * block;
            bytes.extend_from_slice(&data.bytes()[begin..begin + block]);
        }
    }
    Tensor::new(data.element(), shape, &bytes).ok()
}

fn concat(node: &Node, constants: &Constants<'_>) -> Option<Tensor> {
    let parts: Vec<&Tensor> =
        (0..node.inputs.len()).map(|position| constants.input(position)).collect::<Option<_>>()?;
    let (first, shape) = (*parts.first()?, constants.shape.clone()?);
    let axis = axis_index(node.int("axis", 0), first.shape().len()).ok()?;
    let fits_in = |part: &&Tensor| part.element() == first.element() && part.shape().len() == first.shape().len();
    if !parts.iter().all(fits_in) || !constants.fits(first.element(), &shape) {
        return None;
    }
    let outer: usize = first.shape()[..axis].iter().product();
    let mut bytes = Vec::new();
    for outer in 0..outer {
        for part in &parts {
            let block = part.shape()[axis..].iter().product::<usize>() * part.element().size_bytes();
            bytes.extend_from_slice(part.bytes().get(outer * block..(outer + 1) * block)?);
        }
    }
    Tensor::new(first.element(), shape, &bytes).ok()
}

fn range(constants: &Constants<'_>) -> Option<Tensor> {
    let value = |position: usize| match Numbers::of(constants.input(position)?)? {
        Numbers::Ints(values) => values.first().copied(),
        Numbers::Floats(_) => None,
    };
    let (start, step, [count]) = (value(0)?, value(2)?, constants.shape.as_deref()?) else { return None };
    if *count > ARITHMETIC_ELEMENTS_MAX {
        return None;
    }
    let values = (0..*count as i64).map(|index| start.wrapping_add(step.wrapping_mul(index)));
    Numbers::Ints(values.collect()).into_tensor(constants.input(0)?.element(), vec![*count])
}

fn unary(node: &Node, constants: &Constants<'_>) -> Option<Tensor> {
    let input = constants.input(0)?;
    if input.len() > ARITHMETIC_ELEMENTS_MAX {
        return None;
    }
    let numbers = match (Numbers::of(input)?, node.operator.as_str()) {
        (Numbers::Floats(values), operator) => {
            let compute: fn(f64) -> f64 = match operator {
                "Neg" => |value| -value,
                "Sqrt" => f64::sqrt,
                "Floor" => f64::floor,
                "Ceil" => f64::ceil,
                _ => f64::abs,
            };
            Numbers::Floats(values.into_iter().map(compute).collect())
        }
        (Numbers::Ints(values), "Neg") => Numbers::Ints(values.into_iter().map(i64::wrapping_neg).collect()),
        (Numbers::Ints(values), "Abs") => Numbers::Ints(values.into_iter().map(i64::wrapping_abs).collect()),
        _ => return None,
    };
    numbers.into_tensor(input.element(), input.shape().to_vec())
}

fn binary(node: &Node, constants: &Constants<'_>) -> Option<Tensor> {
    let (left, right) = (constants.input(0)?, constants.input(1)?);
    let shape = broadcast_sizes(left.shape(), right.shape())?;
    let count = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))?;
    if left.element() != right.element() || count > ARITHMETIC_ELEMENTS_MAX || node.inputs.len() != 2 {
        return None;
    }
    let (left, right) = (spread(left, &shape)?, spread(right, &shape)?);
    let operator = node.operator.as_str();
    let (numbers, element) = match (Numbers::of(&left)?, Numbers::of(&right)?) {
        (Numbers::Ints(a), Numbers::Ints(b)) => {
            let both = a.into_iter().zip(b).map(|(a, b)| integer(operator, a, b));
            (Numbers::Ints(both.collect::<Option<_>>()?), left.element())
        }
        // Rounding the double-precision result once more gives what single precision gives, for these operators.
        (Numbers::Floats(a), Numbers::Floats(b)) => {
            let compute: fn(f64, f64) -> f64 = match operator {
                "Add" => |a, b| a + b,
                "Sub" => |a, b| a - b,
                "Mul" => |a, b| a * b,
                "Div" => |a, b| a / b,
                _ => return None,
            };
            (Numbers::Floats(a.into_iter().zip(b).map(|(a, b)| compute(a, b)).collect()), left.element())
        }
        _ => return None,
    };
    numbers.into_tensor(if operator == "Equal" { ElementType::Bool } else { element }, shape)
}

fn spread(tensor: &Tensor, shape: &[usize]) -> Option<Tensor> {
    let constants = Constants { inputs: vec![Some(tensor)], shape: Some(shape.to_vec()), bytes_max: u64::MAX };
    expand(&constants)
}

fn integer(operator: &str, a: i64, b: i64) -> Option<i64> {
    match operator {
        "Add" => Some(a.wrapping_add(b)),
        "Sub" => Some(a.wrapping_sub(b)),
        "Mul" => Some(a.wrapping_mul(b)),
        "Div" => a.checked_div(b),
        "Max" => Some(a.max(b)),
        "Min" => Some(a.min(b)),
        "Equal" => Some(i64::from(a == b)),
        _ => None,
    }
}
