//! Byte for byte ONNX Runtime's answers, on the networks of `fixtures` (made by `fixtures/make.py`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use runtime_engine::{Engine, LoadOptions, NumericsClass, Session};
use runtime_engine_native::NativeEngine;
use runtime_tensor::{Dimension, NamedTensor, Tensor, TensorSpec};

const NETWORKS: [&str; 6] = ["vision_u8", "vision_s8", "residual", "linear", "series", "operators"];

pub(crate) fn fixture(name: &str, ending: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read(folder.join(format!("{name}.{ending}"))).unwrap()
}

fn session(name: &str) -> Box<dyn Session> {
    let options = LoadOptions { strict: true, ..LoadOptions::default() };
    NativeEngine::new().load(&fixture(name, "onnx"), &options).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All of `bytes` as a tensor of `spec`, whose batch follows from the length.
pub(crate) fn whole(spec: &TensorSpec, bytes: &[u8]) -> Tensor {
    let one: u64 = spec.shape.iter().map(|size| if let Dimension::Fixed(size) = size { *size } else { 1 }).product();
    let batch = bytes.len() as u64 / (one * spec.element.size_bytes() as u64);
    let symbols = spec.shape.iter().filter_map(|size| match size {
        Dimension::Symbol(symbol) => Some((symbol.clone(), batch)),
        Dimension::Fixed(_) => None,
    });
    let bindings: BTreeMap<String, u64> = symbols.collect();
    Tensor::new(spec.element, spec.bound_shape(&bindings).unwrap(), bytes).unwrap()
}

pub(crate) fn request(session: &dyn Session, name: &str) -> Vec<NamedTensor> {
    let [spec] = session.inputs() else { panic!("{name} has one input") };
    vec![(spec.name.clone(), whole(spec, &fixture(name, "in")))]
}

#[test]
fn every_network_answers_as_onnx_runtime() {
    let mut wrong = Vec::new();
    for name in NETWORKS {
        let mut session = session(name);
        assert_eq!(session.numerics(), NumericsClass::Exact, "{name}");
        assert!(session.coverage().is_whole(), "{name}");
        let inputs = request(session.as_ref(), name);
        let answer = session.run(&inputs, &[], None).unwrap();
        let expected = fixture(name, "out");
        let found = answer[0].1.bytes();
        let different = found.iter().zip(&expected).filter(|(found, expected)| found != expected).count();
        if found.len() != expected.len() || different > 0 {
            wrong.push(format!("{name}: {different} of {} bytes, {} expected", found.len(), expected.len()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_sample_is_answered_alike_alone_and_in_a_batch() {
    for name in NETWORKS.into_iter().filter(|name| *name != "vision_s8") {
        let mut session = session(name);
        let inputs = request(session.as_ref(), name);
        let together = session.run(&inputs, &[], None).unwrap();
        let samples = inputs[0].1.shape()[0];
        assert!(samples > 1, "{name}");
        for sample in 0..samples {
            let part = |tensor: &Tensor| {
                let length = tensor.bytes().len() / samples;
                let mut shape = tensor.shape().to_vec();
                shape[0] = 1;
                Tensor::new(tensor.element(), shape, &tensor.bytes()[sample * length..(sample + 1) * length]).unwrap()
            };
            let alone = session.run(&[(inputs[0].0.clone(), part(&inputs[0].1))], &[], None).unwrap();
            assert_eq!(alone[0].1, part(&together[0].1), "{name}, sample {sample}");
        }
        assert_eq!(session.run(&inputs, &[], None).unwrap(), together, "{name}");
    }
}

#[test]
fn no_memory_is_taken_after_the_first_run() {
    for name in NETWORKS {
        let mut session = session(name);
        let inputs = request(session.as_ref(), name);
        session.run(&inputs, &[], None).unwrap();
        let after_one = session.resident_bytes();
        session.run(&inputs, &[], None).unwrap();
        assert_eq!(session.resident_bytes(), after_one, "{name}");
    }
}
