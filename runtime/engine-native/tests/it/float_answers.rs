//! ONNX Runtime's answers within a tolerance, on the float networks of `fixtures` (made by `fixtures/make_floats.py`).

use runtime_engine::{Engine, EngineError, LoadOptions, NumericsClass, Session};
use runtime_engine_native::NativeEngine;
use runtime_tensor::{Tensor, Tolerance, compare};

use crate::answers::{fixture, request, whole};

const NETWORKS: [&str; 2] = ["float_convolutions", "float_transformer"];
const CLOSE: Tolerance = Tolerance { absolute: 2e-5, relative: 2e-5 };

/// Whether this CPU has the instruction set.
fn is_here(isa: &str) -> bool {
    runtime_kernels::Isa::from_name(isa).and_then(runtime_kernels::dispatch).is_some()
}

/// `None` where this CPU lacks the instruction set.
fn session(name: &str, isa: Option<&str>, threads: usize) -> Option<Box<dyn Session>> {
    let options = LoadOptions { strict: true, isa: isa.map(str::to_owned), threads, ..LoadOptions::default() };
    match NativeEngine::new().load(&fixture(name, "onnx"), &options) {
        Ok(session) => Some(session),
        // Another architecture's, or one that this CPU lacks.
        Err(EngineError::Unsupported { .. } | EngineError::NoDevice { .. }) if isa.is_some_and(|isa| !is_here(isa)) => {
            None
        }
        Err(error) => panic!("{name}: {error}"),
    }
}

#[test]
fn every_float_network_answers_nearly_as_onnx_runtime() {
    let mut wrong = Vec::new();
    let mut ran = 0;
    for name in NETWORKS {
        for isa in ["scalar", "avx2", "avxvnni", "avx512vnni"] {
            for threads in [1, 2] {
                let Some(mut session) = session(name, Some(isa), threads) else { continue };
                ran += 1;
                assert_eq!(session.numerics(), NumericsClass::Float, "{name}");
                assert!(session.coverage().is_whole(), "{name}: {:?}", session.coverage());
                assert_eq!(session.isa(), isa);
                let expected = whole(&session.outputs()[0], &fixture(name, "out"));
                let inputs = request(session.as_ref(), name);
                let answer = session.run(&inputs, &[], None).unwrap();
                if let Err(far) = compare(&expected, &answer[0].1, CLOSE) {
                    wrong.push(format!("{name} on {isa}, {threads} threads: {far}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(ran >= 4, "the scalar row runs everywhere");
}

#[test]
fn a_sample_of_floats_is_answered_alike_alone_and_in_a_batch() {
    for name in NETWORKS {
        let Some(mut session) = session(name, None, 1) else { panic!("{name}: the fastest row is there") };
        let inputs = request(session.as_ref(), name);
        let together = session.run(&inputs, &[], None).unwrap();
        let after_one = session.resident_bytes();
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
        assert_eq!(session.resident_bytes(), after_one, "{name} takes no memory after its first run");
    }
}
