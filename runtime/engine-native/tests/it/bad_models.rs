//! No bytes make the engine panic, and bad ones are bad by name.

use std::path::PathBuf;

use proptest::prelude::*;
use runtime_engine::{Engine, EngineError, LoadOptions};
use runtime_engine_native::NativeEngine;
use runtime_graph::{Attribute, Node};
use runtime_tensor::Tensor;

use crate::author::{graph, load, quantized, spec};

fn fixture() -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read(folder.join("vision_u8.onnx")).unwrap()
}

#[test]
fn half_a_model_is_a_bad_model() {
    let whole = fixture();
    for length in [0, 1, 100, whole.len() / 2, whole.len() - 1] {
        let answer = NativeEngine::new().load(&whole[..length], &LoadOptions::default()).map(|_| ());
        assert!(
            matches!(answer, Err(EngineError::BadModel { .. } | EngineError::Unsupported { .. })),
            "{length}: {answer:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = fixture();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        // Loading must return; a panic that was caught shows as `Internal` and is a fault of ours or of tract.
        if let Err(error @ EngineError::Internal { .. }) = NativeEngine::new().load(&bytes, &LoadOptions::default()) {
            let text = error.to_string();
            prop_assert!(!text.contains("panic") || text.contains("tract"), "{}", text);
        }
    }
}

/// A convolution of `x` with `weights` of this shape, whose attributes `change` sets.
fn convolution(weights: &[usize], change: impl Fn(Node) -> Node) -> runtime_graph::Graph {
    let mut nodes = quantized("x", "x_real").to_vec();
    nodes.push(Node::new("DequantizeLinear", &["w", "scale", "zero"], &["w_real"]));
    nodes.push(change(Node::new("Conv", &["x_real", "w_real"], &["c"])));
    nodes.extend(quantized("c", "y"));
    let free = [Some(1), None, None, None];
    let mut graph = graph(nodes, vec![spec("x", &[Some(1), Some(2), Some(4), Some(4)])], vec![spec("y", &free)]);
    graph.outputs[0].shape = ["a", "b", "c", "d"].map(|name| runtime_tensor::Dimension::Symbol(name.into())).to_vec();
    let count = weights.iter().product();
    graph.initializers.insert("w".into(), Tensor::from_i8(weights.to_vec(), vec![1; count]).unwrap());
    graph
}

#[test]
fn attributes_that_make_no_sense_are_errors() {
    let ints = |name: &'static str, values: &'static [i64]| {
        move |node: Node| node.with(name, Attribute::Ints(values.to_vec()))
    };
    let rows: Vec<(&str, runtime_graph::Graph)> = vec![
        ("stride 0", convolution(&[3, 2, 3, 3], ints("strides", &[0, 1]))),
        ("negative stride", convolution(&[3, 2, 3, 3], ints("strides", &[-1, 1]))),
        ("huge dilation", convolution(&[3, 2, 3, 3], ints("dilations", &[i64::MAX, 1]))),
        ("huge padding", convolution(&[3, 2, 3, 3], ints("pads", &[i64::MAX, 0, 0, 0]))),
        ("negative padding", convolution(&[3, 2, 3, 3], ints("pads", &[-3, 0, 0, 0]))),
        ("group 0", convolution(&[3, 2, 3, 3], |node| node.with("group", Attribute::Int(0)))),
        ("group 7", convolution(&[3, 2, 3, 3], |node| node.with("group", Attribute::Int(7)))),
        ("wrong channels", convolution(&[3, 5, 3, 3], |node| node)),
        ("wrong rank", convolution(&[3, 2, 3], |node| node)),
        ("kernel larger than the image", convolution(&[3, 2, 9, 9], |node| node)),
    ];
    let mut wrong = Vec::new();
    for (what, graph) in rows {
        match load(&graph).map(|_| ()) {
            Err(EngineError::BadModel { .. } | EngineError::Unsupported { .. }) => {}
            other => wrong.push(format!("{what}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn scales_that_are_no_scales_are_not_compiled() {
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let mut relu = graph(
            [quantized("x", "x_real").to_vec(), quantized("x_real", "y").to_vec()].concat(),
            vec![spec("x", &[Some(1)])],
            vec![spec("y", &[Some(1)])],
        );
        relu.initializers.insert("scale".into(), Tensor::from_f32(vec![], vec![scale]).unwrap());
        if let Ok(session) = load(&relu) {
            assert!(session.coverage().left_out[0].reason.contains("scale"), "{scale}: {:?}", session.coverage());
        }
    }
}
