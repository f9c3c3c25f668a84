//! What keeps a model from being exact is named.

use runtime_engine::{EngineError, LoadOptions, NumericsClass};
use runtime_graph::{Attribute, Graph, Node};
use runtime_tensor::Tensor;

use crate::author::{graph, load, load_with, quantized, spec};

const SIZES: [Option<u64>; 2] = [None, Some(4)];

fn around(middle: Vec<Node>) -> Graph {
    let mut nodes = quantized("x", "x_real").to_vec();
    nodes.extend(middle);
    nodes.extend(quantized("m", "y"));
    graph(nodes, vec![spec("x", &SIZES)], vec![spec("y", &SIZES)])
}

fn matrix(graph: &mut Graph, name: &str, scales: &[f32]) {
    let weights = Tensor::from_i8(vec![4, 4], (0..16).collect()).unwrap();
    graph.initializers.insert(name.into(), weights);
    let shape = if scales.len() == 1 { vec![] } else { vec![scales.len()] };
    graph.initializers.insert(format!("{name}_scale"), Tensor::from_f32(shape, scales.to_vec()).unwrap());
}

#[test]
fn the_reason_stands_beside_the_node() {
    let mut by_vector = around(vec![Node::new("MatMul", &["x_real", "f"], &["m"])]);
    by_vector.initializers.insert("f".into(), Tensor::from_f32(vec![4, 4, 1], vec![1.0; 16]).unwrap());
    let rows = [
        (around(vec![Node::new("Round", &["x_real"], &["m"])]), "Round", "no kernel for this operator"),
        (around(vec![Node::new("Round", &["x"], &["m"])]), "Round", "no kernel for this operator"),
        (
            around(vec![Node::new("Pow", &["x", "scale"], &["e"]), Node::new("Ceil", &["e"], &["m"])]),
            "Ceil",
            "no kernel",
        ),
        (around(vec![Node::new("Pow", &["x", "pi"], &["m"])]), "Pow", "powers other than 2"),
    ];
    let mut wrong = Vec::new();
    for (mut graph, operator, reason) in rows {
        graph.initializers.insert("pi".into(), Tensor::from_f32(vec![], vec![3.0]).unwrap());
        match load(&graph) {
            Ok(session) => {
                let coverage = session.coverage();
                let found = coverage.left_out.first().map(|left| (left.operator.clone(), left.reason.clone()));
                let fits = found.as_ref().is_some_and(|(on, why)| on == operator && why.contains(reason));
                if !fits || session.numerics() != NumericsClass::Float || coverage.nodes_covered != 0 {
                    wrong.push(format!("{operator}: {found:?}"));
                }
            }
            Err(error) if error.to_string().contains(reason) => {}
            Err(error) => wrong.push(format!("{operator}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_no_integer_kernel_takes_is_covered_and_float_where_it_sums_products() {
    let mut with_rows = around(vec![
        Node::new("DequantizeLinear", &["w", "w_scale"], &["w_real"]).with("axis", Attribute::Int(0)),
        Node::new("MatMul", &["x_real", "w_real"], &["m"]),
    ]);
    matrix(&mut with_rows, "w", &[0.1, 0.2, 0.3, 0.4]);
    let mut float_weights = around(vec![Node::new("MatMul", &["x_real", "f"], &["m"])]);
    float_weights.initializers.insert("f".into(), Tensor::from_f32(vec![4, 4], vec![1.0; 16]).unwrap());
    let mut unquantized_sum = around(vec![
        Node::new("DequantizeLinear", &["w", "w_scale"], &["w_real"]),
        Node::new("Add", &["x_real", "x_real"], &["s"]),
        Node::new("MatMul", &["s", "w_real"], &["m"]),
    ]);
    matrix(&mut unquantized_sum, "w", &[0.1]);
    // 0.1 * (0..4) - 2 * 0.2 * (4..8) + 0.5 * 0.3 * (8..12) for x in steps of 0.5: 1, -2, 0.5, 0. The sum is twice
    // 0.1 * ((0..4) - 2 * (4..8) + 0.5 * (8..12)).
    let rows: [(&str, Graph, NumericsClass, [f32; 4]); 5] = [
        ("scales along the depth", with_rows, NumericsClass::Float, [-0.5, -0.5, -0.5, -1.0]),
        ("float weights", float_weights, NumericsClass::Float, [-0.5; 4]),
        ("a sum that is not quantized", unquantized_sum, NumericsClass::Float, [-1.0; 4]),
        (
            "bounds of a float input",
            around(vec![Node::new("Relu", &["x"], &["m"])]),
            NumericsClass::Exact,
            [1.0, 0.0, 0.5, 0.0],
        ),
        ("a function", around(vec![Node::new("Exp", &["x_real"], &["m"])]), NumericsClass::Exact, [2.5, 0.0, 1.5, 1.0]),
    ];
    let x = Tensor::from_f32(vec![1, 4], vec![1.1, -2.0, 0.4, 0.0]).unwrap();
    let mut wrong = Vec::new();
    for (name, graph, numerics, expected) in &rows {
        let mut session = load_with(graph, &LoadOptions { strict: true, ..LoadOptions::default() }).unwrap();
        let answer = session.run(&[("x".into(), x.clone())], &[], None).unwrap();
        let found = answer[0].1.as_f32().unwrap();
        if found != expected || session.numerics() != *numerics || !session.coverage().is_whole() {
            wrong.push(format!("{name}: {found:?} {:?}", session.numerics()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_normalization_across_channels_is_exact() {
    let norm = Node::new("LRN", &["x_real"], &["m"]);
    let norm = norm.with("size", Attribute::Int(3)).with("alpha", Attribute::Float(1.0));
    let mut session = load(&around(vec![norm.with("beta", Attribute::Float(1.0))])).unwrap();
    assert_eq!((session.numerics(), session.coverage().is_whole()), (NumericsClass::Exact, true));
    // x in steps of 0.5 is 1, -2, 0.5, 0; 1 / (1 + (1 + 4) / 3) is 0.375, which is 0.5 in steps.
    let x = Tensor::from_f32(vec![1, 4], vec![1.1, -2.0, 0.4, 0.0]).unwrap();
    let answer = session.run(&[("x".into(), x)], &[], None).unwrap();
    assert_eq!(answer[0].1.as_f32().unwrap(), [0.5, -0.5, 0.0, 0.0]);
    let none = Node::new("LRN", &["x_real"], &["m"]).with("size", Attribute::Int(0));
    let reason = match load(&around(vec![none])) {
        Ok(session) => session.coverage().left_out[0].reason.clone(),
        Err(error) => error.to_string(),
    };
    assert!(reason.contains("0 channels"), "{reason}");
}

#[test]
fn strict_refuses_what_is_not_covered_wholly() {
    let options = LoadOptions { strict: true, ..LoadOptions::default() };
    let refused = load_with(&around(vec![Node::new("Round", &["x_real"], &["m"])]), &options).map(|_| ());
    assert!(
        matches!(&refused, Err(EngineError::Unsupported { reason, .. }) if reason.contains("Round")),
        "{refused:?}"
    );
    assert!(load_with(&around(vec![Node::new("Relu", &["x_real"], &["m"])]), &options).is_ok());
}

#[test]
fn a_covered_model_counts_its_nodes_and_products() {
    let mut product = around(vec![
        Node::new("DequantizeLinear", &["w", "w_scale"], &["w_real"]),
        Node::new("MatMul", &["x_real", "w_real"], &["m"]),
    ]);
    matrix(&mut product, "w", &[0.1]);
    let session = load(&product).unwrap();
    let coverage = session.coverage();
    assert_eq!((coverage.nodes_total, coverage.nodes_covered), (6, 6));
    assert_eq!((coverage.macs_total, coverage.macs_covered), (16, 16));
    assert!(coverage.left_out.is_empty());
    assert_eq!(session.isa(), runtime_kernels::fastest().isa.name());
}

#[test]
fn samples_that_mix_are_left_to_tract() {
    // Reshape to [2, -1] joins two samples of a batch.
    let mut mixing = graph(
        [quantized("x", "x_real").to_vec(), vec![Node::new("Reshape", &["x_real", "target"], &["y"])]].concat(),
        vec![spec("x", &SIZES)],
        vec![spec("y", &[Some(2), None])],
    );
    mixing.initializers.insert("target".into(), Tensor::from_i64(vec![2], vec![2, -1]).unwrap());
    match load(&mixing) {
        Ok(session) => assert!(session.coverage().left_out[0].reason.contains("batch"), "{:?}", session.coverage()),
        Err(error) => assert!(error.to_string().contains("batch"), "{error}"),
    }
}
