//! Threads share large steps out, and change no byte.

use runtime_engine::LoadOptions;
use runtime_graph::{Attribute, Node};
use runtime_tensor::Tensor;

use crate::author::{graph, load_with, quantized, spec};

#[test]
fn a_batch_of_fixed_size_has_the_same_bytes_on_several_threads() {
    let (images, channels, filters, size) = (3, 8, 16, 24);
    let shape = |channels: u64| [Some(images), Some(channels), Some(size), Some(size)];
    let mut nodes: Vec<Node> = quantized("x", "x_real").into();
    nodes.push(Node::new("DequantizeLinear", &["w", "scale", "zero"], &["w_real"]));
    let convolution = Node::new("Conv", &["x_real", "w_real"], &["c"]);
    nodes.push(convolution.with("pads", Attribute::Ints(vec![1, 1, 1, 1])));
    nodes.extend(quantized("c", "y"));
    let mut graph = graph(nodes, vec![spec("x", &shape(channels))], vec![spec("y", &shape(filters))]);
    let count = usize::try_from(filters * channels * 9).unwrap();
    let weights = (0..count).map(|index| (index * 7 % 5) as i8 - 2).collect();
    let shape = vec![filters as usize, channels as usize, 3, 3];
    graph.initializers.insert("w".into(), Tensor::from_i8(shape, weights).unwrap());
    let count = usize::try_from(images * channels * size * size).unwrap();
    let values = (0..count).map(|index| (index * 31 % 41) as f32 * 0.1 - 2.0).collect();
    let sizes = [images, channels, size, size].map(|size| size as usize).to_vec();
    let input = [("x".to_owned(), Tensor::from_f32(sizes, values).unwrap())];
    let answer = |threads: usize| {
        // The scalar kernels share out the smallest steps.
        let options = LoadOptions { threads, isa: Some("scalar".into()), strict: true, ..LoadOptions::default() };
        load_with(&graph, &options).unwrap().run(&input, &[], None).unwrap()
    };
    let expected = answer(1);
    assert!(expected[0].1.as_f32().unwrap().iter().any(|&value| value != 0.0));
    for threads in [2, 8] {
        assert_eq!(answer(threads), expected, "{threads} threads");
    }
}

/// Pools, tables, sums and the border between floats and bytes, behind a convolution that wakes the threads.
#[test]
fn every_step_that_is_shared_has_the_same_bytes_on_several_threads() {
    let (channels, size) = (24, 61);
    let mut nodes: Vec<Node> = quantized("x", "x_real").into();
    nodes.push(Node::new("DequantizeLinear", &["w", "scale", "zero"], &["w_real"]));
    nodes.push(Node::new("Conv", &["x_real", "w_real"], &["c"]));
    nodes.extend(quantized("c", "c_real"));
    let window = |operator: &str, input: &str, output: &str| {
        let node = Node::new(operator, &[input], &[output]).with("kernel_shape", Attribute::Ints(vec![3, 3]));
        node.with("pads", Attribute::Ints(vec![1, 1, 1, 1]))
    };
    nodes.push(window("MaxPool", "c_real", "largest"));
    nodes.extend(quantized("largest", "largest_real"));
    nodes.push(window("AveragePool", "c_real", "mean"));
    nodes.extend(quantized("mean", "mean_real"));
    nodes.push(Node::new("Sigmoid", &["mean_real"], &["gate"]));
    nodes.extend(quantized("gate", "gate_real"));
    let joined = Node::new("Concat", &["largest_real", "mean_real", "gate_real"], &["joined"]);
    nodes.push(joined.with("axis", Attribute::Int(1)));
    nodes.extend(quantized("joined", "joined_real"));
    // In floats from here on.
    nodes.push(Node::new("Exp", &["joined_real"], &["grown"]));
    nodes.push(window("MaxPool", "grown", "grown_largest"));
    nodes.push(window("AveragePool", "grown_largest", "grown_mean"));
    nodes.push(Node::new("Softmax", &["grown_mean"], &["y"]).with("axis", Attribute::Int(-1)));
    let shape = |channels: u64| [Some(1), Some(channels), Some(size), Some(size)];
    let outputs = ["joined_real", "y"].map(|name| spec(name, &shape(3 * channels)));
    let mut graph = graph(nodes, vec![spec("x", &shape(channels))], outputs.into());
    let count = usize::try_from(channels * channels).unwrap();
    let weights = (0..count).map(|index| (index * 7 % 5) as i8 - 2).collect();
    let sizes = vec![channels as usize, channels as usize, 1, 1];
    graph.initializers.insert("w".into(), Tensor::from_i8(sizes, weights).unwrap());
    let count = usize::try_from(channels * size * size).unwrap();
    let values = (0..count).map(|index| (index * 31 % 41) as f32 * 0.1 - 2.0).collect();
    let sizes = [1, channels, size, size].map(|size| size as usize).to_vec();
    let input = [("x".to_owned(), Tensor::from_f32(sizes, values).unwrap())];
    for isa in ["scalar", runtime_kernels::fastest().isa.name()] {
        let answer = |threads: usize| {
            let options = LoadOptions { threads, isa: Some(isa.into()), strict: true, ..LoadOptions::default() };
            load_with(&graph, &options).unwrap().run(&input, &[], None).unwrap()
        };
        let expected = answer(1);
        for threads in [2, 3, 8] {
            assert_eq!(answer(threads), expected, "{isa}, {threads} threads");
        }
    }
}
