use std::collections::BTreeMap;

use onnx_protobuf as onnx;
use onnx_protobuf::Message;
use proptest::prelude::*;
use runtime_graph::{
    Attribute, Graph, GraphError, Model, Node, ReadLimits, fold_constants, infer_shapes, raise_opset, survey,
    tensor_ranges,
};
use runtime_tensor::Tensor;

use crate::reading::{read, with_external};
use crate::samples::{cnn, graph, int_tensor, ints};

/// Everything that may be done with bytes from outside.
fn exercise(bytes: &[u8]) -> Result<(), GraphError> {
    let _ = tensor_ranges(bytes);
    let _ = survey(bytes, &ReadLimits::default());
    let _ = Model::replace_initializers(bytes, &BTreeMap::from([("w".to_owned(), int_tensor(&[1]))]));
    let mut model = read(bytes)?;
    let _ = infer_shapes(model.graph(), model.opset(), &BTreeMap::from([("N".to_owned(), u64::MAX)]));
    let mut graph = model.graph().clone();
    let _ = fold_constants(&mut graph, model.opset());
    let _ = raise_opset(&mut model, 13);
    model.graph_mut();
    model.write();
    Ok(())
}

#[test]
fn a_model_cut_anywhere_is_an_error() {
    let bytes = cnn().write();
    let accepted: Vec<usize> = (0..bytes.len()).filter(|&length| exercise(&bytes[..length]).is_ok()).collect();
    // The only field after graph and operator set is the producer's name.
    let graph_and_opset = bytes.len() - "\u{12}\u{4}cask".len();
    assert_eq!(accepted, [graph_and_opset]);
    assert!(matches!(read(&bytes[..bytes.len() / 2]), Err(GraphError::Truncated { .. })));
}

#[test]
fn structure_errors_name_the_nodes() {
    let relu = |input: &str, output: &str| Node::new("Relu", &[input], &[output]);
    let rows: Vec<(&str, Vec<Node>, &str)> = vec![
        ("cycle", vec![relu("b", "a"), relu("a", "b"), relu("b", "y")], "Relu:b -> Relu:a"),
        ("itself", vec![relu("y", "y")], "they feed each other in a circle: Relu:y"),
        ("missing input", vec![relu("nobody", "y")], "input \"nobody\" of Relu:y (Relu)"),
        ("missing output", vec![relu("x", "z")], "output \"y\" of the graph"),
        ("made twice", vec![relu("x", "y"), relu("x", "y")], "value \"y\" from Relu:y (Relu)"),
        ("input made again", vec![relu("x", "y"), relu("y", "x")], "value \"x\" from Relu:x (Relu)"),
        ("no operator", vec![Node::new("", &["x"], &["y"])], "has no operator"),
    ];
    let mut wrong = Vec::new();
    for (case, nodes, expected) in rows {
        let bytes = Model::from_graph(graph("f32 2", "f32 2", nodes), 13).write();
        match read(&bytes) {
            Err(error) if error.to_string().contains(expected) => {}
            other => wrong.push(format!("{case}: {:?}", other.map(|_| ()))),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_long_circle_is_found_without_recursion() {
    let count = 50_000;
    let name = |index: usize| format!("v{}", index % count);
    let mut nodes: Vec<Node> =
        (0..count).map(|index| Node::new("Relu", &[&name(index)], &[&name(index + 1)])).collect();
    nodes.push(Node::new("Relu", &["x"], &["y"]));
    let bytes = Model::from_graph(graph("f32 2", "f32 2", nodes), 13).write();
    match read(&bytes) {
        Err(GraphError::Cycle { nodes }) => assert_eq!(nodes.len(), count),
        other => panic!("{:?}", other.map(|_| ())),
    }
}

/// A file of 20 bytes must not make anyone reserve exabytes.
#[test]
fn giant_sizes_are_errors() {
    let rows: [(&str, &[i64], &str); 5] = [
        ("overflow", &[1 << 40, 1 << 40], "tensor"),
        ("exabytes", &[1 << 60], "tensor"),
        ("zero hides a giant", &[0, 1 << 62, 1 << 62], "tensor"),
        ("negative", &[-1], "never negative"),
        ("too many axes", &[1; 40], "axes"),
    ];
    let mut wrong = Vec::new();
    for (case, dims, expected) in rows {
        let mut proto = onnx::ModelProto::parse_from_bytes(&cnn().write()).unwrap();
        proto.graph.as_mut().unwrap().initializer[0].dims = dims.to_vec();
        match read(&proto.write_to_bytes().unwrap()) {
            Err(error) if error.to_string().contains(expected) => {}
            other => wrong.push(format!("{case}: {:?}", other.map(|_| ()))),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn giant_results_are_not_computed() {
    let shape = Node::new("ConstantOfShape", &["s"], &["big"]);
    let mut giant = graph("f32 2", "f32 2", vec![shape, Node::new("Add", &["x", "big"], &["y"])]);
    giant.initializers.insert("s".to_owned(), int_tensor(&[1 << 20, 1 << 20, 2]));
    assert!(infer_shapes(&giant, 13, &BTreeMap::new()).is_err(), "the declared output contradicts it");
    giant.outputs[0] = crate::samples::spec("y", "f32 1048576 1048576 2");
    assert_eq!(fold_constants(&mut giant, 13).unwrap(), 0);
    assert_eq!(giant.nodes.len(), 2);
    let conv = Node::new("Conv", &["x", "w"], &["y"]).with("pads", ints(&[i64::MAX; 4]));
    let mut wide = graph("f32 1 1 8 8", "f32 1 2 8 8", vec![conv]);
    wide.initializers.insert("w".to_owned(), crate::samples::float_tensor(&[2, 1, 3, 3]));
    assert!(matches!(infer_shapes(&wide, 13, &BTreeMap::new()), Err(GraphError::Shape { .. })));
}

#[test]
fn every_limit_is_held() {
    let bytes = cnn().write();
    let limits = ReadLimits::default();
    let rows = [
        ReadLimits { bytes_max: bytes.len() as u64 - 1, ..limits },
        ReadLimits { nodes_max: 4, ..limits },
        ReadLimits { initializer_bytes_max: 3 * 32 * 4, ..limits },
        ReadLimits { entries_max: 40, ..limits },
    ];
    for limits in rows {
        assert!(matches!(Model::read(&bytes, &limits), Err(GraphError::Limit { .. })), "{limits:?}");
    }
    assert!(Model::read(&bytes, &ReadLimits { nodes_max: 5, bytes_max: bytes.len() as u64, ..limits }).is_ok());
}

/// Groups nest without lengths: readers that skip them recursively lose their stack.
#[test]
fn a_megabyte_of_group_starts_is_refused() {
    let mut bytes = cnn().write();
    bytes.extend(std::iter::repeat_n(0x9b, 1 << 20));
    assert!(matches!(read(&bytes), Err(GraphError::Malformed { .. })));
}

#[test]
fn deep_subgraphs_are_refused() {
    let mut graph = onnx::GraphProto::default();
    for _ in 0..40 {
        let attribute = onnx::AttributeProto {
            name: "body".to_owned(),
            type_: onnx::attribute_proto::AttributeType::GRAPH.into(),
            g: Some(std::mem::take(&mut graph)).into(),
            ..Default::default()
        };
        let mut node = onnx::NodeProto { op_type: "Loop".to_owned(), ..Default::default() };
        node.attribute.push(attribute);
        graph.node.push(node);
    }
    let mut model = onnx::ModelProto::parse_from_bytes(&cnn().write()).unwrap();
    model.graph.as_mut().unwrap().node.append(&mut graph.node);
    match read(&model.write_to_bytes().unwrap()) {
        Err(GraphError::Limit { what, .. }) => assert!(what.contains("depth"), "{what}"),
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[test]
fn external_data_stays_in_the_folder() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), vec![1; 384]).unwrap();
    let folder = outside.path().join("models");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("short"), vec![1; 383]).unwrap();
    std::os::unix::fs::symlink("../secret", folder.join("link")).unwrap();
    std::os::unix::fs::symlink("..", folder.join("up")).unwrap();
    let absolute = outside.path().join("secret");
    type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str);
    let rows: Vec<Case<'_>> = vec![
        ("parent", vec![("location", "../secret")], "plain relative path"),
        ("inner parent", vec![("location", "sub/../../secret")], "plain relative path"),
        ("absolute", vec![("location", absolute.to_str().unwrap())], "plain relative path"),
        ("backslash", vec![("location", "..\\secret")], "plain relative path"),
        ("link out", vec![("location", "link")], "outside the model's folder"),
        ("folder link out", vec![("location", "up/secret")], "outside the model's folder"),
        ("no name", vec![], "does not name the file"),
        ("not there", vec![("location", "nothing")], "nothing"),
        ("too short", vec![("location", "short")], "the file has 383"),
        ("far offset", vec![("location", "short"), ("offset", "18446744073709551615")], "the file has 383"),
        ("wrong length", vec![("location", "short"), ("length", "12")], "its length is 12 bytes"),
        ("no number", vec![("location", "short"), ("offset", "-1")], "no number"),
        ("a folder", vec![("location", ".")], "plain relative path"),
    ];
    let mut wrong = Vec::new();
    for (case, entries, expected) in rows {
        let path = folder.join("model.onnx");
        std::fs::write(&path, with_external(&cnn(), &entries)).unwrap();
        match Model::read_file(&path, &ReadLimits::default()) {
            Err(error) if error.to_string().contains(expected) => {}
            other => wrong.push(format!("{case}: {:?}", other.map(|_| ()))),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_same_thing_twice_is_refused() {
    let bytes = cnn().write();
    type Change = fn(&mut onnx::GraphProto);
    let rows: [(&str, Change); 2] = [
        ("stands in the graph twice", |graph| graph.initializer.push(graph.initializer[0].clone())),
        ("stands in Conv:c twice", |graph| {
            let again = graph.node[0].attribute[0].clone();
            graph.node[0].attribute.push(again);
        }),
    ];
    for (expected, change) in rows {
        let mut proto = onnx::ModelProto::parse_from_bytes(&bytes).unwrap();
        change(proto.graph.as_mut().unwrap());
        let message = read(&proto.write_to_bytes().unwrap()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let mut two = bytes.clone();
    two.extend_from_slice(&bytes);
    assert!(read(&two).unwrap_err().to_string().contains("two graphs"));
}

/// One node of every operator that shapes are known for, with inputs and attributes from outside.
fn any_node() -> impl Strategy<Value = Node> {
    const OPERATORS: [&str; 40] = [
        "Relu",
        "Add",
        "Where",
        "Pow",
        "Softmax",
        "BatchNormalization",
        "LayerNormalization",
        "Conv",
        "ConvInteger",
        "QLinearConv",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "Gemm",
        "MatMul",
        "QLinearMatMul",
        "QuantizeLinear",
        "DequantizeLinear",
        "Flatten",
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Concat",
        "Slice",
        "Pad",
        "Gather",
        "Shape",
        "ConstantOfShape",
        "Expand",
        "Tile",
        "Split",
        "Resize",
        "OneHot",
        "Range",
        "ReduceMean",
        "ArgMax",
        "Cast",
        "Clip",
        "Dropout",
    ];
    const NAMES: [&str; 12] = [
        "axis",
        "axes",
        "pads",
        "strides",
        "kernel_shape",
        "perm",
        "keepdims",
        "group",
        "to",
        "starts",
        "ends",
        "steps",
    ];
    let number = prop_oneof![-3..6i64, Just(i64::MIN), Just(i64::MAX), Just(1 << 40)];
    let value = prop_oneof![
        number.clone().prop_map(Attribute::Int),
        proptest::collection::vec(number, 0..5).prop_map(Attribute::Ints),
    ];
    let attributes = proptest::collection::btree_map(proptest::sample::select(&NAMES[..]), value, 0..5);
    let inputs = proptest::collection::vec(proptest::sample::select(&["x", "a", "b", "i", "j", ""][..]), 0..6);
    (proptest::sample::select(&OPERATORS[..]), inputs, attributes).prop_map(|(operator, inputs, attributes)| {
        let mut node = Node::new(operator, &inputs, &["y"]);
        node.attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        node
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = exercise(&bytes);
        let _ = runtime_graph::read_tensor_proto(&bytes, &ReadLimits::default());
    }

    #[test]
    fn no_damage_to_a_model_panics(damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = cnn().write();
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let _ = exercise(&bytes);
    }

    #[test]
    fn no_node_panics_shapes_or_folding(node in any_node(), numbers in proptest::collection::vec(any::<i64>(), 0..4)) {
        let mut hostile: Graph = graph("f32 N 3 8 8", "f32 N", vec![node]);
        hostile.initializers.insert("a".to_owned(), crate::samples::float_tensor(&[4, 3, 3, 3]));
        hostile.initializers.insert("b".to_owned(), crate::samples::float_tensor(&[4]));
        hostile.initializers.insert("i".to_owned(), int_tensor(&numbers));
        hostile.initializers.insert("j".to_owned(), Tensor::from_i64(vec![], vec![-1]).unwrap());
        let _ = infer_shapes(&hostile, 13, &BTreeMap::new());
        hostile.outputs[0].name = "z".to_owned();
        hostile.nodes.push(Node::new("Identity", &["y"], &["z"]));
        let _ = fold_constants(&mut hostile, 13);
    }
}
