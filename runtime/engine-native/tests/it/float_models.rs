//! Float models in tract: fixed and symbolic sizes, types, quantized graphs that tract alone gets wrong.

use std::time::Instant;

use runtime_engine::{EngineError, NumericsClass};
use runtime_graph::{Attribute, Node};
use runtime_tensor::{Dimension, ElementType, Tensor, TensorSpec, Tolerance, compare};

use crate::author::{graph, load, quantized, spec};

const CLOSE: Tolerance = Tolerance { absolute: 1e-5, relative: 1e-5 };

fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_f32(shape.to_vec(), values.to_vec()).unwrap()
}

#[test]
fn a_symbolic_batch_of_every_size() {
    let mut product = graph(
        vec![Node::new("MatMul", &["x", "w"], &["p"]), Node::new("Relu", &["p"], &["y"])],
        vec![spec("x", &[None, Some(2)])],
        vec![spec("y", &[None, Some(2)])],
    );
    product.initializers.insert("w".into(), floats(&[2, 2], &[1.0, -1.0, 0.5, 2.0]));
    let mut session = load(&product).unwrap();
    assert_eq!(session.numerics(), NumericsClass::Float);
    assert!(session.resident_bytes() >= 16);
    for batch in [1, 3, 1, 7] {
        let x = floats(&[batch, 2], &[2.0, 4.0].repeat(batch));
        let answer = session.run(&[("x".into(), x)], &[], None).unwrap();
        let expected = floats(&[batch, 2], &[4.0, 6.0].repeat(batch));
        compare(&expected, &answer[0].1, CLOSE).unwrap();
    }
}

#[test]
fn several_symbols_and_integer_inputs() {
    let size = |name: &str| Dimension::Symbol(name.into());
    let index = TensorSpec { name: "i".into(), element: ElementType::I64, shape: vec![size("rows"), size("columns")] };
    let output = TensorSpec {
        name: "y".into(),
        element: ElementType::F32,
        shape: vec![size("rows"), size("columns"), Dimension::Fixed(2)],
    };
    let mut gather = graph(vec![Node::new("Gather", &["table", "i"], &["y"])], vec![index], vec![output]);
    gather.initializers.insert("table".into(), floats(&[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    let mut session = load(&gather).unwrap();
    for (rows, columns) in [(1, 2), (2, 1), (2, 3)] {
        let index: Vec<i64> = (0..rows * columns).map(|place| (place % 3) as i64).collect();
        let expected: Vec<f32> = index.iter().flat_map(|&row| [2.0 * row as f32, 2.0 * row as f32 + 1.0]).collect();
        let i = Tensor::from_i64(vec![rows, columns], index).unwrap();
        let answer = session.run(&[("i".into(), i)], &[], None).unwrap();
        compare(&floats(&[rows, columns, 2], &expected), &answer[0].1, CLOSE).unwrap();
    }
}

#[test]
fn an_index_out_of_range_is_an_error_and_the_session_lives() {
    let index = TensorSpec { name: "i".into(), element: ElementType::I64, shape: vec![Dimension::Fixed(1)] };
    let mut gather =
        graph(vec![Node::new("Gather", &["table", "i"], &["y"])], vec![index], vec![spec("y", &[Some(1), Some(2)])]);
    gather.initializers.insert("table".into(), floats(&[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    let mut session = load(&gather).unwrap();
    let mut ask = |index: i64| session.run(&[("i".into(), Tensor::from_i64(vec![1], vec![index]).unwrap())], &[], None);
    assert!(matches!(ask(99), Err(EngineError::Internal { .. })));
    assert_eq!(ask(2).unwrap()[0].1, floats(&[1, 2], &[4.0, 5.0]));
}

/// exp keeps the graph out of the integer kernels; the rest is quantized.
fn quantized_softmax(scale: Tensor) -> runtime_graph::Graph {
    let mut nodes = vec![Node::new("Exp", &["x"], &["e"])];
    nodes.extend(quantized("e", "e_real"));
    nodes.push(Node::new("Softmax", &["e_real"], &["p"]).with("axis", Attribute::Int(-1)));
    nodes.push(Node::new("QuantizeLinear", &["p", "p_scale", "p_zero"], &["p_stored"]));
    nodes.push(Node::new("DequantizeLinear", &["p_stored", "p_scale", "p_zero"], &["y"]));
    let sizes = [Some(1), Some(4)];
    let mut graph = graph(nodes, vec![spec("x", &sizes)], vec![spec("y", &sizes)]);
    graph.initializers.insert("p_scale".into(), scale);
    graph.initializers.insert("p_zero".into(), Tensor::from_u8(vec![], vec![0]).unwrap());
    graph
}

#[test]
fn a_quantized_softmax_and_a_scale_of_one_element_are_right() {
    for shape in [vec![], vec![1]] {
        let scale = floats(&shape, &[1.0 / 255.0]);
        let mut session = load(&quantized_softmax(scale)).unwrap();
        let x = floats(&[1, 4], &[0.0, 0.5, 1.0, -1.0]);
        let answer = session.run(&[("x".into(), x)], &[], None).unwrap();
        // exp gives 1, 1.65, 2.72, 0.37; in steps of 0.5: 1, 1.5, 2.5, 0.5; softmax of those in steps of 1 / 255.
        let steps: Vec<f32> = answer[0].1.as_f32().unwrap().iter().map(|value| (value * 255.0).round()).collect();
        assert_eq!(steps, [33.0, 54.0, 148.0, 20.0]);
    }
}

#[test]
fn a_deadline_in_the_past_stops_before_the_first_node() {
    let identity =
        graph(vec![Node::new("Exp", &["x"], &["y"])], vec![spec("x", &[Some(1)])], vec![spec("y", &[Some(1)])]);
    let mut session = load(&identity).unwrap();
    let inputs = [("x".into(), floats(&[1], &[0.0]))];
    assert_eq!(session.run(&inputs, &[], Some(Instant::now())), Err(EngineError::Deadline));
    assert_eq!(session.run(&inputs, &[], None).unwrap()[0].1, floats(&[1], &[1.0]));
}
