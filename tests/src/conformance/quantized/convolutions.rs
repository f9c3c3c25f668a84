//! Convolutions: kernel, stride, dilation, groups, type of activations, granularity of weights.

use runtime_graph::Attribute;
use runtime_tensor::{ElementType, Tensor, TensorSpec};

use super::author::{Author, Border, Form, Random, Value, integers};
use super::reference::{Real, Window};
use super::{ACTIVATIONS, FORMS, USUAL, case, ints};
use crate::conformance::{Case, Expected, Question};

/// No sum of two products of 255 and such weights leaves 16 bits, so that saturating kernels are right, too.
const NARROW: i64 = 64;
const WIDE: i64 = 128;

/// How channels are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Groups {
    One,
    Two,
    Depthwise,
}

const GROUPS: [(&str, Groups); 3] = [("one", Groups::One), ("two", Groups::Two), ("depthwise", Groups::Depthwise)];

#[derive(Clone, Copy, Debug)]
struct Class {
    form: Form,
    border: Border,
    kernel: usize,
    stride: usize,
    dilation: usize,
    groups: Groups,
    activation: ElementType,
    per_channel: bool,
    weights: ElementType,
    largest: i64,
}

const PLAIN: Class = Class {
    form: Form::Qdq,
    border: USUAL,
    kernel: 3,
    stride: 1,
    dilation: 1,
    groups: Groups::One,
    activation: ElementType::U8,
    per_channel: true,
    weights: ElementType::I8,
    largest: NARROW,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, class: Class| cases.push(case(name, move |name| convolution(name, class)));
    for (form_name, form) in FORMS {
        for (type_name, activation) in ACTIVATIONS {
            let class = Class { form, activation, ..PLAIN };
            let start = format!("{form_name}_conv_{type_name}");
            for kernel in [1, 3, 5] {
                for (stride, dilation) in [(1, 1), (2, 1), (1, 2), (2, 2)] {
                    // One pixel has no distance to another.
                    if kernel == 1 && dilation == 2 {
                        continue;
                    }
                    for (groups_name, groups) in GROUPS {
                        for (scales, per_channel) in [("tensor", false), ("channel", true)] {
                            let name = format!("{start}_k{kernel}_s{stride}_d{dilation}_{groups_name}_{scales}");
                            add(name, Class { kernel, stride, dilation, groups, per_channel, ..class });
                        }
                    }
                }
                for (groups_name, groups) in GROUPS {
                    let wide = Class { kernel, groups, largest: WIDE, ..class };
                    add(format!("{start}_k{kernel}_{groups_name}_wide_weights"), wide);
                }
            }
            add(format!("{start}_integer_border"), Class { border: Border::Integer, ..class });
            let unsigned = Class { weights: ElementType::U8, per_channel: false, ..class };
            add(format!("{start}_u8_weights"), unsigned);
            // Less their zero point, these do not fit 8 bits.
            for (groups_name, groups) in GROUPS {
                add(format!("{start}_u8_wide_weights_{groups_name}"), Class { groups, largest: WIDE, ..unsigned });
            }
            cases_of_one_axis(&mut add, &start, class);
        }
    }
    for (name, activation) in ACTIVATIONS {
        for kernel in [1, 3] {
            cases.push(case(format!("conv_integer_{name}_k{kernel}"), move |name| integer(name, kernel, activation)));
        }
    }
    cases
}

fn cases_of_one_axis(add: &mut impl FnMut(String, Class), start: &str, class: Class) {
    // A kernel of 0 stands for one spatial axis, with a window of 3.
    for (groups_name, groups) in GROUPS {
        add(format!("{start}_one_axis_{groups_name}"), Class { kernel: 0, groups, ..class });
    }
}

/// Channels in and out, seldom multiples of 4 or 16.
fn channels(random: &mut Random, groups: Groups) -> (usize, usize, usize) {
    match groups {
        Groups::One => {
            let (inputs, outputs) = random.one_of(&[(3, 5), (4, 8), (7, 9), (16, 16), (13, 17), (1, 20)]);
            (inputs, outputs, 1)
        }
        Groups::Two => {
            let (inputs, outputs) = random.one_of(&[(6, 10), (4, 8), (14, 18), (16, 32)]);
            (inputs, outputs, 2)
        }
        Groups::Depthwise => {
            let count = random.one_of(&[3, 5, 8, 13, 16, 33]);
            (count, count * random.one_of(&[1, 1, 1, 2]), count)
        }
    }
}

fn convolution(name: &str, class: Class) -> Question {
    let mut author = Author::new(name, class.form, class.border);
    let one_axis = class.kernel == 0;
    let (inputs, outputs, groups) = channels(&mut author.random, class.groups);
    let batch = author.random.one_of(&[1, 1, 3]);
    let [height, width] = author.random.one_of(&[[9, 9], [10, 11], [12, 9]]);
    let span = if one_axis { 3 } else { class.kernel };
    let most = (class.dilation * (span - 1)) / 2;
    let pads = author.random.one_of(&[[0; 4], [most; 4], [0, most, most, 0]]);
    let mut window = Window { kernel: [span; 2], stride: class.stride, dilation: class.dilation, pads };
    let (mut shape, mut weight_shape) =
        (vec![batch, inputs, height, width], vec![outputs, inputs / groups, span, span]);
    if one_axis {
        window = Window { kernel: [1, span], pads: [0, pads[1], 0, pads[3]], ..window };
        shape.remove(2);
        weight_shape.pop();
    }
    // Weights of a window that leaves the image would be cut off; these images are large enough for every class.
    let x = author.input(&shape, class.activation);
    let w = author.weights(&weight_shape, class.per_channel.then_some(0), class.weights, class.largest);
    let b = (author.random.between(0, 2) > 0).then(|| author.bias(outputs, &x, &w));
    let bias = b.as_ref().map_or(vec![], |bias| bias.reals.values.clone());
    let reals = flat(&x.reals).convolution(&flat(&w.reals), &bias, groups, window);
    let reals = if one_axis { Real::new(&[batch, outputs, reals.shape[3]], reals.values) } else { reals };
    let attributes = attributes(window, groups, one_axis);
    end(author, class, reals, [Some(x), Some(w), b], &attributes)
}

/// One spatial axis seen as two.
fn flat(real: &Real) -> Real {
    match real.shape[..] {
        [first, second, length] => Real::new(&[first, second, 1, length], real.values.clone()),
        _ => real.clone(),
    }
}

fn attributes(window: Window, groups: usize, one_axis: bool) -> Vec<(&'static str, Attribute)> {
    let [top, left, bottom, right] = window.pads;
    let axes = if one_axis { 1 } else { 2 };
    let pads = if one_axis { vec![left, right] } else { vec![top, left, bottom, right] };
    vec![
        ("kernel_shape", ints(&window.kernel[2 - axes..])),
        ("strides", ints(&vec![window.stride; axes])),
        ("dilations", ints(&vec![window.dilation; axes])),
        ("pads", ints(&pads)),
        ("group", Attribute::Int(groups as i64)),
    ]
}

fn end(
    mut author: Author,
    class: Class,
    reals: Real,
    values: [Option<Value>; 3],
    attributes: &[(&str, Attribute)],
) -> Question {
    let values: Vec<Value> = values.into_iter().flatten().collect();
    if class.form == Form::Operator {
        let output = author.output_for(reals, class.activation);
        let mut inputs: Vec<&str> = values[..2].iter().flat_map(|value| &value.triple).map(String::as_str).collect();
        inputs.extend(output.names.iter().map(String::as_str));
        inputs.extend(values.get(2).map(|bias| bias.triple[0].as_str()));
        let stored = author.node("QLinearConv", &inputs, attributes);
        return author.end_stored(stored, &output);
    }
    let inputs: Vec<&str> = values.iter().map(|value| value.real_name.as_str()).collect();
    let mut name = author.node("Conv", &inputs, attributes);
    let mut reals = reals;
    match author.random.between(0, 2) {
        0 => {}
        1 => {
            reals = reals.map(|value| value.max(0.0));
            name = author.node("Relu", &[&name], &[]);
        }
        _ => {
            let largest = reals.values.iter().copied().fold(1.0, f64::max);
            let bound = (largest * 0.6) as f32;
            reals = reals.map(|value| value.clamp(0.0, f64::from(bound)));
            let low = author.constant("low", super::author::floats(&[], vec![0.0]));
            let high = author.constant("high", super::author::floats(&[], vec![bound]));
            name = author.node("Clip", &[&name, &low, &high], &[]);
        }
    }
    let output = author.output_for(reals, class.activation);
    author.end_float(&name, &output)
}

/// ConvInteger: 32-bit sums, exactly.
fn integer(name: &str, kernel: usize, activation: ElementType) -> Question {
    let mut author = Author::new(name, Form::Operator, Border::Integer);
    let x = author.input_of(&[2, 5, 7, 8], activation, 1.0, if activation == ElementType::I8 { -7 } else { 121 });
    // With scale 1 the real numbers are the integers.
    let mut w = author.weights(&[9, 5, kernel, kernel], None, ElementType::I8, WIDE);
    let scale = f64::from(w.scales[0]);
    w.reals = w.reals.map(|value| (value / scale).round());
    let window = Window { kernel: [kernel; 2], stride: 1, dilation: 1, pads: [kernel / 2; 4] };
    let reals = x.reals.convolution(&w.reals, &[], 1, window);
    let inputs = [&x.triple[0], &w.triple[0], &x.triple[2], &w.triple[2]].map(String::as_str);
    let attributes = attributes(window, 1, false);
    let output = author.node("ConvInteger", &inputs, &attributes);
    let sums: Vec<i64> = reals.values.iter().map(|&value| value as i64).collect();
    let expected: Tensor = integers(ElementType::I32, &reals.shape, &sums);
    author.graph.outputs = vec![TensorSpec { name: output, ..super::author::spec("", &expected) }];
    author.end(vec![Expected::of(expected)])
}
