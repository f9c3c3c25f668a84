//! Model files for the test engine.

use std::sync::Arc;

use runtime_artifact::{Contract, GoldenCase, GoldenSet, Limits, Numerics, StatePair};
use runtime_engine::testing::TestModel;
use runtime_inference::{InferRequest, ModelFiles, ModelIdentity, ServedModel};
use runtime_tensor::{NamedTensor, Tensor};

pub(crate) fn floats(name: &str, shape: &[usize], values: &[f32]) -> NamedTensor {
    (name.to_owned(), Tensor::from_f32(shape.to_vec(), values.to_vec()).unwrap())
}

/// y = 2 x + 1 over four floats, as version `number`, with one right golden case and no limits.
pub(crate) fn affine(number: u64) -> ModelFiles {
    ModelFiles {
        identity: ModelIdentity {
            artifact: "digits".into(),
            version: format!("{number}.0.0"),
            number,
            digest: format!("{number:064x}"),
        },
        variant_id: "int8".into(),
        model: TestModel::Affine.bytes(),
        golden: GoldenSet {
            cases: vec![GoldenCase {
                inputs: vec![floats("x", &[1, 4], &[0.0, 1.0, 2.0, 3.0])],
                outputs: vec![floats("y", &[1, 4], &[1.0, 3.0, 5.0, 7.0])],
            }],
        },
        limits: Limits { p95_us: 0, memory_bytes: 0 },
        numerics: Numerics::Exact,
        contract: Contract {
            inputs: Vec::new(),
            outputs: Vec::new(),
            states: Vec::new(),
            labels: Vec::new(),
            preprocessing: None,
            postprocessing: None,
        },
    }
}

/// y = x + state, with the state in the contract.
pub(crate) fn accumulate() -> ModelFiles {
    let mut files = affine(1);
    files.model = TestModel::Accumulate.bytes();
    files.contract.states = vec![StatePair { input: "state_in".into(), output: "state_out".into() }];
    files.golden.cases = vec![GoldenCase {
        inputs: vec![floats("x", &[1, 2], &[1.0, 2.0]), floats("state_in", &[1, 2], &[10.0, 10.0])],
        outputs: vec![floats("y", &[1, 2], &[11.0, 12.0]), floats("state_out", &[1, 2], &[11.0, 12.0])],
    }];
    files
}

pub(crate) fn on(files: ModelFiles, engines: &[&str]) -> ServedModel {
    ServedModel { files: Arc::new(files), engines: engines.iter().map(|name| (*name).to_owned()).collect() }
}

/// A request for `model` whose right answer is 1, 3, 5, 7.
pub(crate) fn request(model: &str) -> InferRequest {
    InferRequest {
        model: model.into(),
        inputs: vec![floats("x", &[1, 4], &[0.0, 1.0, 2.0, 3.0])],
        ..InferRequest::default()
    }
}
