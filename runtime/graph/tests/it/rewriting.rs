use runtime_graph::{Attribute, GraphError, Model, Node, consumers, producers, raise_opset};
use runtime_tensor::Tensor;

use crate::reading::read;
use crate::samples::{cnn, graph, int_tensor, ints, spec};

#[test]
fn makers_and_readers() {
    let model = cnn();
    let makers = producers(model.graph());
    let readers = consumers(model.graph());
    assert_eq!((makers["c"], makers["y"]), (0, 4));
    assert_eq!(readers["c"], [1]);
    assert!(!makers.contains_key("x") && !readers.contains_key("y"));
    assert_eq!(model.graph().only_reader("c"), Some(1));
    assert_eq!(model.graph().only_reader("y"), None, "the caller reads it");
}

#[test]
fn a_value_read_twice_by_one_node_has_no_only_reader() {
    let graph = graph("f32 2", "f32 2", vec![Node::new("Add", &["x", "x"], &["y"])]);
    assert_eq!(graph.only_reader("x"), None);
}

#[test]
fn names_are_free_and_reads_move() {
    let mut model = cnn();
    let graph = model.graph_mut();
    assert_eq!(graph.fresh_name("new"), "new");
    assert_eq!(graph.fresh_name("c"), "c_1");
    assert_eq!(graph.add_initializer("w", int_tensor(&[1])), "w_1");
    assert_eq!(graph.fresh_name("w"), "w_2");
    graph.replace_reads("c", "x");
    assert_eq!(graph.nodes[1].inputs, ["x"]);
    graph.expose([spec("r", "f32 N 2 8 8"), spec("y", "f32 N 3")]);
    assert_eq!(graph.outputs.len(), 2);
    graph.prune();
    assert!(graph.nodes.iter().all(|node| node.operator != "Conv"), "nobody reads it any more");
    assert!(!graph.initializers.contains_key("w") && !graph.initializers.contains_key("w_1"));
    model.graph_mut().nodes.reverse();
    model.check().unwrap();
    assert_eq!(model.graph().nodes[0].operator, "Relu");
    assert_eq!(read(&model.write()).unwrap().graph(), model.graph());
}

#[test]
fn attributes_move_to_inputs_on_the_way_to_13() {
    let nodes = vec![
        Node::new("Clip", &["x"], &["a"]).with("max", Attribute::Float(6.0)),
        Node::new("Unsqueeze", &["a"], &["b"]).with("axes", ints(&[0])),
        Node::new("Pad", &["b"], &["c"]).with("pads", ints(&[0, 0, 0, 0, 1, 0])),
        Node::new("Squeeze", &["c"], &["d"]).with("axes", ints(&[0])),
        Node::new("Slice", &["d"], &["e"]).with("starts", ints(&[0])).with("ends", ints(&[2])),
        Node::new("Dropout", &["e"], &["f"]).with("ratio", Attribute::Float(0.5)),
        Node::new("Softmax", &["f"], &["y"]).with("axis", Attribute::Int(1)),
    ];
    let mut model = Model::from_graph(graph("f32 2 4", "f32 2 4", nodes), 9);
    raise_opset(&mut model, 13).unwrap();
    assert_eq!(model.opset(), 13);
    let found = model.graph();
    let constant = |name: &str| found.initializers[name].clone();
    assert_eq!(found.nodes[0].inputs, ["x", "a_min", "a_max"]);
    assert_eq!(constant("a_min"), Tensor::from_f32(vec![], vec![f32::MIN]).unwrap());
    assert_eq!(constant("a_max"), Tensor::from_f32(vec![], vec![6.0]).unwrap());
    assert_eq!(found.nodes[1].inputs, ["a", "b_axes"]);
    assert_eq!(constant("b_axes"), int_tensor(&[0]));
    assert_eq!(found.nodes[2].inputs, ["b", "c_pads", "c_value"]);
    assert_eq!(found.nodes[4].inputs, ["d", "e_starts", "e_ends"]);
    assert_eq!(found.nodes[5].operator, "Identity");
    assert_eq!(found.nodes[6].int("axis", 0), -1);
    assert!(runtime_graph::infer_shapes(found, 13, &Default::default()).is_ok());
    let again = model.write();
    raise_opset(&mut model, 13).unwrap();
    assert_eq!(model.write(), again, "a model that is new enough stays");
}

#[test]
fn a_change_of_meaning_is_refused_by_name() {
    let rows: [(i64, Node, &str); 4] = [
        (
            9,
            Node::new("Softmax", &["x"], &["y"]).with("axis", Attribute::Int(0)),
            "axis 0 of 2 axes means something else",
        ),
        (9, Node::new("Upsample", &["x"], &["y"]), "how Upsample changed"),
        (9, Node::new("Scan", &["x"], &["y"]), "how Scan changed"),
        (6, Node::new("Relu", &["x"], &["y"]), "operator set 6 cannot be raised"),
    ];
    for (opset, node, expected) in rows {
        let mut nodes = vec![node];
        nodes[0].attributes.extend([("scales".to_owned(), Attribute::Floats(vec![1.0, 1.0]))]);
        let mut model = Model::from_graph(graph("f32 2 4", "f32 2 4", nodes), opset);
        let error = raise_opset(&mut model, 13).unwrap_err();
        assert!(matches!(error, GraphError::Unsupported { .. }));
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(model.opset(), opset);
    }
}
