//! Quantized transformers as ONNX Runtime's tools write them (`fixtures/make_transformers.py`): covered wholly, exact,
//! and near ONNX Runtime's answers.

use runtime_engine::{Engine, LoadOptions, NumericsClass, Session};
use runtime_engine_native::NativeEngine;
use runtime_kernels::{Isa, dispatch};
use runtime_tensor::Tensor;

use crate::answers::{fixture, request, whole};

const NETWORKS: [&str; 3] = ["transformer_u8", "transformer_s8", "transformer_operators"];

fn session(name: &str, isa: Isa, threads: usize) -> Box<dyn Session> {
    let options = LoadOptions { strict: true, isa: Some(isa.name().into()), threads, ..LoadOptions::default() };
    NativeEngine::new().load(&fixture(name, "onnx"), &options).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn answer(name: &str, isa: Isa, threads: usize) -> Tensor {
    let mut session = session(name, isa, threads);
    assert_eq!(session.numerics(), NumericsClass::Exact, "{name}");
    assert!(session.coverage().is_whole(), "{name}: {:?}", session.coverage());
    let inputs = request(session.as_ref(), name);
    session.run(&inputs, &[], None).unwrap().remove(0).1
}

#[test]
fn every_instruction_set_and_number_of_threads_gives_the_same_bytes() {
    for name in NETWORKS {
        let expected = answer(name, Isa::Scalar, 1);
        for isa in Isa::all().filter(|&isa| dispatch(isa).is_some()) {
            for threads in [1, 3] {
                assert_eq!(answer(name, isa, threads), expected, "{name} on {}, {threads} threads", isa.name());
            }
        }
    }
}

/// Up to the softmax every byte is ONNX Runtime's. Its softmax of bytes is not always the nearest one, and what differs
/// there by one step moves other bytes behind it by a step. A wrong zero point or axis would move everything.
#[test]
fn answers_are_near_those_of_onnx_runtime() {
    for name in NETWORKS {
        let found = answer(name, runtime_kernels::fastest().isa, 1);
        let session = session(name, Isa::Scalar, 1);
        let expected = whole(&session.outputs()[0], &fixture(name, "out"));
        let (found, expected) = (found.as_f32().unwrap(), expected.as_f32().unwrap());
        assert_eq!(found.len(), expected.len());
        let spread = expected.iter().map(|value| value.abs()).fold(0.0, f32::max);
        let errors: Vec<f32> = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).collect();
        let mean = errors.iter().sum::<f32>() / errors.len() as f32;
        let largest = errors.iter().copied().fold(0.0, f32::max);
        assert!(mean < 0.005 * spread && largest < 0.05 * spread, "{name}: mean {mean}, largest {largest} of {spread}");
    }
}
