//! Matrix products: Gemm, MatMul, MatMulInteger, and products whose activations are quantized while the model runs.

use runtime_graph::Attribute;
use runtime_tensor::{ElementType, TensorSpec};

use super::author::{Author, Border, Form, Value, floats, integers, spec};
use super::reference::Real;
use super::{ACTIVATIONS, FORMS, USUAL, case};
use crate::conformance::{Case, Expected, Question};

const NARROW: i64 = 64;
const WIDE: i64 = 128;

/// Rows, inner size, columns.
const SIZES: [[usize; 3]; 4] = [[1, 10, 7], [3, 64, 33], [5, 17, 4], [16, 16, 16]];

#[derive(Clone, Copy, Debug)]
struct Class {
    form: Form,
    border: Border,
    activation: ElementType,
    size: [usize; 3],
    per_channel: bool,
    largest: i64,
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (form_name, form) in FORMS {
        for (type_name, activation) in ACTIVATIONS {
            for size in SIZES {
                for (scales, per_channel) in [("tensor", false), ("channel", true)] {
                    let class = Class { form, border: USUAL, activation, size, per_channel, largest: NARROW };
                    let end = format!("{type_name}_{}_{}_{}_{scales}", size[0], size[1], size[2]);
                    cases.push(case(format!("{form_name}_matmul_{end}"), move |name| matmul(name, class)));
                    for (kind, transposed) in [("gemm", false), ("gemm_transposed", true)] {
                        let make = move |name: &str| gemm(name, class, transposed);
                        cases.push(case(format!("{form_name}_{kind}_{end}"), make));
                    }
                }
            }
            let plain = Class { form, border: USUAL, activation, size: SIZES[1], per_channel: true, largest: NARROW };
            let start = format!("{form_name}_matmul_{type_name}");
            let variants = [
                ("wide_weights", Class { largest: WIDE, ..plain }),
                ("integer_border", Class { border: Border::Integer, ..plain }),
            ];
            for (end, class) in variants {
                cases.push(case(format!("{start}_{end}"), move |name| matmul(name, class)));
            }
            for (end, left, right) in [
                ("of_activations", vec![5, 9], vec![9, 6]),
                ("of_activations_batched", vec![2, 3, 5, 9], vec![2, 3, 9, 6]),
            ] {
                let make = move |name: &str| of_activations(name, plain, &left, &right);
                cases.push(case(format!("{start}_{end}"), make));
            }
            if form == Form::Qdq {
                let make = move |name: &str| of_attention(name, plain);
                cases.push(case(format!("{start}_of_attention"), make));
            }
            let make = move |name: &str| three_axes(name, plain);
            cases.push(case(format!("{start}_three_axes"), make));
        }
    }
    for (name, activation) in ACTIVATIONS {
        for (weight_name, weights) in ACTIVATIONS {
            let make = move |name: &str| integer(name, activation, weights);
            cases.push(case(format!("matmul_integer_{name}_{weight_name}"), make));
        }
    }
    for size in SIZES {
        let make = move |name: &str| dynamic(name, size);
        cases.push(case(format!("dynamic_matmul_{}_{}_{}", size[0], size[1], size[2]), make));
    }
    cases
}

fn end_matmul(mut author: Author, class: Class, x: &Value, w: &Value, reals: Real) -> Question {
    let output = author.output_for(reals, class.activation);
    if class.form == Form::Qdq {
        let name = author.node("MatMul", &[&x.real_name, &w.real_name], &[]);
        return author.end_float(&name, &output);
    }
    let names = x.triple.iter().chain(&w.triple).chain(&output.names);
    let inputs: Vec<&str> = names.map(String::as_str).collect();
    let stored = author.node("QLinearMatMul", &inputs, &[]);
    author.end_stored(stored, &output)
}

fn matmul(name: &str, class: Class) -> Question {
    let mut author = Author::new(name, class.form, class.border);
    let [rows, inner, columns] = class.size;
    let x = author.input(&[rows, inner], class.activation);
    let w = author.weights(&[inner, columns], class.per_channel.then_some(1), ElementType::I8, class.largest);
    let reals = x.reals.matrix_product(&w.reals);
    end_matmul(author, class, &x, &w, reals)
}

/// A batch of token rows times one matrix, as in a transformer.
fn three_axes(name: &str, class: Class) -> Question {
    let mut author = Author::new(name, class.form, class.border);
    let x = author.input(&[2, 5, 12], class.activation);
    let w = author.weights(&[12, 9], Some(1), ElementType::I8, class.largest);
    let reals = x.reals.matrix_product(&w.reals);
    end_matmul(author, class, &x, &w, reals)
}

fn of_activations(name: &str, class: Class, left: &[usize], right: &[usize]) -> Question {
    let mut author = Author::new(name, class.form, class.border);
    let (left, right) = (author.input(left, class.activation), author.input(right, class.activation));
    let reals = left.reals.matrix_product(&right.reals);
    end_matmul(author, class, &left, &right, reals)
}

/// Rows of tokens, each cut into heads, times the transposed rows of others: attention's first product.
fn of_attention(name: &str, class: Class) -> Question {
    let mut author = Author::new(name, class.form, class.border);
    let [tokens, others, heads, width] = [7, 5, 3, 11];
    let (left, right) = (
        author.input(&[2, tokens, heads, width], class.activation),
        author.input(&[2, others, heads, width], class.activation),
    );
    let reals = left.reals.transposed(&[0, 2, 1, 3]).matrix_product(&right.reals.transposed(&[0, 2, 3, 1]));
    let output = author.output_for(reals, class.activation);
    let moved = |author: &mut Author, value: &Value, order: &[usize]| {
        author.node("Transpose", &[&value.real_name], &[("perm", super::ints(order))])
    };
    let queries = moved(&mut author, &left, &[0, 2, 1, 3]);
    let keys = moved(&mut author, &right, &[0, 2, 3, 1]);
    let name = author.node("MatMul", &[&queries, &keys], &[]);
    author.end_float(&name, &output)
}

fn gemm(name: &str, class: Class, transposed: bool) -> Question {
    let mut author = Author::new(name, class.form, class.border);
    let [rows, inner, columns] = class.size;
    let x = author.input(&[rows, inner], class.activation);
    let (shape, axis) = if transposed { ([columns, inner], 0) } else { ([inner, columns], 1) };
    let w = author.weights(&shape, class.per_channel.then_some(axis), ElementType::I8, class.largest);
    let b = author.bias(columns, &x, &w);
    let matrix = if transposed { w.reals.transposed(&[1, 0]) } else { w.reals.clone() };
    let reals = x.reals.matrix_product(&matrix).with(&b.reals, |sum, bias| sum + bias);
    let attributes = [("transB", Attribute::Int(i64::from(transposed)))];
    let output = author.output_for(reals, class.activation);
    if class.form == Form::Qdq {
        let name = author.node("Gemm", &[&x.real_name, &w.real_name, &b.real_name], &attributes);
        return author.end_float(&name, &output);
    }
    let names = x.triple.iter().chain(&w.triple).chain([&b.triple[0]]).chain(&output.names);
    let inputs: Vec<&str> = names.map(String::as_str).collect();
    let stored = author.microsoft("QGemm", &inputs, &attributes);
    author.end_stored(stored, &output)
}

/// The integers of weights whose real numbers are these times one scale.
fn whole(value: &Value) -> Real {
    let scale = f64::from(value.scales[0]);
    value.reals.map(|real| (real / scale).round())
}

fn integer(name: &str, activation: ElementType, weights: ElementType) -> Question {
    let mut author = Author::new(name, Form::Operator, Border::Integer);
    let x = author.input_of(&[4, 21], activation, 1.0, if activation == ElementType::I8 { -7 } else { 121 });
    let w = author.weights(&[21, 13], None, weights, WIDE);
    let reals = x.reals.matrix_product(&whole(&w));
    let inputs = [&x.triple[0], &w.triple[0], &x.triple[2], &w.triple[2]].map(String::as_str);
    let output = author.node("MatMulInteger", &inputs, &[]);
    let sums: Vec<i64> = reals.values.iter().map(|&value| value as i64).collect();
    let expected = integers(ElementType::I32, &reals.shape, &sums);
    author.graph.outputs = vec![TensorSpec { name: output, ..spec("", &expected) }];
    author.end(vec![Expected::of(expected)])
}

/// DynamicQuantizeLinear, MatMulInteger, and the product of both scales, as ONNX Runtime's quantizer writes it.
fn dynamic(name: &str, [rows, inner, columns]: [usize; 3]) -> Question {
    let mut author = Author::new(name, Form::Operator, Border::Float);
    let values: Vec<f32> = (0..rows * inner).map(|_| author.random.between(-3000, 5000) as f32 / 1000.0).collect();
    let x = floats(&[rows, inner], values.clone());
    author.graph.inputs.push(spec("x", &x));
    author.inputs.push(("x".into(), x));
    let stored = author.node("DynamicQuantizeLinear", &["x"], &[]);
    if let Some(node) = author.graph.nodes.last_mut() {
        node.outputs.extend(["scale".to_owned(), "zero".to_owned()]);
    }
    let w = author.weights(&[inner, columns], None, ElementType::I8, NARROW);
    let sums = author.node("MatMulInteger", &[&stored, &w.triple[0], "zero", &w.triple[2]], &[]);
    let sums = author.node("Cast", &[&sums], &[("to", Attribute::Int(i64::from(ElementType::F32.onnx())))]);
    let scale = author.node("Mul", &["scale", &w.triple[1]], &[]);
    let y = author.node("Mul", &[&sums, &scale], &[]);
    // As ONNX defines it, in f32.
    let smallest = values.iter().copied().fold(0.0f32, f32::min);
    let largest = values.iter().copied().fold(0.0f32, f32::max);
    let scale = (largest - smallest) / 255.0;
    let zero_point = (-smallest / scale).round_ties_even().clamp(0.0, 255.0);
    let quantized = values.iter().map(|value| (value / scale).round_ties_even() + zero_point);
    let centred = quantized.map(|value| f64::from(value.clamp(0.0, 255.0) - zero_point) * f64::from(scale));
    let reals = Real::new(&[rows, inner], centred.collect()).matrix_product(&w.reals);
    let expected = floats(&reals.shape, reals.values.iter().map(|&real| real as f32).collect());
    author.graph.outputs = vec![TensorSpec { name: y, ..spec("", &expected) }];
    author.end(vec![Expected::of(expected)])
}
