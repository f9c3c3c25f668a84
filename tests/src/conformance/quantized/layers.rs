//! Everything that is no sum of products with weights: additions, pools, functions, movement.

use runtime_graph::Attribute;
use runtime_tensor::{ElementType, Tensor};

use super::author::{Author, Border, Form, Value, floats};
use super::reference::{Pool, Real, Window};
use super::{ACTIVATIONS, FORMS, USUAL, case, ints};
use crate::conformance::{Case, Question};

/// The smallest variance that LayerNormalization divides by.
const EPSILON: f32 = 1e-5;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (form_name, form) in FORMS {
        for (type_name, activation) in ACTIVATIONS {
            let kind = Kind { form, activation };
            let mut add = |name: &str, make: Make| {
                cases.push(case(format!("{form_name}_{name}_{type_name}"), move |name| make(name, kind)));
            };
            for (name, make) in BOTH_FORMS {
                add(name, make);
            }
            if form == Form::Qdq {
                for (name, make) in QDQ_ONLY {
                    add(name, make);
                }
            }
        }
    }
    cases
}

#[derive(Clone, Copy, Debug)]
struct Kind {
    form: Form,
    activation: ElementType,
}

type Make = fn(&str, Kind) -> Question;

const BOTH_FORMS: [(&str, Make); 18] = [
    ("add", |name, kind| pair(name, kind, "Add", &[1, 7, 5, 6], &[1, 7, 5, 6], USUAL)),
    ("add_batch", |name, kind| pair(name, kind, "Add", &[3, 16, 4, 4], &[3, 16, 4, 4], USUAL)),
    ("add_broadcast", |name, kind| pair(name, kind, "Add", &[2, 7, 5, 6], &[1, 7, 1, 1], USUAL)),
    ("add_rows", |name, kind| pair(name, kind, "Add", &[3, 10], &[3, 10], USUAL)),
    ("add_integer_border", |name, kind| pair(name, kind, "Add", &[1, 7, 5, 6], &[1, 7, 5, 6], Border::Integer)),
    ("mul", |name, kind| pair(name, kind, "Mul", &[2, 5, 4, 4], &[2, 5, 4, 4], USUAL)),
    ("mul_broadcast", |name, kind| pair(name, kind, "Mul", &[2, 5, 4, 4], &[2, 5, 1, 1], USUAL)),
    ("average_pool_2", |name, kind| pool(name, kind, window(2, 2, 0), Pool::Average)),
    ("average_pool_3_padded", |name, kind| pool(name, kind, window(3, 1, 1), Pool::Average)),
    ("average_pool_3_with_pads", |name, kind| pool(name, kind, window(3, 2, 1), Pool::AverageWithPads)),
    ("global_average_pool", |name, kind| global(name, kind, &[2, 13, 5, 7])),
    ("global_average_pool_one_channel", |name, kind| global(name, kind, &[1, 1, 8, 8])),
    ("max_pool_2", |name, kind| pool(name, kind, window(2, 2, 0), Pool::Max)),
    ("max_pool_3_padded", |name, kind| pool(name, kind, window(3, 2, 1), Pool::Max)),
    ("concat", concat),
    ("sigmoid", |name, kind| function(name, kind, "Sigmoid", &[], |x| 1.0 / (1.0 + (-x).exp()))),
    ("leaky_relu", |name, kind| {
        let alpha = [("alpha", Attribute::Float(0.125))];
        function(name, kind, "LeakyRelu", &alpha, |x| if x < 0.0 { 0.125 * x } else { x })
    }),
    ("softmax", softmax),
];

const QDQ_ONLY: [(&str, Make); 23] = [
    ("relu", |name, kind| function(name, kind, "Relu", &[], |x| x.max(0.0))),
    ("tanh", |name, kind| function(name, kind, "Tanh", &[], f64::tanh)),
    ("hard_swish", |name, kind| function(name, kind, "HardSwish", &[], |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0))),
    ("hard_sigmoid", |name, kind| {
        function(name, kind, "HardSigmoid", &[], |x| (x * f64::from(0.2f32) + 0.5).clamp(0.0, 1.0))
    }),
    ("sub", |name, kind| pair(name, kind, "Sub", &[2, 5, 4, 4], &[2, 5, 4, 4], USUAL)),
    ("sub_broadcast", |name, kind| pair(name, kind, "Sub", &[2, 5, 1, 4], &[2, 1, 3, 4], USUAL)),
    ("max_broadcast", |name, kind| pair(name, kind, "Max", &[2, 5, 1, 4], &[2, 1, 3, 4], USUAL)),
    ("add_same", |name, kind| with_itself(name, kind, "Add")),
    ("mul_same", |name, kind| with_itself(name, kind, "Mul")),
    ("add_row", add_row),
    ("div_by_number", |name, kind| by_number(name, kind, "Div", 3.0)),
    ("mul_by_number", |name, kind| by_number(name, kind, "Mul", -0.75)),
    ("softmax_of_channels", softmax_of_channels),
    ("mean_of_rows", |name, kind| mean(name, kind, &[1])),
    ("mean_of_columns", |name, kind| mean(name, kind, &[-1])),
    ("swish", swish),
    ("gelu", gelu),
    ("layer_normalization", layer_normalization),
    ("resize_nearest", resize),
    ("transpose", |name, kind| {
        let order = [0, 2, 3, 1];
        moved(name, kind, "Transpose", &[("perm", ints(&order))], |real| real.transposed(&order))
    }),
    ("flatten", |name, kind| moved(name, kind, "Flatten", &[], |real| Real::new(&[2, 90], real.values.clone()))),
    ("channel_shuffle", channel_shuffle),
    ("global_mean", global_mean),
];

fn window(kernel: usize, stride: usize, pad: usize) -> Window {
    Window { kernel: [kernel; 2], stride, dilation: 1, pads: [pad; 4] }
}

fn names<'a>(parts: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
    parts.into_iter().map(String::as_str).collect()
}

/// Ends with `plain` in QDQ form, and with ONNX Runtime's operator `QLinear` + `plain` in operator form.
fn end(
    mut author: Author,
    kind: Kind,
    plain: &str,
    values: &[&Value],
    reals: Real,
    attributes: &[(&str, Attribute)],
) -> Question {
    let output = author.output_for(reals, kind.activation);
    if kind.form == Form::Qdq {
        let inputs = names(values.iter().map(|value| &value.real_name));
        let name = author.node(plain, &inputs, attributes);
        return author.end_float(&name, &output);
    }
    let inputs = names(values.iter().flat_map(|value| &value.triple).chain(&output.names));
    let stored = author.microsoft(&format!("QLinear{plain}"), &inputs, attributes);
    author.end_stored(stored, &output)
}

fn pair(name: &str, kind: Kind, plain: &str, left: &[usize], right: &[usize], border: Border) -> Question {
    let mut author = Author::new(name, kind.form, border);
    let (left, right) = (author.input(left, kind.activation), author.input(right, kind.activation));
    let reals = spread(&left.reals, &right.reals, plain);
    end(author, kind, plain, &[&left, &right], reals, &[])
}

/// `plain` of two tensors, of which the left may be spread too.
fn spread(left: &Real, right: &Real, plain: &str) -> Real {
    let shape: Vec<usize> = left.shape.iter().zip(&right.shape).map(|(&a, &b)| a.max(b)).collect();
    let whole = Real::new(&shape, vec![0.0; shape.iter().product()]);
    let compute: fn(f64, f64) -> f64 = match plain {
        "Add" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Max" => f64::max,
        _ => |a, b| a * b,
    };
    whole.with(left, |_, a| a).with(right, compute)
}

fn with_itself(name: &str, kind: Kind, plain: &str) -> Question {
    let mut author = Author::new(name, kind.form, USUAL);
    let x = author.input(&[2, 5, 4, 4], kind.activation);
    let reals = spread(&x.reals, &x.reals, plain);
    end(author, kind, plain, &[&x, &x], reals, &[])
}

/// A constant row on every row, as quantizers write the bias of a product of tokens.
fn add_row(name: &str, kind: Kind) -> Question {
    let mut author = Author::new(name, kind.form, USUAL);
    let x = author.input(&[2, 5, 24], kind.activation);
    let row = author.weights(&[24], None, kind.activation, 128);
    let reals = x.reals.with(&row.reals, |x, row| x + row);
    end(author, kind, "Add", &[&row, &x], reals, &[])
}

fn by_number(name: &str, kind: Kind, plain: &str, number: f32) -> Question {
    let mut author = Author::new(name, kind.form, USUAL);
    let x = author.input(&[2, 5, 24], kind.activation);
    let divides = plain == "Div";
    let reals = x.reals.map(|x| if divides { x / f64::from(number) } else { x * f64::from(number) });
    let output = author.output_for(reals, kind.activation);
    let number = author.constant("number", floats(&[], vec![number]));
    let result = author.node(plain, &[&x.real_name, &number], &[]);
    author.end_float(&result, &output)
}

/// Along an axis that is not the last.
fn softmax_of_channels(name: &str, kind: Kind) -> Question {
    let mut author = Author::new(name, kind.form, USUAL);
    let x = author.input(&[2, 12, 3], kind.activation);
    let reals = x.reals.transposed(&[0, 2, 1]).softmax().transposed(&[0, 2, 1]);
    end(author, kind, "Softmax", &[&x], reals, &[("axis", Attribute::Int(1))])
}

/// Over one axis, which stays with size 1.
fn mean(name: &str, kind: Kind, axes: &[i64; 1]) -> Question {
    let mut author = Author::new(name, kind.form, USUAL);
    let x = author.input(&[3, 6, 10], kind.activation);
    let (order, shape) = if axes[0] == 1 { ([0, 2, 1], [3, 1, 10]) } else { ([0, 1, 2], [3, 6, 1]) };
    let rows = x.reals.transposed(&order);
    let width = rows.shape[2];
    let means = rows.values.chunks_exact(width).map(|row| row.iter().sum::<f64>() / width as f64).collect();
    let attributes = [("axes", Attribute::Ints(axes.to_vec()))];
    end(author, kind, "ReduceMean", &[&x], Real::new(&shape, means), &attributes)
}

fn pool(name: &str, kind: Kind, window: Window, pool: Pool) -> Question {
    let mut author = Author::new(name, kind.form, USUAL);
    let x = author.input(&[2, 7, 8, 9], kind.activation);
    let reals = x.reals.pool(window, pool);
    let mut attributes = vec![
        ("kernel_shape", ints(&window.kernel)),
        ("strides", ints(&[window.stride; 2])),
        ("pads", ints(&window.pads)),
    ];
    if pool == Pool::Max {
        let output = author.output_like(reals, &x, kind.activation);
        return match kind.form {
            Form::Qdq => {
                let name = author.node("MaxPool", &[&x.real_name], &attributes);
                author.end_float(&name, &output)
            }
            // ONNX's own MaxPool takes 8-bit integers.
            Form::Operator => {
                let stored = author.node("MaxPool", &[&x.triple[0]], &attributes);
                author.end_stored(stored, &output)
            }
        };
    }
    attributes.push(("count_include_pad", Attribute::Int(i64::from(pool == Pool::AverageWithPads))));
    end(author, kind, "AveragePool", &[&x], reals, &attributes)
}

fn global(name: &str, kind: Kind, shape: &[usize]) -> Question {
    let mut author = Author::new(name, kind.form, USUAL);
    let x = author.input(shape, kind.activation);
    let whole = Window { kernel: [shape[2], shape[3]], stride: 1, dilation: 1, pads: [0; 4] };
    let reals = x.reals.pool(whole, Pool::Average);
    end(author, kind, "GlobalAveragePool", &[&x], reals, &[])
}

/// The same written as a mean over two axes, as PyTorch exports it.
fn global_mean(name: &str, kind: Kind) -> Question {
    let mut author = Author::new(name, kind.form, USUAL);
    let x = author.input(&[2, 9, 4, 5], kind.activation);
    let whole = Window { kernel: [4, 5], stride: 1, dilation: 1, pads: [0; 4] };
    let reals = x.reals.pool(whole, Pool::Average);
    let reals = Real::new(&[2, 9], reals.values);
    let attributes = [("axes", Attribute::Ints(vec![2, 3])), ("keepdims", Attribute::Int(0))];
    end(author, kind, "ReduceMean", &[&x], reals, &attributes)
}

fn concat(name: &str, kind: Kind) -> Question {
    let mut author = Author::new(name, kind.form, USUAL);
    let parts = [5, 16, 3].map(|channels| author.input(&[2, channels, 4, 3], kind.activation));
    let reals = Real::concatenated(&[&parts[0].reals, &parts[1].reals, &parts[2].reals]);
    let axis = [("axis", Attribute::Int(1))];
    if kind.form == Form::Qdq {
        return end(author, kind, "Concat", &[&parts[0], &parts[1], &parts[2]], reals, &axis);
    }
    // Here the output's parameters come first.
    let output = author.output_for(reals, kind.activation);
    let inputs = names(output.names.iter().chain(parts.iter().flat_map(|part| &part.triple)));
    let stored = author.microsoft("QLinearConcat", &inputs, &axis);
    author.end_stored(stored, &output)
}

fn function(
    name: &str,
    kind: Kind,
    plain: &str,
    attributes: &[(&str, Attribute)],
    compute: fn(f64) -> f64,
) -> Question {
    let mut author = Author::new(name, kind.form, USUAL);
    let x = author.input(&[2, 7, 5, 5], kind.activation);
    let reals = x.reals.map(compute);
    end(author, kind, plain, &[&x], reals, attributes)
}

fn softmax(name: &str, kind: Kind) -> Question {
    let mut author = Author::new(name, kind.form, USUAL);
    let x = author.input(&[3, 12], kind.activation);
    let reals = x.reals.softmax();
    let mut attributes = vec![("axis", Attribute::Int(-1))];
    if kind.form == Form::Operator {
        attributes.push(("opset", Attribute::Int(17)));
    }
    end(author, kind, "Softmax", &[&x], reals, &attributes)
}

/// x * sigmoid(x), nothing quantized in between.
fn swish(name: &str, kind: Kind) -> Question {
    let mut author = Author::new(name, kind.form, USUAL);
    let x = author.input(&[2, 7, 5, 5], kind.activation);
    let output = author.output_for(x.reals.map(|x| x / (1.0 + (-x).exp())), kind.activation);
    let sigmoid = author.node("Sigmoid", &[&x.real_name], &[]);
    let product = author.node("Mul", &[&x.real_name, &sigmoid], &[]);
    author.end_float(&product, &output)
}

/// x * (1 + erf(x / sqrt 2)) / 2, as exporters wrote it before there was an operator.
fn gelu(name: &str, kind: Kind) -> Question {
    let mut author = Author::new(name, kind.form, USUAL);
    let x = author.input(&[2, 5, 16], kind.activation);
    let root = f64::from(std::f32::consts::SQRT_2);
    let output = author.output_for(x.reals.map(|x| x * (1.0 + libm::erf(x / root)) * 0.5), kind.activation);
    let number = |author: &mut Author, value: f32| author.constant("number", floats(&[], vec![value]));
    let root = number(&mut author, std::f32::consts::SQRT_2);
    let (one, half) = (number(&mut author, 1.0), number(&mut author, 0.5));
    let scaled = author.node("Div", &[&x.real_name, &root], &[]);
    let erf = author.node("Erf", &[&scaled], &[]);
    let sum = author.node("Add", &[&erf, &one], &[]);
    let product = author.node("Mul", &[&x.real_name, &sum], &[]);
    let result = author.node("Mul", &[&product, &half], &[]);
    author.end_float(&result, &output)
}

fn layer_normalization(name: &str, kind: Kind) -> Question {
    let mut author = Author::new(name, kind.form, USUAL);
    let x = author.input(&[2, 5, 24], kind.activation);
    let gain: Vec<f32> = (0..24).map(|_| author.random.between(50, 150) as f32 / 100.0).collect();
    let shift: Vec<f32> = (0..24).map(|_| author.random.between(-50, 50) as f32 / 100.0).collect();
    let real = |values: &[f32]| Real::new(&[24], values.iter().map(|&value| f64::from(value)).collect());
    let reals = x.reals.layer_norm(f64::from(EPSILON));
    let reals = reals.with(&real(&gain), |value, gain| value * gain).with(&real(&shift), |value, shift| value + shift);
    let (gain, shift) = (author.constant("gain", floats(&[24], gain)), author.constant("shift", floats(&[24], shift)));
    let output = author.output_for(reals, kind.activation);
    let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(EPSILON))];
    let name = author.node("LayerNormalization", &[&x.real_name, &gain, &shift], &attributes);
    author.end_float(&name, &output)
}

fn moved(
    name: &str,
    kind: Kind,
    operator: &str,
    attributes: &[(&str, Attribute)],
    compute: impl Fn(&Real) -> Real,
) -> Question {
    let mut author = Author::new(name, kind.form, USUAL);
    let x = author.input(&[2, 9, 2, 5], kind.activation);
    let output = author.output_like(compute(&x.reals), &x, kind.activation);
    let name = author.node(operator, &[&x.real_name], attributes);
    author.end_float(&name, &output)
}

fn resize(name: &str, kind: Kind) -> Question {
    let mut author = Author::new(name, kind.form, USUAL);
    let x = author.input(&[2, 9, 2, 5], kind.activation);
    let output = author.output_like(x.reals.doubled(), &x, kind.activation);
    let scales = author.constant("scales", floats(&[4], vec![1.0, 1.0, 2.0, 2.0]));
    let text = |value: &str| Attribute::Text(value.into());
    let attributes = [
        ("mode", text("nearest")),
        ("coordinate_transformation_mode", text("asymmetric")),
        ("nearest_mode", text("floor")),
    ];
    let name = author.node("Resize", &[&x.real_name, "", &scales], &attributes);
    author.end_float(&name, &output)
}

/// Reshape, Transpose, Reshape, as ShuffleNet does.
fn channel_shuffle(name: &str, kind: Kind) -> Question {
    let mut author = Author::new(name, kind.form, USUAL);
    let x = author.input(&[2, 12, 3, 5], kind.activation);
    let split = Real::new(&[2, 3, 4, 3, 5], x.reals.values.clone());
    let reals = Real::new(&[2, 12, 3, 5], split.transposed(&[0, 2, 1, 3, 4]).values);
    let output = author.output_like(reals, &x, kind.activation);
    let shape = |author: &mut Author, sizes: Vec<i64>| {
        author.constant("shape", Tensor::from_i64(vec![sizes.len()], sizes).expect("a list"))
    };
    let (apart, together) = (shape(&mut author, vec![2, 3, 4, 3, 5]), shape(&mut author, vec![2, 12, 3, 5]));
    let name = author.node("Reshape", &[&x.real_name, &apart], &[]);
    let name = author.node("Transpose", &[&name], &[("perm", ints(&[0, 2, 1, 3, 4]))]);
    let name = author.node("Reshape", &[&name, &together], &[]);
    author.end_float(&name, &output)
}
