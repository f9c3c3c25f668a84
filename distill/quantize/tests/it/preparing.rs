use distill_quantize::prepare;
use runtime_engine::{Engine, LoadOptions};
use runtime_graph::{Attribute, Model, Node};
use runtime_tensor::{Tensor, Tolerance, compare};

use crate::reference::Reference;
use crate::samples::{batches, conv, ints, mixture, model, near_one, pool, student, tensor};

fn run(model: &Model) -> Tensor {
    let batch = batches(1, 3).next().unwrap().unwrap();
    let mut session = Reference.load(&model.write(), &LoadOptions::default()).unwrap();
    session.run(&batch, &[], None).unwrap().remove(0).1
}

fn operators(model: &Model) -> Vec<&str> {
    model.graph().nodes.iter().map(|node| node.operator.as_str()).collect()
}

/// The prepared model has these operators and answers the same.
fn check(name: &str, float: &Model, expected: &[&str]) {
    let prepared = prepare(float).unwrap();
    assert_eq!(operators(&prepared), expected, "{name}");
    let tolerance = Tolerance { absolute: 1e-4, relative: 1e-4 };
    compare(&run(float), &run(&prepared), tolerance).unwrap_or_else(|difference| panic!("{name}: {difference:?}"));
    assert_eq!(prepare(&prepared).unwrap().write(), prepared.write(), "{name}: prepared once is prepared");
}

#[test]
fn students_are_prepared() {
    check(
        "student",
        &student(),
        &["Conv", "Relu", "MaxPool", "Conv", "Add", "Relu", "GlobalAveragePool", "Flatten", "Gemm"],
    );
    check(
        "mixture",
        &mixture(),
        &["Conv", "Clip", "Conv", "Relu", "Conv", "Concat", "AveragePool", "Relu", "MaxPool", "Reshape", "Gemm"],
    );
}

#[test]
fn factors_and_offsets_of_channels_go_into_the_weights() {
    let channel = |seed: u32| Tensor::from_f32(vec![1, 4, 1, 1], near_one(seed, 4).as_f32().unwrap().to_vec()).unwrap();
    let nodes = vec![
        conv("x", "w", "", "c"),
        Node::new("Mul", &["c", "factor"], &["m"]),
        Node::new("Add", &["offset", "m"], &["a"]),
        Node::new("Sub", &["a", "one"], &["s"]),
        Node::new("Identity", &["s"], &["i"]),
        Node::new("GlobalAveragePool", &["i"], &["g"]),
        Node::new("Flatten", &["g"], &["f"]),
        Node::new("Gemm", &["f", "v", "b"], &["z"])
            .with("alpha", Attribute::Float(0.5))
            .with("beta", Attribute::Float(2.0)),
        Node::new("BatchNormalization", &["z", "gamma", "mean", "mean", "gamma"], &["y"]),
    ];
    let constants = vec![
        ("w", tensor(1, &[4, 1, 3, 3], 0.5)),
        ("factor", channel(2)),
        ("offset", channel(3)),
        ("one", Tensor::from_f32(vec![], vec![1.0]).unwrap()),
        ("v", tensor(4, &[4, 3], 0.5)),
        ("b", tensor(5, &[1, 3], 0.5)),
        ("gamma", near_one(6, 3)),
        ("mean", tensor(7, &[3], 0.5)),
    ];
    check("affine", &model(nodes, constants, &[0, 3]), &["Conv", "GlobalAveragePool", "Flatten", "Gemm"]);
}

#[test]
fn padding_goes_into_the_convolution() {
    let nodes = vec![
        Node::new("Pad", &["x", "pads"], &["p"]),
        Node::new("Conv", &["p", "w"], &["y"]).with("pads", ints(&[0, 1, 0, 0])).with("strides", ints(&[2, 2])),
    ];
    let constants = vec![
        ("pads", Tensor::from_i64(vec![8], vec![0, 0, 1, 0, 0, 0, 0, 1]).unwrap()),
        ("w", tensor(1, &[2, 1, 3, 3], 0.5)),
    ];
    let float = model(nodes, constants, &[0, 2, 4, 4]);
    check("pad", &float, &["Conv"]);
    assert_eq!(prepare(&float).unwrap().graph().nodes[0].ints("pads"), Some(&[1, 1, 0, 1][..]));
}

/// What looks alike but must stay.
#[test]
fn what_computes_something_else_stays() {
    let base = |middle: Node, constant: Tensor| {
        let nodes = vec![conv("x", "w", "", "c"), middle, Node::new("Relu", &["m"], &["y"])];
        model(nodes, vec![("w", tensor(1, &[4, 1, 3, 3], 0.5)), ("k", constant)], &[0, 4, 8, 8])
    };
    let add = || Node::new("Add", &["c", "k"], &["m"]);
    check("an offset for each column", &base(add(), tensor(2, &[8], 1.0)), &["Conv", "Add", "Relu"]);
    check("an offset for each place", &base(add(), tensor(2, &[1, 4, 8, 8], 1.0)), &["Conv", "Add", "Relu"]);
    let minus = Node::new("Sub", &["k", "c"], &["m"]);
    check("constant minus value", &base(minus, tensor(2, &[4, 1, 1], 1.0)), &["Conv", "Sub", "Relu"]);
    let twice =
        vec![conv("x", "w", "", "c"), Node::new("Add", &["c", "k"], &["m"]), Node::new("Mul", &["c", "m"], &["y"])];
    let constants = vec![("w", tensor(1, &[4, 1, 3, 3], 0.5)), ("k", tensor(2, &[4, 1, 1], 1.0))];
    check("another reader", &model(twice, constants, &[0, 4, 8, 8]), &["Conv", "Add", "Mul"]);
}

/// Two nodes with the same weights, only one of which is followed by a factor.
#[test]
fn shared_weights_are_copied_before_they_change() {
    let nodes = vec![
        conv("x", "w", "", "a"),
        Node::new("Mul", &["a", "k"], &["b"]),
        conv("x", "w", "", "c"),
        Node::new("Add", &["b", "c"], &["y"]),
    ];
    let constants = vec![("w", tensor(1, &[4, 1, 3, 3], 0.5)), ("k", Tensor::from_f32(vec![], vec![3.0]).unwrap())];
    check("shared", &model(nodes, constants, &[0, 4, 8, 8]), &["Conv", "Conv", "Add"]);
}

#[test]
fn a_bound_moves_in_front_of_what_carries_it() {
    let nodes = vec![
        conv("x", "w", "", "c"),
        pool("MaxPool", "c", "p"),
        Node::new("Flatten", &["p"], &["f"]),
        Node::new("Relu", &["f"], &["y"]),
    ];
    let float = model(nodes, vec![("w", tensor(1, &[4, 1, 3, 3], 0.5))], &[0, 64]);
    check("relu last", &float, &["Conv", "Relu", "MaxPool", "Flatten"]);
}
