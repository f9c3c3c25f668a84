//! The ONNX operators that can be trained, with their attributes checked.

use std::collections::BTreeMap;

use runtime_graph::{Attribute, Node};
use runtime_tensor::Tensor;

use crate::kernels::window::Window;

/// Names of every operator with a gradient, for messages and for `distill check`.
pub const OPERATORS: [&str; 24] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "Dropout",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "HardSwish",
    "Identity",
    "MatMul",
    "MaxPool",
    "Mul",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "Squeeze",
    "Sub",
    "Tanh",
    "Transpose",
];

/// One operator with its attributes. Inputs that must be constants are already read into it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operator {
    Add,
    AveragePool {
        window: WindowAttributes,
        includes_padding: bool,
    },
    BatchNormalization {
        epsilon: f32,
    },
    Clip {
        min: f32,
        max: f32,
    },
    Concat {
        axis: i64,
    },
    Convolution {
        window: WindowAttributes,
        groups: usize,
        relu: bool,
    },
    Dropout {
        ratio: f32,
    },
    Flatten {
        axis: i64,
    },
    Gemm {
        alpha: f32,
        beta: f32,
        transpose_a: bool,
        transpose_b: bool,
    },
    GlobalAveragePool,
    HardSwish,
    Identity,
    MatMul,
    MaxPool {
        window: WindowAttributes,
    },
    Mul,
    Relu,
    Reshape {
        shape: Vec<i64>,
        allow_zero: bool,
    },
    Sigmoid,
    /// `flattened`: before opset 13 the axes from `axis` on are one.
    Softmax {
        axis: i64,
        flattened: bool,
    },
    Squeeze {
        axes: Vec<i64>,
    },
    Sub,
    Tanh,
    Transpose {
        permutation: Option<Vec<i64>>,
    },
}

/// The attributes of a sliding window, before the image size is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WindowAttributes {
    /// Empty for a convolution, whose weight says it.
    pub(crate) kernel: Vec<usize>,
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    pub(crate) padding: Padding,
    pub(crate) ceil: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    Explicit { begin: [usize; 2], end: [usize; 2] },
    SameUpper,
    SameLower,
}

impl WindowAttributes {
    /// The window for a plane of `input` size and a kernel of `kernel` size.
    pub(crate) fn resolve(&self, input: [usize; 2], kernel: [usize; 2]) -> Window {
        let mut window = Window {
            kernel,
            stride: self.stride,
            dilation: self.dilation,
            pads_begin: [0; 2],
            pads_end: [0; 2],
            ceil: self.ceil,
        };
        match self.padding {
            Padding::Explicit { begin, end } => (window.pads_begin, window.pads_end) = (begin, end),
            Padding::SameUpper | Padding::SameLower => {
                for (axis, size) in input.into_iter().enumerate() {
                    let output = size.div_ceil(self.stride[axis]);
                    let needed =
                        (output.saturating_sub(1) * self.stride[axis] + window.extent(axis)).saturating_sub(size);
                    let (less, more) = (needed / 2, needed - needed / 2);
                    let upper = self.padding == Padding::SameUpper;
                    window.pads_begin[axis] = if upper { less } else { more };
                    window.pads_end[axis] = if upper { more } else { less };
                }
            }
        }
        window
    }
}

/// Reads the operator of `node`. `constants` are the values known without running the graph.
///
/// The error is the reason, for a message that already names node and operator.
pub(crate) fn read(node: &Node, opset: i64, constants: &BTreeMap<String, Tensor>) -> Result<Operator, String> {
    if !node.is_standard() {
        return Err(format!("operator set `{}` has no gradients here", node.domain));
    }
    Ok(match node.operator.as_str() {
        "Add" => Operator::Add,
        "Sub" => Operator::Sub,
        "Mul" => Operator::Mul,
        "MatMul" => Operator::MatMul,
        "Relu" => Operator::Relu,
        "Sigmoid" => Operator::Sigmoid,
        "Tanh" => Operator::Tanh,
        "HardSwish" => Operator::HardSwish,
        "Identity" => Operator::Identity,
        "GlobalAveragePool" => Operator::GlobalAveragePool,
        "Conv" => {
            Operator::Convolution { window: window(node, true)?, groups: positive(node, "group", 1)?, relu: false }
        }
        "MaxPool" => max_pool(node)?,
        "AveragePool" => average_pool(node)?,
        "BatchNormalization" => batch_normalization(node)?,
        "Clip" => clip(node, constants)?,
        "Dropout" => Operator::Dropout { ratio: dropout_ratio(node, constants)? },
        "Flatten" => Operator::Flatten { axis: node.int("axis", 1) },
        "Concat" => match node.attributes.get("axis") {
            Some(Attribute::Int(axis)) => Operator::Concat { axis: *axis },
            _ => return Err("attribute axis is missing".to_owned()),
        },
        "Gemm" => Operator::Gemm {
            alpha: node.float("alpha", 1.0),
            beta: node.float("beta", 1.0),
            transpose_a: node.int("transA", 0) != 0,
            transpose_b: node.int("transB", 0) != 0,
        },
        "Reshape" => Operator::Reshape {
            shape: integers(node, 1, constants)?.ok_or("its shape is missing")?,
            allow_zero: node.int("allowzero", 0) != 0,
        },
        "Softmax" => {
            Operator::Softmax { axis: node.int("axis", if opset < 13 { 1 } else { -1 }), flattened: opset < 13 }
        }
        "Squeeze" => Operator::Squeeze {
            axes: match node.ints("axes") {
                Some(axes) => axes.to_vec(),
                None => integers(node, 1, constants)?.unwrap_or_default(),
            },
        },
        "Transpose" => Operator::Transpose { permutation: node.ints("perm").map(<[i64]>::to_vec) },
        other => return Err(format!("{other} has no gradient here; supported are {}", OPERATORS.join(", "))),
    })
}

fn positive(node: &Node, name: &str, default: i64) -> Result<usize, String> {
    let value = node.int(name, default);
    usize::try_from(value)
        .ok()
        .filter(|value| *value > 0)
        .ok_or_else(|| format!("attribute {name} is {value}, expected 1 or more"))
}

/// A list attribute of `count` non-negative integers.
fn sizes(node: &Node, name: &str, count: usize, default: usize) -> Result<Vec<usize>, String> {
    let Some(values) = node.ints(name) else {
        return Ok(vec![default; count]);
    };
    let sizes: Option<Vec<usize>> = values.iter().map(|value| usize::try_from(*value).ok()).collect();
    sizes.filter(|sizes| sizes.len() == count).ok_or_else(|| {
        format!("attribute {name} is {values:?}, expected {count} numbers of 0 or more: only images (two spatial axes) can be trained")
    })
}

fn window(node: &Node, convolution: bool) -> Result<WindowAttributes, String> {
    let kernel = match node.ints("kernel_shape") {
        Some(_) => sizes(node, "kernel_shape", 2, 1)?,
        None if convolution => Vec::new(),
        None => return Err("attribute kernel_shape is missing".to_owned()),
    };
    let stride = sizes(node, "strides", 2, 1)?;
    let dilation = sizes(node, "dilations", 2, 1)?;
    for (name, values) in [("kernel_shape", &kernel), ("strides", &stride), ("dilations", &dilation)] {
        if values.contains(&0) {
            return Err(format!("attribute {name} is {values:?}, expected 1 or more"));
        }
    }
    let padding = match node.text("auto_pad").unwrap_or("NOTSET") {
        "NOTSET" => {
            let pads = sizes(node, "pads", 4, 0)?;
            Padding::Explicit { begin: [pads[0], pads[1]], end: [pads[2], pads[3]] }
        }
        "VALID" => Padding::Explicit { begin: [0; 2], end: [0; 2] },
        "SAME_UPPER" => Padding::SameUpper,
        "SAME_LOWER" => Padding::SameLower,
        other => return Err(format!("attribute auto_pad is `{other}`, which ONNX does not define")),
    };
    Ok(WindowAttributes {
        kernel,
        stride: [stride[0], stride[1]],
        dilation: [dilation[0], dilation[1]],
        padding,
        ceil: node.int("ceil_mode", 0) != 0,
    })
}

fn one_output(node: &Node) -> Result<(), String> {
    if node.outputs.iter().skip(1).any(|name| !name.is_empty()) {
        return Err("only its first output can be used in training".to_owned());
    }
    Ok(())
}

fn max_pool(node: &Node) -> Result<Operator, String> {
    one_output(node)?;
    if node.int("storage_order", 0) != 0 {
        return Err("storage_order 1 is not supported".to_owned());
    }
    Ok(Operator::MaxPool { window: window(node, false)? })
}

fn average_pool(node: &Node) -> Result<Operator, String> {
    let window = window(node, false)?;
    if window.dilation != [1, 1] {
        return Err("dilations are not supported".to_owned());
    }
    Ok(Operator::AveragePool { window, includes_padding: node.int("count_include_pad", 0) != 0 })
}

fn batch_normalization(node: &Node) -> Result<Operator, String> {
    one_output(node)?;
    if node.int("training_mode", 0) != 0 {
        return Err("training_mode 1 is not supported; export the model for inference".to_owned());
    }
    if node.int("spatial", 1) != 1 {
        return Err("spatial 0 is not supported".to_owned());
    }
    Ok(Operator::BatchNormalization { epsilon: node.float("epsilon", 1e-5) })
}

/// A scalar that must be known before the graph runs; `None` when the input is absent.
fn scalar(node: &Node, position: usize, constants: &BTreeMap<String, Tensor>) -> Result<Option<f32>, String> {
    let Some(name) = node.input(position) else {
        return Ok(None);
    };
    let tensor = constants.get(name).ok_or_else(|| format!("its input `{name}` must be a constant"))?;
    match tensor.to_f32_vec().map_err(|error| error.to_string())?.as_slice() {
        [value] => Ok(Some(*value)),
        values => Err(format!("its input `{name}` has {} elements, expected 1", values.len())),
    }
}

fn integers(node: &Node, position: usize, constants: &BTreeMap<String, Tensor>) -> Result<Option<Vec<i64>>, String> {
    let Some(name) = node.input(position) else {
        return Ok(None);
    };
    let tensor = constants.get(name).ok_or_else(|| {
        format!("its input `{name}` must be a constant; export the model with fixed shapes except the batch")
    })?;
    Ok(Some(tensor.as_i64().map_err(|error| error.to_string())?.to_vec()))
}

fn clip(node: &Node, constants: &BTreeMap<String, Tensor>) -> Result<Operator, String> {
    let min = scalar(node, 1, constants)?.unwrap_or(node.float("min", f32::MIN));
    let max = scalar(node, 2, constants)?.unwrap_or(node.float("max", f32::MAX));
    if min.is_nan() || max.is_nan() || min > max {
        return Err(format!("its range {min} to {max} is empty"));
    }
    Ok(Operator::Clip { min, max })
}

fn dropout_ratio(node: &Node, constants: &BTreeMap<String, Tensor>) -> Result<f32, String> {
    one_output(node)?;
    let ratio = scalar(node, 1, constants)?.unwrap_or(node.float("ratio", 0.5));
    if (0.0..1.0).contains(&ratio) { Ok(ratio) } else { Err(format!("its ratio is {ratio}, expected 0 to below 1")) }
}
