use std::collections::BTreeMap;

use onnx_protobuf as onnx;
use onnx_protobuf::Message;
use runtime_graph::{Attribute, GraphError, Model, Node, ReadLimits, infer_shapes, read_tensor_proto, unsupported};
use runtime_tensor::Tensor;

use crate::samples::{cnn, float_tensor, graph, spec};

pub(crate) fn read(bytes: &[u8]) -> Result<Model, GraphError> {
    Model::read(bytes, &ReadLimits::default())
}

#[test]
fn a_model_reads_as_it_was_written() {
    let model = cnn();
    let bytes = model.write();
    let found = read(&bytes).unwrap();
    assert_eq!(found.graph(), model.graph());
    assert_eq!(found.opset(), 17);
    assert_eq!(found.inputs(), [spec("x", "f32 N 1 8 8")]);
    assert_eq!(found.outputs(), [spec("y", "f32 N 3")]);
    assert_eq!(found.write(), bytes, "an unchanged model is its own bytes");
    let mut touched = found.clone();
    touched.graph_mut();
    assert_eq!(touched.write(), bytes, "our own form is canonical");
}

#[test]
fn a_tensor_reads_by_itself() {
    let mut proto = onnx::TensorProto::new();
    proto.name = "x".to_owned();
    proto.dims = vec![3];
    proto.data_type = 3;
    proto.int32_data = vec![1, -1, 127];
    let read = |proto: &onnx::TensorProto| {
        read_tensor_proto(&proto.write_to_bytes().unwrap(), &ReadLimits::default()).map_err(|error| error.reason())
    };
    let expected = Tensor::from_i8(vec![3], vec![1, -1, 127]).unwrap();
    assert_eq!(read(&proto), Ok(("x".to_owned(), expected)));
    proto.dims = vec![4];
    assert_eq!(read(&proto), Err("tensor"), "three of four elements");
    proto.data_type = 8;
    assert_eq!(read(&proto), Err("unsupported-element"), "strings");
    let tight = ReadLimits { bytes_max: 3, ..ReadLimits::default() };
    assert_eq!(read_tensor_proto(&[0; 4], &tight).unwrap_err().reason(), "too-large");
}

#[test]
fn every_kind_of_attribute_survives() {
    let node = Node::new("Custom", &["x", "", "x"], &["y", ""])
        .with("int", Attribute::Int(-7))
        .with("zero", Attribute::Int(0))
        .with("float", Attribute::Float(0.25))
        .with("text", Attribute::Text("grün".to_owned()))
        .with("empty", Attribute::Text(String::new()))
        .with("ints", Attribute::Ints(vec![1, -1, i64::MAX]))
        .with("no_ints", Attribute::Ints(vec![]))
        .with("floats", Attribute::Floats(vec![-0.0, f32::INFINITY]))
        .with("texts", Attribute::Texts(vec!["a".to_owned(), String::new()]))
        .with("tensor", Attribute::Tensor(float_tensor(&[2, 3])));
    let model = Model::from_graph(graph("f32 2", "f32 2", vec![Node { domain: "test".to_owned(), ..node }]), 13);
    assert_eq!(read(&model.write()).unwrap().graph(), model.graph());
    let missing = unsupported(model.graph(), &["Conv"]);
    assert_eq!(missing[0].operator, "test.Custom");
    assert!(unsupported(model.graph(), &["test.Custom"]).is_empty());
}

/// What the plain view does not show.
#[test]
fn fields_that_are_not_shown_are_kept_when_the_graph_changes() {
    let mut proto = onnx::ModelProto::parse_from_bytes(&cnn().write()).unwrap();
    proto.doc_string = "about".to_owned();
    proto.model_version = 9;
    let entry = |key: &str| onnx::StringStringEntryProto { key: key.to_owned(), ..Default::default() };
    proto.metadata_props.push(entry("model"));
    let inner = proto.graph.as_mut().unwrap();
    inner.doc_string = "graph".to_owned();
    inner.metadata_props.push(entry("graph"));
    inner.node[0].metadata_props.push(entry("node"));
    inner.node[0].overload = "special".to_owned();
    inner.node[0].special_fields.mut_unknown_fields().add_length_delimited(100, b"future".to_vec());

    let mut model = read(&proto.write_to_bytes().unwrap()).unwrap();
    model.graph_mut().name = "changed".to_owned();
    let mut found = onnx::ModelProto::parse_from_bytes(&model.write()).unwrap();
    assert_eq!(found.graph.name, "changed");
    found.graph.as_mut().unwrap().name = "sample".to_owned();
    assert_eq!(found, proto);
}

#[test]
fn nodes_are_sorted_and_those_in_order_stay() {
    let node = |input: &str, output: &str| Node::new("Relu", &[input], &[output]);
    let shuffled = vec![node("b", "c"), node("x", "a"), node("c", "y"), node("a", "b")];
    let model = Model::from_graph(graph("f32 2", "f32 2", shuffled), 13);
    let order: Vec<String> =
        read(&model.write()).unwrap().graph().nodes.iter().map(|node| node.outputs[0].clone()).collect();
    assert_eq!(order, ["a", "b", "c", "y"]);
}

/// `If` reads `late` only inside its branches: it must still run after the node that makes it.
#[test]
fn what_a_subgraph_captures_orders_its_node() {
    let branch = |read: &str| {
        let mut graph = onnx::GraphProto { name: "branch".to_owned(), ..Default::default() };
        let mut node = onnx::NodeProto { op_type: "Relu".to_owned(), ..Default::default() };
        node.input.push(read.to_owned());
        node.output.push("inner".to_owned());
        graph.node.push(node);
        graph.output.push(onnx::ValueInfoProto { name: "inner".to_owned(), ..Default::default() });
        graph
    };
    let attribute = |name: &str, graph: onnx::GraphProto| onnx::AttributeProto {
        name: name.to_owned(),
        type_: onnx::attribute_proto::AttributeType::GRAPH.into(),
        g: Some(graph).into(),
        ..Default::default()
    };
    let plain = vec![Node::new("If", &["flag"], &["y"]), Node::new("Neg", &["x"], &["late"])];
    let mut base = graph("f32 2", "f32 2", plain);
    base.initializers.insert("flag".to_owned(), Tensor::from_bool(vec![], vec![true]).unwrap());
    let mut proto = onnx::ModelProto::parse_from_bytes(&Model::from_graph(base, 13).write()).unwrap();
    let node = &mut proto.graph.as_mut().unwrap().node[0];
    node.attribute.push(attribute("then_branch", branch("late")));
    node.attribute.push(attribute("else_branch", branch("x")));
    let mut model = read(&proto.write_to_bytes().unwrap()).unwrap();
    assert_eq!(model.graph().nodes[0].operator, "Neg");
    assert_eq!(model.graph().nodes[1].reads().collect::<Vec<_>>(), ["flag", "x", "late"]);
    let readers = runtime_graph::consumers(model.graph());
    assert_eq!(readers["late"], [1]);
    drop(readers);
    model.graph_mut().prune();
    assert_eq!(model.graph().nodes.len(), 2, "a captured value is needed");
    let nested = ReadLimits { nesting_max: 0, ..ReadLimits::default() };
    assert!(matches!(Model::read(&model.write(), &nested), Err(GraphError::Limit { .. })));
}

#[test]
fn old_files_list_initializers_among_the_inputs() {
    let mut proto = onnx::ModelProto::parse_from_bytes(&cnn().write()).unwrap();
    proto.ir_version = 3;
    let weights = onnx::ValueInfoProto { name: "w".to_owned(), ..proto.graph.input[0].clone() };
    proto.graph.as_mut().unwrap().input.push(weights);
    let mut model = read(&proto.write_to_bytes().unwrap()).unwrap();
    assert_eq!(model.inputs().len(), 1);
    model.graph_mut();
    let written = onnx::ModelProto::parse_from_bytes(&model.write()).unwrap();
    assert!(written.ir_version >= 4, "only since version 4 may an initializer be no input");
}

#[test]
fn sizes_that_nobody_named_get_a_symbol_and_outputs_are_completed() {
    let mut proto = onnx::ModelProto::parse_from_bytes(&cnn().write()).unwrap();
    let inner = proto.graph.as_mut().unwrap();
    inner.output[0].type_ = None.into();
    let shape = inner.input[0].type_.as_mut().unwrap().mut_tensor_type().shape.as_mut().unwrap();
    shape.dim[0].value = None;
    let model = read(&proto.write_to_bytes().unwrap()).unwrap();
    assert_eq!(model.inputs(), [spec("x", "f32 x.0 1 8 8")]);
    assert_eq!(model.outputs(), [spec("y", "f32 x.0 3")]);
    let bound = infer_shapes(model.graph(), 17, &BTreeMap::from([("x.0".to_owned(), 5)])).unwrap();
    assert_eq!(bound["y"], spec("y", "f32 5 3"));
    assert_eq!(bound["p"], spec("p", "f32 5 2 4 4"));
}

#[test]
fn external_data_is_read_from_the_models_folder_and_written_inside() {
    let folder = tempfile::tempdir().unwrap();
    let model = cnn();
    let weights = model.graph().initializers["v"].clone();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let mut data = vec![0xee; 16];
    data.extend_from_slice(weights.bytes());
    std::fs::write(folder.path().join("data/weights.bin"), &data).unwrap();
    let bytes = with_external(&model, &[("location", "data/weights.bin"), ("offset", "16"), ("length", "384")]);
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, &bytes).unwrap();
    let found = Model::read_file(&path, &ReadLimits::default()).unwrap();
    assert_eq!(found.graph(), model.graph());
    assert_eq!(read(&found.write()).unwrap().graph(), model.graph(), "one file with all data inside");
    assert!(matches!(read(&bytes), Err(GraphError::ExternalData { .. })), "bytes have no folder");
    let tight = ReadLimits { initializer_bytes_max: 400, ..ReadLimits::default() };
    assert!(matches!(Model::read_file(&path, &tight), Err(GraphError::Limit { .. })));
}

/// The model with the data of `v` said to lie elsewhere.
pub(crate) fn with_external(model: &Model, entries: &[(&str, &str)]) -> Vec<u8> {
    let mut proto = onnx::ModelProto::parse_from_bytes(&model.write()).unwrap();
    let tensors = &mut proto.graph.as_mut().unwrap().initializer;
    let tensor = tensors.iter_mut().find(|tensor| tensor.name == "v").unwrap();
    tensor.raw_data.clear();
    tensor.data_location = onnx::tensor_proto::DataLocation::EXTERNAL.into();
    for (key, value) in entries {
        let entry =
            onnx::StringStringEntryProto { key: key.to_string(), value: value.to_string(), ..Default::default() };
        tensor.external_data.push(entry);
    }
    proto.write_to_bytes().unwrap()
}
