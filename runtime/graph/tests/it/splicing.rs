use std::collections::BTreeMap;

use onnx_protobuf as onnx;
use onnx_protobuf::Message;
use proptest::prelude::*;
use runtime_graph::{GraphError, Model, tensor_ranges};
use runtime_tensor::Tensor;

use crate::reading::read;
use crate::samples::cnn;

fn replaced(bytes: &[u8], name: &str, tensor: Tensor) -> Result<Vec<u8>, GraphError> {
    Model::replace_initializers(bytes, &BTreeMap::from([(name.to_owned(), tensor)]))
}

#[test]
fn only_the_raw_data_changes() {
    let bytes = cnn().write();
    let new = Tensor::from_f32(vec![3], vec![1.0, 2.0, 3.0]).unwrap();
    let found = replaced(&bytes, "a", new.clone()).unwrap();
    assert_eq!(found.len(), bytes.len());
    let different: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != found[at]).collect();
    // Initializers stand in the order of their names: "a" is the first.
    let range = tensor_ranges(&bytes).unwrap()[0].clone();
    assert!(different.iter().all(|&at| range.contains(&(at as u64))), "{different:?} are not all in {range:?}");
    assert_eq!(read(&found).unwrap().graph().initializers["a"], new);
    let back = replaced(&found, "a", cnn().graph().initializers["a"].clone()).unwrap();
    assert_eq!(back, bytes);
}

#[test]
fn typed_data_becomes_raw_data_and_the_rest_stays() {
    let mut proto = onnx::ModelProto::parse_from_bytes(&cnn().write()).unwrap();
    let tensors = &mut proto.graph.as_mut().unwrap().initializer;
    let tensor = tensors.iter_mut().find(|tensor| tensor.name == "b").unwrap();
    tensor.raw_data.clear();
    tensor.float_data = vec![5.0, 6.0];
    tensor.doc_string = "kept".to_owned();
    let bytes = proto.write_to_bytes().unwrap();
    let new = Tensor::from_f32(vec![2], vec![7.0, 8.0]).unwrap();
    let found = onnx::ModelProto::parse_from_bytes(&replaced(&bytes, "b", new.clone()).unwrap()).unwrap();
    let tensors = &mut proto.graph.as_mut().unwrap().initializer;
    let tensor = tensors.iter_mut().find(|tensor| tensor.name == "b").unwrap();
    tensor.float_data.clear();
    tensor.raw_data = new.bytes().to_vec();
    assert_eq!(found, proto);
}

#[test]
fn a_tensor_that_does_not_fit_is_refused() {
    let bytes = cnn().write();
    let rows = [
        ("nobody", Tensor::from_f32(vec![2], vec![0.0; 2]).unwrap(), "no initializer of this name"),
        ("b", Tensor::from_f32(vec![3], vec![0.0; 3]).unwrap(), "the file has f32[2], the new tensor is f32[3]"),
        ("b", Tensor::from_i32(vec![2], vec![0; 2]).unwrap(), "the file has f32[2], the new tensor is i32[2]"),
    ];
    for (name, tensor, expected) in rows {
        let message = replaced(&bytes, name, tensor).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(Model::replace_initializers(&bytes, &BTreeMap::new()).unwrap(), bytes);
}

#[test]
fn ranges_are_where_the_weights_lie() {
    let model = cnn();
    let bytes = model.write();
    let found: Vec<&[u8]> = tensor_ranges(&bytes)
        .unwrap()
        .into_iter()
        .map(|range| &bytes[range.start as usize..range.end as usize])
        .collect();
    let expected: Vec<&[u8]> = model.graph().initializers.values().map(Tensor::bytes).collect();
    assert_eq!(found, expected);
}

proptest! {
    #[test]
    fn any_new_weights_read_back(values in proptest::collection::vec(any::<u32>(), 18)) {
        let values: Vec<f32> = values.into_iter().map(f32::from_bits).collect();
        let new = Tensor::from_f32(vec![2, 1, 3, 3], values).unwrap();
        let bytes = replaced(&cnn().write(), "w", new.clone()).unwrap();
        let model = read(&bytes).unwrap();
        prop_assert_eq!(&model.graph().initializers["w"], &new);
    }
}
