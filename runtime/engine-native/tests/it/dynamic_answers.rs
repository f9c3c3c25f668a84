//! Dynamically quantized networks of `fixtures` (made by `fixtures/make_dynamic.py`): ONNX Runtime's answers.

use runtime_engine::{Engine, EngineError, LoadOptions, NumericsClass, Session};
use runtime_engine_native::NativeEngine;
use runtime_kernels::Isa;
use runtime_tensor::{NamedTensor, Tensor, Tolerance, compare};

use crate::answers::{fixture, request, whole};

const NETWORKS: [&str; 2] = ["dynamic_convolutions", "dynamic_rows"];
/// ONNX Runtime adds the bias, and scales, in the same order; what is left is how it sums floats.
const CLOSE: Tolerance = Tolerance { absolute: 1e-5, relative: 1e-5 };

fn session(name: &str, isa: Isa, threads: usize) -> Option<Box<dyn Session>> {
    let options = LoadOptions { strict: true, isa: Some(isa.name().into()), threads, ..LoadOptions::default() };
    match NativeEngine::new().load(&fixture(name, "onnx"), &options) {
        Ok(session) => Some(session),
        Err(EngineError::NoDevice { .. }) => None,
        Err(error) => panic!("{name} on {}: {error}", isa.name()),
    }
}

#[test]
fn every_instruction_set_and_number_of_threads_gives_the_same_floats_and_onnx_runtimes() {
    for name in NETWORKS {
        let mut first: Option<Vec<NamedTensor>> = None;
        for isa in Isa::all() {
            for threads in [1, 2] {
                let Some(mut session) = session(name, isa, threads) else { continue };
                assert!(session.coverage().is_whole(), "{name}: {:?}", session.coverage());
                assert_eq!(session.numerics(), NumericsClass::Exact, "{name}");
                let answer = session.run(&request(session.as_ref(), name), &[], None).unwrap();
                let expected = whole(&session.outputs()[0], &fixture(name, "out"));
                let close = compare(&expected, &answer[0].1, CLOSE);
                assert!(close.is_ok(), "{name} on {}: {close:?}", isa.name());
                assert_eq!(first.get_or_insert_with(|| answer.clone()), &answer, "{name} on {}", isa.name());
            }
        }
        assert!(first.is_some(), "the scalar row runs everywhere");
    }
}

#[test]
fn an_answer_does_not_depend_on_the_other_samples_of_its_batch() {
    for name in NETWORKS {
        let Some(mut session) = session(name, Isa::Scalar, 1) else { panic!("the scalar row runs everywhere") };
        let inputs = request(session.as_ref(), name);
        let together = session.run(&inputs, &[], None).unwrap();
        let samples = inputs[0].1.shape()[0];
        for sample in 0..samples {
            let part = |tensor: &Tensor| {
                let length = tensor.bytes().len() / samples;
                let shape = [&[1], &tensor.shape()[1..]].concat();
                Tensor::new(tensor.element(), shape, &tensor.bytes()[sample * length..(sample + 1) * length]).unwrap()
            };
            let alone = session.run(&[(inputs[0].0.clone(), part(&inputs[0].1))], &[], None).unwrap();
            assert_eq!(alone[0].1, part(&together[0].1), "{name}, sample {sample}");
        }
    }
}

#[test]
fn numbers_that_are_none_are_answered_without_a_panic() {
    for name in NETWORKS {
        for isa in Isa::all() {
            let Some(mut session) = session(name, isa, 1) else { continue };
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e-44] {
                let mut inputs = request(session.as_ref(), name);
                let shape = inputs[0].1.shape().to_vec();
                let length = shape.iter().product();
                inputs[0].1 = Tensor::from_f32(shape, vec![value; length]).unwrap();
                session.run(&inputs, &[], None).unwrap();
            }
            // And the session answers as before.
            let answer = session.run(&request(session.as_ref(), name), &[], None).unwrap();
            let expected = whole(&session.outputs()[0], &fixture(name, "out"));
            assert!(compare(&expected, &answer[0].1, CLOSE).is_ok(), "{name} on {}", isa.name());
        }
    }
}
