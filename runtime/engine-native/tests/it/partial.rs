//! Models that are covered in part: regions as programs, the rest in tract.
//!
//! Round has no kernel, and changes nothing where every value is a whole number. So each network here must give, byte
//! for byte, what it gives with Identity in the place of Round, which the kernels cover wholly.

use std::collections::BTreeSet;

use runtime_engine::{EngineError, LoadOptions, NumericsClass, Session};
use runtime_graph::{Attribute, Graph, Node};
use runtime_tensor::{ElementType, Tensor, TensorSpec};

use crate::author::{load, load_with, spec};

/// Batch, 2 channels, 4 by 4 pixels.
const SIZES: [Option<u64>; 4] = [None, Some(2), Some(4), Some(4)];

pub(crate) fn image(name: &str) -> TensorSpec {
    spec(name, &SIZES)
}

fn stored_image(name: &str) -> TensorSpec {
    TensorSpec { element: ElementType::U8, ..image(name) }
}

/// A graph over whole numbers: scale `one`, zero points `zero` (i8) and `zero_u8`, 3 by 3 weights.
pub(crate) fn whole_numbers(nodes: Vec<Node>, inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>) -> Graph {
    let mut graph = Graph { name: "g".into(), nodes, inputs, outputs, ..Graph::default() };
    let weights = (0..36).map(|index| [1, 0, -1, 2, 0, 0, 1][index % 7]).collect();
    let weights = Tensor::from_i8(vec![2, 2, 3, 3], weights).unwrap();
    let floats = weights.bytes().iter().map(|&byte| f32::from(byte as i8)).collect();
    for (name, tensor) in [
        ("one", Tensor::from_f32(vec![], vec![1.0]).unwrap()),
        ("zero", Tensor::from_i8(vec![], vec![0]).unwrap()),
        ("zero_u8", Tensor::from_u8(vec![], vec![0]).unwrap()),
        ("weights_f32", Tensor::from_f32(vec![2, 2, 3, 3], floats).unwrap()),
        ("weights", weights),
        ("once", Tensor::from_i64(vec![4], vec![1; 4]).unwrap()),
        ("first", Tensor::from_i64(vec![1], vec![0]).unwrap()),
        ("pixels", Tensor::from_i64(vec![1], vec![32]).unwrap()),
    ] {
        graph.initializers.insert(name.into(), tensor);
    }
    graph
}

/// `value` in i8 and back as `result`.
pub(crate) fn rounded(value: &str, result: &str) -> Vec<Node> {
    let stored = format!("{result}_stored");
    vec![
        Node::new("QuantizeLinear", &[value, "one", "zero"], &[&stored]),
        Node::new("DequantizeLinear", &[&stored, "one", "zero"], &[result]),
    ]
}

/// The convolution of `value` as `result`, quantized.
pub(crate) fn convolution(value: &str, result: &str) -> Vec<Node> {
    let (weights, sum) = (format!("{result}_weights"), format!("{result}_sum"));
    let mut nodes = vec![
        Node::new("DequantizeLinear", &["weights", "one", "zero"], &[&weights]),
        Node::new("Conv", &[value, &weights], &[&sum]).with("pads", Attribute::Ints(vec![1; 4])),
    ];
    nodes.extend(rounded(&sum, result));
    nodes
}

pub(crate) fn float_convolution(value: &str, result: &str) -> Node {
    Node::new("Conv", &[value, "weights_f32"], &[result]).with("pads", Attribute::Ints(vec![1; 4]))
}

pub(crate) fn add(a: &str, b: &str, result: &str) -> Vec<Node> {
    let sum = format!("{result}_sum");
    [vec![Node::new("Add", &[a, b], &[&sum])], rounded(&sum, result)].concat()
}

type Author = fn(&str) -> Graph;

/// Networks around `operator`, and how many of their nodes it is.
fn networks() -> Vec<(&'static str, u64, Author)> {
    vec![
        ("in the middle", 1, |operator| {
            let nodes = [
                rounded("x", "a"),
                convolution("a", "b"),
                vec![Node::new(operator, &["b"], &["c"])],
                rounded("c", "d"),
                convolution("d", "y"),
            ];
            whole_numbers(nodes.concat(), vec![image("x")], vec![image("y")])
        }),
        ("at the start", 1, |operator| {
            let nodes = [vec![Node::new(operator, &["x"], &["a"])], rounded("a", "b"), convolution("b", "y")];
            whole_numbers(nodes.concat(), vec![image("x")], vec![image("y")])
        }),
        ("at the end, and what it reads is an output too", 1, |operator| {
            let nodes = [rounded("x", "a"), convolution("a", "b"), vec![Node::new(operator, &["b"], &["y"])]];
            whole_numbers(nodes.concat(), vec![image("x")], vec![image("y"), image("b")])
        }),
        ("in one of two branches", 1, |operator| {
            let nodes = [
                rounded("x", "a"),
                convolution("a", "b"),
                vec![Node::new(operator, &["b"], &["c"])],
                rounded("c", "d"),
                convolution("b", "e"),
                add("d", "e", "y"),
            ];
            whole_numbers(nodes.concat(), vec![image("x")], vec![image("y")])
        }),
        ("beside a region that reads the same input", 1, |operator| {
            let nodes = [rounded("x", "a"), convolution("a", "y"), vec![Node::new(operator, &["x"], &["z"])]];
            whole_numbers(nodes.concat(), vec![image("x")], vec![image("z"), image("y")])
        }),
        ("twice, between regions that would wait for each other", 2, |operator| {
            let nodes = [
                rounded("x", "x_real"),
                convolution("x_real", "a"),
                rounded("w", "w_real"),
                convolution("w_real", "b"),
                vec![Node::new(operator, &["a"], &["ra"]), Node::new(operator, &["b"], &["rb"])],
                rounded("ra", "qa"),
                rounded("rb", "qb"),
                add("b", "qa", "c"),
                add("a", "qb", "d"),
                convolution("c", "y"),
                convolution("d", "z"),
            ];
            whole_numbers(nodes.concat(), vec![image("x"), image("w")], vec![image("y"), image("z")])
        }),
        ("with stored bytes as input and output", 1, |operator| {
            let nodes = [
                vec![Node::new("DequantizeLinear", &["x", "one", "zero_u8"], &["a"])],
                convolution("a", "b"),
                vec![Node::new(operator, &["b"], &["c"])],
                rounded("c", "d"),
                convolution("d", "e"),
                vec![Node::new("QuantizeLinear", &["e", "one", "zero_u8"], &["y"])],
            ];
            whole_numbers(nodes.concat(), vec![stored_image("x")], vec![stored_image("y")])
        }),
        ("before a shape that is worked out", 1, |operator| {
            let nodes = [
                rounded("x", "a"),
                convolution("a", "b"),
                vec![
                    Node::new(operator, &["b"], &["c"]),
                    Node::new("Shape", &["b"], &["shape"]),
                    Node::new("Gather", &["shape", "first"], &["batch"]),
                    Node::new("Concat", &["batch", "pixels"], &["target"]).with("axis", Attribute::Int(0)),
                    Node::new("Reshape", &["c", "target"], &["y"]),
                ],
            ];
            whole_numbers(nodes.concat(), vec![image("x")], vec![spec("y", &[None, Some(32)])])
        }),
        ("between convolutions of floats", 1, |operator| {
            let nodes = vec![
                float_convolution("x", "a"),
                Node::new("Relu", &["a"], &["b"]),
                Node::new(operator, &["b"], &["c"]),
                float_convolution("c", "y"),
            ];
            whole_numbers(nodes, vec![image("x")], vec![image("y")])
        }),
    ]
}

/// Whole numbers from -4 to 5, or from 0 to 9, for each input of `session`.
pub(crate) fn request(session: &dyn Session, batch: usize) -> Vec<(String, Tensor)> {
    let tensor = |spec: &TensorSpec| {
        let shape = vec![batch, 2, 4, 4];
        let numbers = (0..batch * 32).map(|index| ((index * 7 + spec.name.len() + index / 5) % 10) as u8);
        match spec.element {
            ElementType::U8 => Tensor::from_u8(shape, numbers.collect()),
            _ => Tensor::from_f32(shape, numbers.map(|number| f32::from(number) - 4.0).collect()),
        }
    };
    session.inputs().iter().map(|spec| (spec.name.clone(), tensor(spec).unwrap())).collect()
}

#[test]
fn a_node_without_a_kernel_changes_no_answer() {
    let mut wrong = Vec::new();
    for (name, without, author) in networks() {
        let strict = LoadOptions { strict: true, ..LoadOptions::default() };
        let mut whole = load_with(&author("Identity"), &strict).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut mixed = load(&author("Round")).unwrap_or_else(|error| panic!("{name}: {error}"));
        let coverage = mixed.coverage().clone();
        if !coverage.left_out.iter().take(without as usize).all(|left| left.operator == "Round")
            || coverage.macs_covered != coverage.macs_total
            || coverage.nodes_covered + coverage.left_out.len() as u64 != coverage.nodes_total
        {
            wrong.push(format!("{name}: {coverage:?}"));
        }
        for batch in [1, 3, 1] {
            let request = request(whole.as_ref(), batch);
            let expected = whole.run(&request, &[], None).unwrap();
            assert!(expected[0].1.bytes().iter().collect::<BTreeSet<_>>().len() > 4, "{name}: {expected:?}");
            match mixed.run(&request, &[], None) {
                Ok(found) if found == expected => {}
                found => wrong.push(format!("{name}, batch {batch}: {found:?}, expected {expected:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `value` times an 8-bit matrix, quantized at run time, as `result`.
fn dynamic_product(value: &str, result: &str) -> Vec<Node> {
    let name = |what: &str| format!("{result}_{what}");
    let [bytes, scale, zero, sum, real] = ["bytes", "scale", "zero", "sum", "real"].map(name);
    vec![
        Node::new("DynamicQuantizeLinear", &[value], &[&bytes, &scale, &zero]),
        Node::new("MatMulInteger", &[&bytes, "matrix", &zero], &[&sum]),
        Node::new("Cast", &[&sum], &[&real]).with("to", Attribute::Int(1)),
        Node::new("Mul", &[&real, &scale], &[result]),
    ]
}

#[test]
fn regions_may_be_quantized_at_run_time() {
    let author = |middle: Node| {
        let nodes = [dynamic_product("x", "a"), vec![middle], dynamic_product("b", "y")].concat();
        let mut graph = whole_numbers(nodes, vec![image("x")], vec![image("y")]);
        let matrix = Tensor::from_i8(vec![4, 4], (0..16).map(|index| index * 7 % 11 - 5).collect()).unwrap();
        graph.initializers.insert("matrix".into(), matrix);
        graph
    };
    let strict = LoadOptions { strict: true, ..LoadOptions::default() };
    let mut whole = load_with(&author(Node::new("Identity", &["a"], &["b"])), &strict).unwrap();
    let mut mixed = load(&author(Node::new("Tile", &["a", "once"], &["b"]))).unwrap();
    let coverage = mixed.coverage();
    assert_eq!((coverage.nodes_covered, coverage.nodes_total), (8, 9), "{coverage:?}");
    for batch in [1, 3] {
        let request = request(whole.as_ref(), batch);
        assert_eq!(mixed.run(&request, &[], None).unwrap(), whole.run(&request, &[], None).unwrap());
    }
}

fn named(name: &str) -> Author {
    networks().into_iter().find(|(other, ..)| *other == name).map(|(_, _, author)| author).unwrap()
}

#[test]
fn a_session_says_what_it_is_made_of() {
    let session = load(&named("in the middle")("Round")).unwrap();
    let coverage = session.coverage();
    assert_eq!((coverage.nodes_covered, coverage.nodes_total), (12, 13));
    assert_eq!((coverage.macs_covered, coverage.macs_total), (2 * 32 * 18, 2 * 32 * 18));
    let [left] = coverage.left_out.as_slice() else { panic!("{coverage:?}") };
    assert_eq!((left.node.as_str(), left.operator.as_str()), ("Round:c", "Round"));
    assert!(left.reason.contains("no kernel"), "{}", left.reason);
    assert_eq!(session.numerics(), NumericsClass::Float);
    assert_eq!(session.isa(), format!("{}+tract", runtime_kernels::fastest().isa.name()));
    assert!(session.resident_bytes() > 0);
}

#[test]
fn islands_without_products_stay_in_tract() {
    let nodes = [rounded("x", "a"), vec![Node::new("Round", &["a"], &["b"])], rounded("b", "y")].concat();
    let mut session = load(&whole_numbers(nodes, vec![image("x")], vec![image("y")])).unwrap();
    assert_eq!((session.coverage().nodes_covered, session.isa()), (0, "tract"));
    let request = request(session.as_ref(), 2);
    let answer = session.run(&request, &[], None).unwrap();
    assert_eq!(answer[0].1, request[0].1);
}

#[test]
fn a_model_that_tract_does_not_take_with_its_regions_runs_whole_in_tract() {
    let author = named("in the middle");
    let mut graph = author("Round");
    // tract looks at no operator set, so that it runs this node as ONNX's.
    let round = graph.nodes.iter_mut().find(|node| node.operator == "Round").unwrap();
    round.domain = "cask".into();
    graph.values.insert("c".into(), image("c"));
    let mut session = load(&graph).unwrap();
    let coverage = session.coverage();
    assert_eq!((coverage.nodes_covered, coverage.macs_covered), (0, 0));
    let why = &coverage.left_out[0];
    assert!(why.operator == "graph" && why.reason.contains("operator set cask"), "{why:?}");
    assert_eq!(coverage.left_out[1].operator, "cask.Round");
    let request = request(session.as_ref(), 1);
    let expected = load(&author("Identity")).unwrap().run(&request, &[], None).unwrap();
    assert_eq!(session.run(&request, &[], None).unwrap(), expected);
}

#[test]
fn strict_refuses_a_model_that_is_covered_in_part() {
    let strict = LoadOptions { strict: true, ..LoadOptions::default() };
    let refused = load_with(&named("at the end, and what it reads is an output too")("Round"), &strict).map(|_| ());
    assert!(
        matches!(&refused, Err(EngineError::Unsupported { reason, .. }) if reason.contains("Round:y")),
        "{refused:?}"
    );
}

#[test]
fn outputs_are_given_as_they_are_asked_for_and_several_threads_answer_alike() {
    let author = named("twice, between regions that would wait for each other");
    let mut one = load(&author("Round")).unwrap();
    let mut two = load_with(&author("Round"), &LoadOptions { threads: 2, ..LoadOptions::default() }).unwrap();
    let request = request(one.as_ref(), 2);
    let all = one.run(&request, &[], None).unwrap();
    let some = two.run(&request, &["z".into()], None).unwrap();
    assert_eq!(some, all[1..]);
    let late = std::time::Instant::now();
    assert_eq!(two.run(&request, &[], Some(late)), Err(EngineError::Deadline));
    assert_eq!(two.run(&request, &[], None).unwrap(), all);
}
