//! An engine in plain loops over f64: slow, obvious, enough operators for the models of these tests.
//!
//! QuantizeLinear and DequantizeLinear are computed as ONNX defines them, so a QDQ model gives here what its
//! integers mean.

use std::collections::BTreeMap;
use std::time::Instant;

use runtime_engine::{Coverage, Engine, EngineError, LoadOptions, NumericsClass, Session, check_inputs, check_wanted};
use runtime_graph::{Model, Node, ReadLimits};
use runtime_tensor::{ElementType, NamedTensor, Tensor, TensorSpec};

pub(crate) struct Reference;

impl Engine for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn build(&self) -> String {
        "0".to_owned()
    }

    fn load(&self, model: &[u8], _options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        let bad = |error: runtime_graph::GraphError| EngineError::BadModel { reason: error.to_string() };
        let model = Model::read(model, &ReadLimits::default()).map_err(bad)?;
        Ok(Box::new(Running { inputs: model.inputs(), outputs: model.outputs(), model, coverage: Coverage::default() }))
    }
}

struct Running {
    model: Model,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    coverage: Coverage,
}

impl Session for Running {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn run(
        &mut self,
        inputs: &[NamedTensor],
        wanted: &[String],
        _deadline: Option<Instant>,
    ) -> Result<Vec<NamedTensor>, EngineError> {
        check_inputs(&self.inputs, inputs)?;
        let wanted = check_wanted(&self.outputs, wanted)?;
        let mut values: BTreeMap<&str, Array> = BTreeMap::new();
        let given = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor));
        let constants = self.model.graph().initializers.iter().map(|(name, tensor)| (name.as_str(), tensor));
        for (name, tensor) in given.chain(constants) {
            values.insert(name, Array::of(tensor));
        }
        for node in &self.model.graph().nodes {
            let inputs: Vec<Option<&Array>> =
                (0..node.inputs.len()).map(|at| node.input(at).map(|name| &values[name])).collect();
            let made = compute(node, &inputs);
            values.insert(&node.outputs[0], made);
        }
        let output = |position: usize| {
            let spec = &self.outputs[position];
            (spec.name.clone(), values[spec.name.as_str()].tensor(spec.element))
        };
        Ok(wanted.into_iter().map(output).collect())
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn resident_bytes(&self) -> u64 {
        0
    }

    fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn numerics(&self) -> NumericsClass {
        NumericsClass::Exact
    }

    fn isa(&self) -> &str {
        "scalar"
    }
}

/// One value with every element as f64; floats are rounded to f32 after each node.
#[derive(Clone)]
struct Array {
    shape: Vec<usize>,
    values: Vec<f64>,
    element: ElementType,
}

impl Array {
    fn of(tensor: &Tensor) -> Self {
        let values = (0..tensor.len()).map(|index| tensor.value_f64(index).unwrap()).collect();
        Self { shape: tensor.shape().to_vec(), values, element: tensor.element() }
    }

    fn float(shape: Vec<usize>, values: Vec<f64>) -> Self {
        let values = values.into_iter().map(|value| f64::from(value as f32)).collect();
        Self { shape, values, element: ElementType::F32 }
    }

    fn map(&self, compute: impl Fn(f64) -> f64) -> Self {
        Self::float(self.shape.clone(), self.values.iter().map(|&value| compute(value)).collect())
    }

    fn tensor(&self, element: ElementType) -> Tensor {
        assert_eq!(element, ElementType::F32, "these tests look at floats");
        Tensor::from_f32(self.shape.clone(), self.values.iter().map(|&value| value as f32).collect()).unwrap()
    }

    /// The element that numpy would spread to `place` of a larger shape.
    fn spread(&self, place: &[usize]) -> f64 {
        let lead = place.len() - self.shape.len();
        let fold = |offset: usize, axis: usize| {
            let at = if self.shape[axis] == 1 { 0 } else { place[axis + lead] };
            offset * self.shape[axis] + at
        };
        self.values[(0..self.shape.len()).fold(0, fold)]
    }
}

/// Every place of a shape, row-major.
fn places(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    (0..shape.iter().product()).map(|mut index: usize| {
        let mut place = vec![0; shape.len()];
        for axis in (0..shape.len()).rev() {
            place[axis] = index % shape[axis];
            index /= shape[axis];
        }
        place
    })
}

fn compute(node: &Node, inputs: &[Option<&Array>]) -> Array {
    let input = |position: usize| inputs[position].expect("the node has this input");
    let x = input(0);
    match node.operator.as_str() {
        "Identity" | "Dropout" => x.clone(),
        "Relu" => x.map(|value| value.max(0.0)),
        "Tanh" => x.map(f64::tanh),
        "Clip" => {
            let bound =
                |position: usize, absent: f64| inputs.get(position).copied().flatten().map_or(absent, |b| b.values[0]);
            let (low, high) = (bound(1, f64::MIN), bound(2, f64::MAX));
            x.map(|value| value.max(low).min(high))
        }
        "Add" | "Mul" | "Sub" => pairwise(&node.operator, x, input(1)),
        "Pad" => pad(x, &input(1).values),
        "Flatten" => Array::float(vec![x.shape[0], x.shape[1..].iter().product()], x.values.clone()),
        "Reshape" => reshape(x, &input(1).values),
        "Transpose" => transpose(x, node.ints("perm").expect("perm")),
        "Concat" => concat(&inputs.iter().flatten().copied().collect::<Vec<_>>(), node.int("axis", 0) as usize),
        "Conv" => convolution(node, x, input(1), inputs.get(2).copied().flatten()),
        "MaxPool" | "AveragePool" | "GlobalAveragePool" => pool(node, x),
        "Gemm" | "MatMul" => matrix(node, x, input(1), inputs.get(2).copied().flatten()),
        "BatchNormalization" => normalize(node, x, [1, 2, 3, 4].map(input)),
        "QuantizeLinear" => quantize(x, input(1), input(2)),
        "DequantizeLinear" => dequantize(node, x, input(1), inputs.get(2).copied().flatten()),
        other => panic!("the reference engine has no {other}"),
    }
}

fn pairwise(operator: &str, a: &Array, b: &Array) -> Array {
    let rank = a.shape.len().max(b.shape.len());
    let size = |array: &Array, axis: usize| match (axis + array.shape.len()).checked_sub(rank) {
        Some(index) => array.shape[index],
        None => 1,
    };
    let shape: Vec<usize> = (0..rank).map(|axis| size(a, axis).max(size(b, axis))).collect();
    let compute = |place: Vec<usize>| match operator {
        "Add" => a.spread(&place) + b.spread(&place),
        "Sub" => a.spread(&place) - b.spread(&place),
        _ => a.spread(&place) * b.spread(&place),
    };
    let values = places(&shape).map(compute).collect();
    Array::float(shape, values)
}

fn pad(x: &Array, pads: &[f64]) -> Array {
    let rank = x.shape.len();
    let shape: Vec<usize> =
        (0..rank).map(|axis| x.shape[axis] + pads[axis] as usize + pads[axis + rank] as usize).collect();
    let value = |place: Vec<usize>| {
        let inner: Option<Vec<usize>> = (0..rank)
            .map(|axis| place[axis].checked_sub(pads[axis] as usize).filter(|&at| at < x.shape[axis]))
            .collect();
        inner.map_or(0.0, |inner| x.spread(&inner))
    };
    let values = places(&shape).map(value).collect();
    Array::float(shape, values)
}

fn reshape(x: &Array, target: &[f64]) -> Array {
    let copied: Vec<i64> = target
        .iter()
        .enumerate()
        .map(|(axis, &size)| if size == 0.0 { x.shape[axis] as i64 } else { size as i64 })
        .collect();
    let known: i64 = copied.iter().filter(|&&size| size > 0).product();
    let shape = copied.iter().map(|&size| if size < 0 { x.values.len() / known as usize } else { size as usize });
    Array::float(shape.collect(), x.values.clone())
}

fn transpose(x: &Array, order: &[i64]) -> Array {
    let shape: Vec<usize> = order.iter().map(|&axis| x.shape[axis as usize]).collect();
    let value = |place: Vec<usize>| {
        let mut source = vec![0; place.len()];
        order.iter().zip(&place).for_each(|(&axis, &at)| source[axis as usize] = at);
        x.spread(&source)
    };
    let values = places(&shape).map(value).collect();
    Array::float(shape, values)
}

fn concat(parts: &[&Array], axis: usize) -> Array {
    let mut shape = parts[0].shape.clone();
    shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
    let value = |mut place: Vec<usize>| {
        for part in parts {
            if place[axis] < part.shape[axis] {
                return part.spread(&place);
            }
            place[axis] -= part.shape[axis];
        }
        unreachable!("the parts make up the axis")
    };
    let values = places(&shape).map(value).collect();
    Array::float(shape, values)
}

/// Strides, dilations and pads of two axes.
fn window(node: &Node) -> ([usize; 2], [usize; 2], [usize; 4]) {
    fn list<const N: usize>(node: &Node, name: &str, absent: i64) -> [usize; N] {
        std::array::from_fn(|at| node.ints(name).map_or(absent, |values| values[at]) as usize)
    }
    (list(node, "strides", 1), list(node, "dilations", 1), list(node, "pads", 0))
}

fn convolution(node: &Node, x: &Array, w: &Array, bias: Option<&Array>) -> Array {
    let (strides, dilations, pads) = window(node);
    let group = node.int("group", 1) as usize;
    let (outputs, depth) = (w.shape[0], w.shape[1]);
    let size = |axis: usize| {
        let reach = dilations[axis] * (w.shape[axis + 2] - 1) + 1;
        (x.shape[axis + 2] + pads[axis] + pads[axis + 2] - reach) / strides[axis] + 1
    };
    let shape = vec![x.shape[0], outputs, size(0), size(1)];
    let value = |place: Vec<usize>| {
        let mut sum = bias.map_or(0.0, |bias| bias.values[place[1]]);
        let first = place[1] / (outputs / group) * depth;
        for tap in places(&w.shape[1..]) {
            let at = |axis: usize| {
                (place[axis + 2] * strides[axis] + tap[axis + 1] * dilations[axis])
                    .checked_sub(pads[axis])
                    .filter(|&at| at < x.shape[axis + 2])
            };
            if let (Some(row), Some(column)) = (at(0), at(1)) {
                sum +=
                    x.spread(&[place[0], first + tap[0], row, column]) * w.spread(&[place[1], tap[0], tap[1], tap[2]]);
            }
        }
        sum
    };
    let values = places(&shape).map(value).collect();
    Array::float(shape, values)
}

/// Padding is never counted into an average.
fn pool(node: &Node, x: &Array) -> Array {
    let (strides, _, pads) = window(node);
    let whole = node.operator == "GlobalAveragePool";
    let kernel: [usize; 2] = std::array::from_fn(|axis| {
        if whole { x.shape[axis + 2] } else { node.ints("kernel_shape").expect("kernel")[axis] as usize }
    });
    let size = |axis: usize| (x.shape[axis + 2] + pads[axis] + pads[axis + 2] - kernel[axis]) / strides[axis] + 1;
    let shape = vec![x.shape[0], x.shape[1], size(0), size(1)];
    let value = |place: Vec<usize>| {
        let at = |axis: usize, tap: usize| {
            (place[axis + 2] * strides[axis] + tap).checked_sub(pads[axis]).filter(|&at| at < x.shape[axis + 2])
        };
        let inside =
            places(&kernel).filter_map(|tap| Some(x.spread(&[place[0], place[1], at(0, tap[0])?, at(1, tap[1])?])));
        let inside: Vec<f64> = inside.collect();
        match node.operator.as_str() {
            "MaxPool" => inside.into_iter().fold(f64::MIN, f64::max),
            _ => inside.iter().sum::<f64>() / inside.len() as f64,
        }
    };
    let values = places(&shape).map(value).collect();
    Array::float(shape, values)
}

fn matrix(node: &Node, x: &Array, w: &Array, bias: Option<&Array>) -> Array {
    let turned = node.int("transB", 0) != 0;
    let (depth, columns) = if turned { (w.shape[1], w.shape[0]) } else { (w.shape[0], w.shape[1]) };
    let mut shape = x.shape.clone();
    *shape.last_mut().expect("a matrix") = columns;
    let (alpha, beta) = (f64::from(node.float("alpha", 1.0)), f64::from(node.float("beta", 1.0)));
    let value = |place: Vec<usize>| {
        let (&column, row) = place.split_last().expect("a matrix");
        let product = |inner: usize| {
            let mut left = row.to_vec();
            left.push(inner);
            x.spread(&left) * w.spread(&if turned { [column, inner] } else { [inner, column] })
        };
        alpha * (0..depth).map(product).sum::<f64>() + beta * bias.map_or(0.0, |bias| bias.spread(&place))
    };
    let values = places(&shape).map(value).collect();
    Array::float(shape, values)
}

fn normalize(node: &Node, x: &Array, [gamma, beta, mean, variance]: [&Array; 4]) -> Array {
    let epsilon = f64::from(node.float("epsilon", 1e-5));
    let value = |place: Vec<usize>| {
        let channel = place[1];
        let deviation = (variance.values[channel] + epsilon).sqrt();
        (x.spread(&place) - mean.values[channel]) / deviation * gamma.values[channel] + beta.values[channel]
    };
    let values = places(&x.shape).map(value).collect();
    Array::float(x.shape.clone(), values)
}

fn quantize(x: &Array, scale: &Array, zero_point: &Array) -> Array {
    let (low, high) = if zero_point.element == ElementType::U8 { (0.0, 255.0) } else { (-128.0, 127.0) };
    let code = |&value: &f64| {
        let steps = (value as f32 / scale.values[0] as f32).round_ties_even();
        (f64::from(steps) + zero_point.values[0]).clamp(low, high)
    };
    Array { shape: x.shape.clone(), values: x.values.iter().map(code).collect(), element: zero_point.element }
}

fn dequantize(node: &Node, x: &Array, scale: &Array, zero_point: Option<&Array>) -> Array {
    let axis = node.int("axis", 1) as usize;
    let value = |place: Vec<usize>| {
        let slice = if scale.shape.is_empty() { 0 } else { place[axis] };
        let zero = zero_point.map_or(0.0, |zero| zero.values[slice]);
        (x.spread(&place) - zero) * scale.values[slice]
    };
    let values = places(&x.shape).map(value).collect();
    Array::float(x.shape.clone(), values)
}
