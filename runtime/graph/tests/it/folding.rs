use std::collections::BTreeMap;

use runtime_graph::{Attribute, Graph, Node, fold_constants, infer_shapes};
use runtime_tensor::{ElementType, Tensor};

use crate::samples::{graph, int_tensor, ints, spec};

/// Folds `node` (which makes "k") with constants a, b, c.. in a graph that goes on from there.
fn folded(node: Node, constants: &[Tensor]) -> Option<Tensor> {
    let mut graph = Graph {
        nodes: vec![node, Node::new("Identity", &["k"], &["y"])],
        outputs: vec![spec("y", "f32")],
        ..Graph::default()
    };
    graph.initializers =
        ["a", "b", "c", "d", "e"].map(str::to_owned).into_iter().zip(constants.iter().cloned()).collect();
    let shapes = infer_shapes(&Graph { outputs: vec![], ..graph.clone() }, 17, &BTreeMap::new()).unwrap();
    graph.outputs = vec![shapes["y"].clone()];
    fold_constants(&mut graph, 17).unwrap();
    graph.initializers.remove("k")
}

fn node(operator: &str, inputs: &[&str]) -> Node {
    Node::new(operator, inputs, &["k"])
}

fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_f32(shape.to_vec(), values.to_vec()).unwrap()
}

fn longs(shape: &[usize], values: &[i64]) -> Tensor {
    Tensor::from_i64(shape.to_vec(), values.to_vec()).unwrap()
}

#[test]
fn constants_are_computed() {
    let matrix = || longs(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    let to = |number: i64| Attribute::Int(number);
    let rows: Vec<(Node, Vec<Tensor>, Tensor)> = vec![
        (node("Constant", &[]).with("value_int", to(4)), vec![], longs(&[], &[4])),
        (node("Constant", &[]).with("value_floats", Attribute::Floats(vec![0.5])), vec![], floats(&[1], &[0.5])),
        (
            node("ConstantOfShape", &["a"]).with("value", Attribute::Tensor(floats(&[1], &[2.0]))),
            vec![int_tensor(&[2, 1])],
            floats(&[2, 1], &[2.0, 2.0]),
        ),
        (node("ConstantOfShape", &["a"]), vec![int_tensor(&[2])], floats(&[2], &[0.0, 0.0])),
        (node("Identity", &["a"]), vec![matrix()], matrix()),
        (node("Reshape", &["a", "b"]), vec![matrix(), int_tensor(&[3, -1])], longs(&[3, 2], &[1, 2, 3, 4, 5, 6])),
        (node("Unsqueeze", &["a", "b"]), vec![longs(&[], &[7]), int_tensor(&[0])], longs(&[1], &[7])),
        (node("Transpose", &["a"]), vec![matrix()], longs(&[3, 2], &[1, 4, 2, 5, 3, 6])),
        (node("Gather", &["a", "b"]), vec![matrix(), longs(&[], &[-1])], longs(&[3], &[4, 5, 6])),
        (
            node("Gather", &["a", "b"]).with("axis", to(1)),
            vec![matrix(), int_tensor(&[2, 0])],
            longs(&[2, 2], &[3, 1, 6, 4]),
        ),
        (
            node("Concat", &["a", "b"]).with("axis", to(1)),
            vec![matrix(), longs(&[2, 1], &[8, 9])],
            longs(&[2, 4], &[1, 2, 3, 8, 4, 5, 6, 9]),
        ),
        (
            node("Slice", &["a", "b", "c", "d", "e"]),
            vec![matrix(), int_tensor(&[-1]), int_tensor(&[i64::MIN]), int_tensor(&[1]), int_tensor(&[-2])],
            longs(&[2, 2], &[3, 1, 6, 4]),
        ),
        (
            node("Expand", &["a", "b"]),
            vec![longs(&[2, 1], &[1, 2]), int_tensor(&[2, 2])],
            longs(&[2, 2], &[1, 1, 2, 2]),
        ),
        (
            node("Range", &["a", "b", "c"]),
            vec![longs(&[], &[3]), longs(&[], &[-2]), longs(&[], &[-2])],
            longs(&[3], &[3, 1, -1]),
        ),
        (node("Add", &["a", "b"]), vec![matrix(), longs(&[1], &[10])], longs(&[2, 3], &[11, 12, 13, 14, 15, 16])),
        (node("Div", &["a", "b"]), vec![int_tensor(&[-7]), int_tensor(&[2])], int_tensor(&[-3])),
        (node("Mul", &["a", "b"]), vec![floats(&[1], &[0.1]), floats(&[1], &[0.3])], floats(&[1], &[0.1 * 0.3])),
        (node("Sqrt", &["a"]), vec![floats(&[1], &[2.0])], floats(&[1], &[2f32.sqrt()])),
        (node("Cast", &["a"]).with("to", to(1)), vec![int_tensor(&[3])], floats(&[1], &[3.0])),
        (
            node("Cast", &["a"]).with("to", to(6)),
            vec![floats(&[1], &[-2.7])],
            Tensor::from_i32(vec![1], vec![-2]).unwrap(),
        ),
        (node("Equal", &["a", "b"]), vec![int_tensor(&[1, 2]), int_tensor(&[1])], {
            Tensor::from_bool(vec![2], vec![true, false]).unwrap()
        }),
    ];
    let mut wrong = Vec::new();
    for (node, constants, expected) in rows {
        let operator = node.operator.clone();
        let found = folded(node, &constants);
        if found.as_ref() != Some(&expected) {
            wrong.push(format!("{operator}: {found:?} instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_cannot_be_computed_stays() {
    assert!(folded(node("Div", &["a", "b"]), &[int_tensor(&[1]), int_tensor(&[0])]).is_none(), "division by zero");
    assert!(folded(node("Relu", &["a"]), &[floats(&[1], &[1.0])]).is_none(), "work for an engine");
    let scale = floats(&[], &[0.5]);
    let integers = Tensor::from_i8(vec![2], vec![1, -1]).unwrap();
    assert!(folded(node("DequantizeLinear", &["a", "b"]), &[integers, scale]).is_none(), "it says how to run");
}

/// A chain from a known shape to a reshape leaves the reshape alone.
#[test]
fn a_chain_folds_and_leaves_nothing_behind() {
    let mut graph = graph(
        "f32 2 3 4",
        "f32 2 12",
        vec![
            Node::new("Shape", &["x"], &["shape"]),
            Node::new("Slice", &["shape", "zero", "one"], &["batch"]),
            Node::new("Cast", &["batch"], &["same"]).with("to", Attribute::Int(7)),
            Node::new("Concat", &["same", "rest"], &["target"]).with("axis", Attribute::Int(0)),
            Node::new("Reshape", &["x", "target"], &["y"]),
            Node::new("Relu", &["x"], &["unused"]),
        ],
    );
    for (name, values) in [("zero", [0]), ("one", [1]), ("rest", [-1])] {
        graph.initializers.insert(name.to_owned(), int_tensor(&values));
    }
    assert_eq!(fold_constants(&mut graph, 13).unwrap(), 5);
    assert_eq!(graph.nodes.len(), 1);
    assert_eq!(graph.initializers.keys().collect::<Vec<_>>(), ["target"]);
    assert_eq!(graph.initializers["target"], int_tensor(&[2, -1]));
    assert_eq!(graph.initializers["target"].element(), ElementType::I64);
    let pads = Node::new("Transpose", &["x"], &["y"]).with("perm", ints(&[0, 1, 2]));
    assert!(pads.ints("perm").is_some());
}
