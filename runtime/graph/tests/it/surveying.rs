use onnx_protobuf as onnx;
use onnx_protobuf::Message;
use runtime_graph::{GraphError, ReadLimits, Survey, survey};

use crate::reading::with_external;
use crate::samples::cnn;

fn look(bytes: &[u8]) -> Result<Survey, GraphError> {
    survey(bytes, &ReadLimits::default())
}

/// A tensor whose data lies elsewhere.
fn elsewhere(name: &str) -> onnx::TensorProto {
    onnx::TensorProto {
        name: name.to_owned(),
        data_location: onnx::tensor_proto::DataLocation::EXTERNAL.into(),
        ..Default::default()
    }
}

#[test]
fn nodes_of_the_main_graph_are_counted() {
    assert_eq!(look(&cnn().write()).unwrap(), Survey { nodes: 5, external: None });
}

#[test]
fn data_in_other_files_is_found_wherever_a_tensor_may_stand() {
    let file = with_external(&cnn(), &[("location", "weights.bin")]);
    assert_eq!(look(&file).unwrap().external.as_deref(), Some("v"));
    type Change = fn(&mut onnx::ModelProto);
    let rows: [(&str, Change); 6] = [
        ("an initializer", |model| model.graph.as_mut().unwrap().initializer.push(elsewhere("t"))),
        ("a sparse initializer", |model| {
            let sparse = onnx::SparseTensorProto { values: Some(elsewhere("t")).into(), ..Default::default() };
            model.graph.as_mut().unwrap().sparse_initializer.push(sparse);
        }),
        ("an attribute", |model| {
            let attribute = onnx::AttributeProto { t: Some(elsewhere("t")).into(), ..Default::default() };
            model.graph.as_mut().unwrap().node[0].attribute.push(attribute);
        }),
        ("a list in an attribute", |model| {
            let attribute = onnx::AttributeProto { tensors: vec![elsewhere("t")], ..Default::default() };
            model.graph.as_mut().unwrap().node[0].attribute.push(attribute);
        }),
        ("a graph inside a graph", |model| {
            let inner = onnx::GraphProto { initializer: vec![elsewhere("t")], ..Default::default() };
            let attribute = onnx::AttributeProto { g: Some(inner).into(), ..Default::default() };
            model.graph.as_mut().unwrap().node[0].attribute.push(attribute);
        }),
        ("a function", |model| {
            let attribute = onnx::AttributeProto { t: Some(elsewhere("t")).into(), ..Default::default() };
            let node = onnx::NodeProto { attribute: vec![attribute], ..Default::default() };
            model.functions.push(onnx::FunctionProto { node: vec![node], ..Default::default() });
        }),
    ];
    let mut wrong = Vec::new();
    for (place, change) in rows {
        let mut proto = onnx::ModelProto::parse_from_bytes(&cnn().write()).unwrap();
        change(&mut proto);
        let found = look(&proto.write_to_bytes().unwrap());
        match found {
            Ok(Survey { nodes: 5, external: Some(name) }) if name == "t" => {}
            other => wrong.push(format!("{place}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_no_model_or_over_a_limit_is_an_error() {
    let bytes = cnn().write();
    for (what, bytes) in [("nothing", &[][..]), ("zeros", &[0; 64]), ("half", &bytes[..bytes.len() / 2])] {
        assert!(matches!(look(bytes), Err(GraphError::Malformed { .. } | GraphError::Truncated { .. })), "{what}");
    }
    for limits in
        [ReadLimits { bytes_max: 10, ..ReadLimits::default() }, ReadLimits { nodes_max: 4, ..ReadLimits::default() }]
    {
        assert!(matches!(survey(&bytes, &limits), Err(GraphError::Limit { .. })), "{limits:?}");
    }
    let mut inner = onnx::GraphProto::default();
    for _ in 0..ReadLimits::default().nesting_max {
        let attribute = onnx::AttributeProto { g: Some(inner).into(), ..Default::default() };
        let node = onnx::NodeProto { attribute: vec![attribute], ..Default::default() };
        inner = onnx::GraphProto { node: vec![node], ..Default::default() };
    }
    let wrapped = |graph: onnx::GraphProto| {
        onnx::ModelProto { graph: Some(graph).into(), ..Default::default() }.write_to_bytes().unwrap()
    };
    assert!(look(&wrapped(inner.clone())).is_ok());
    let attribute = onnx::AttributeProto { g: Some(inner).into(), ..Default::default() };
    let node = onnx::NodeProto { attribute: vec![attribute], ..Default::default() };
    let deeper = onnx::GraphProto { node: vec![node], ..Default::default() };
    assert!(matches!(look(&wrapped(deeper)), Err(GraphError::Limit { .. })));
}
