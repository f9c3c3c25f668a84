//! Options and requests that do not fit.

use runtime_engine::{Engine, EngineError, LoadOptions};
use runtime_engine_native::NativeEngine;
use runtime_graph::{Graph, Node};
use runtime_tensor::{ElementType, Tensor, TensorSpec};

use crate::author::{graph, load, load_with, quantized, spec};

fn relu() -> Graph {
    let sizes = [None, Some(3)];
    let mut nodes = quantized("x", "x_real").to_vec();
    nodes.push(Node::new("Relu", &["x_real"], &["r"]));
    nodes.extend(quantized("r", "y"));
    graph(nodes, vec![spec("x", &sizes)], vec![spec("y", &sizes)])
}

#[test]
fn options_that_cannot_be_honoured_are_refused() {
    let with = |change: fn(&mut LoadOptions)| {
        let mut options = LoadOptions::default();
        change(&mut options);
        load_with(&relu(), &options).map(|_| ())
    };
    assert!(matches!(with(|options| options.device = Some("gpu".into())), Err(EngineError::NoDevice { .. })));
    assert!(matches!(with(|options| options.precision = Some("f16".into())), Err(EngineError::Unsupported { .. })));
    assert!(matches!(with(|options| options.isa = Some("abacus".into())), Err(EngineError::Unsupported { .. })));
    with(|options| options.isa = Some("scalar".into())).unwrap();
    with(|options| options.device = Some("cpu".into())).unwrap();
    assert!(NativeEngine::new().build().contains("tract"));
}

#[test]
fn an_empty_batch_has_empty_answers() {
    let mut session = load(&relu()).unwrap();
    let empty = Tensor::zeros(ElementType::F32, vec![0, 3]).unwrap();
    let answer = session.run(&[("x".into(), empty.clone())], &[], None).unwrap();
    assert_eq!(answer, [("y".to_owned(), empty)]);
}

#[test]
fn numbers_that_are_none_quantize_to_the_ends() {
    let mut session = load(&relu()).unwrap();
    let odd = Tensor::from_f32(vec![1, 3], vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY]).unwrap();
    let answer = session.run(&[("x".into(), odd)], &[], None).unwrap();
    assert_eq!(answer[0].1.as_f32().unwrap(), [0.0, 63.5, 0.0]);
}

#[test]
fn bytes_go_in_and_out_as_they_are() {
    let byte = |name: &str| TensorSpec { element: ElementType::I8, ..spec(name, &[None, Some(3)]) };
    let nodes = vec![
        Node::new("DequantizeLinear", &["x", "scale", "zero"], &["x_real"]),
        Node::new("Relu", &["x_real"], &["r"]),
        Node::new("QuantizeLinear", &["r", "scale", "zero"], &["y"]),
    ];
    let mut session = load(&graph(nodes, vec![byte("x")], vec![byte("y")])).unwrap();
    let x = Tensor::from_i8(vec![2, 3], vec![-128, -1, 0, 1, 5, 127]).unwrap();
    let answer = session.run(&[("x".into(), x)], &[], None).unwrap();
    assert_eq!(answer[0].1.as_i8().unwrap(), [0, 0, 0, 1, 5, 127]);
}
