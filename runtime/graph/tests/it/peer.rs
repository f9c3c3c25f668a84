//! What this crate writes means the same to generated code of the same format, and the other way round.

use onnx_protobuf as onnx;
use onnx_protobuf::Message;
use runtime_tensor::{ElementType, Tensor};

use crate::reading::read;
use crate::samples::cnn;

#[test]
fn generated_code_reads_what_we_write() {
    let model = cnn();
    let proto = onnx::ModelProto::parse_from_bytes(&model.write()).unwrap();
    assert_eq!((proto.ir_version, proto.opset_import[0].version), (8, 17));
    assert_eq!(proto.producer_name, "cask");
    let graph = proto.graph.as_ref().unwrap();
    assert_eq!(graph.node.len(), 5);
    assert_eq!(graph.node[0].input, ["x", "w", "b"]);
    assert_eq!(graph.node[0].attribute.iter().find(|found| found.name == "pads").unwrap().ints, [1, 1, 1, 1]);
    let weights = graph.initializer.iter().find(|tensor| tensor.name == "w").unwrap();
    assert_eq!(weights.dims, [2, 1, 3, 3]);
    assert_eq!(weights.raw_data, model.graph().initializers["w"].bytes());
    let shape = &graph.input[0].type_.tensor_type().shape;
    assert_eq!(shape.dim[0].dim_param(), "N");
    assert_eq!(shape.dim[3].dim_value(), 8);
    assert_eq!(graph.value_info[0].name, "r");
}

#[test]
fn the_order_of_fields_does_not_matter() {
    let model = cnn();
    let generated = onnx::ModelProto::parse_from_bytes(&model.write()).unwrap().write_to_bytes().unwrap();
    assert_ne!(generated, model.write(), "generated code orders fields its own way");
    let found = read(&generated).unwrap();
    assert_eq!(found.graph(), model.graph());
    assert_eq!(found.write(), generated);
}

/// ONNX stores numbers in raw bytes or in one of five typed lists.
#[test]
fn every_way_of_storing_numbers_reads_the_same() {
    type Fill = fn(&mut onnx::TensorProto);
    let rows: [(ElementType, Fill, &[u8]); 12] = [
        (ElementType::F32, |t| t.float_data = vec![1.5, -2.0], &[0, 0, 192, 63, 0, 0, 0, 192]),
        (ElementType::F64, |t| t.double_data = vec![1.0], &[0, 0, 0, 0, 0, 0, 240, 63]),
        (ElementType::I64, |t| t.int64_data = vec![-2], &[254, 255, 255, 255, 255, 255, 255, 255]),
        (ElementType::U64, |t| t.uint64_data = vec![u64::MAX], &[255; 8]),
        (ElementType::U32, |t| t.uint64_data = vec![7], &[7, 0, 0, 0]),
        (ElementType::I32, |t| t.int32_data = vec![-1], &[255; 4]),
        (ElementType::I16, |t| t.int32_data = vec![-3], &[253, 255]),
        (ElementType::U16, |t| t.int32_data = vec![65535], &[255, 255]),
        (ElementType::I8, |t| t.int32_data = vec![-128, 127], &[128, 127]),
        (ElementType::U8, |t| t.int32_data = vec![255, 0], &[255, 0]),
        (ElementType::Bool, |t| t.int32_data = vec![1, 0], &[1, 0]),
        (ElementType::F16, |t| t.int32_data = vec![0x3c00], &[0, 0x3c]),
    ];
    let mut wrong = Vec::new();
    for (element, fill, bytes) in rows {
        let mut proto = onnx::ModelProto::parse_from_bytes(&cnn().write()).unwrap();
        let mut tensor =
            onnx::TensorProto { name: "extra".to_owned(), data_type: element.onnx(), ..Default::default() };
        tensor.dims.push((bytes.len() / element.size_bytes()) as i64);
        fill(&mut tensor);
        proto.graph.as_mut().unwrap().initializer.push(tensor);
        let model = read(&proto.write_to_bytes().unwrap()).unwrap();
        let expected = Tensor::new(element, vec![bytes.len() / element.size_bytes()], bytes).unwrap();
        if model.graph().initializers["extra"] != expected {
            wrong.push(element);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
