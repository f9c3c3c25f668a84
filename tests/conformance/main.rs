//! The conformance suite, run for every engine.
#![allow(clippy::disallowed_methods)] // Gap lists are small files of this repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime_engine::Engine;
use runtime_engine_native::NativeEngine;
use tests::conformance::{Case, ask_all, hold_to_gaps, node_cases, onnx_test_data, posed, quantized_cases};
use tests::peer;

/// Node tests that tract alone answers, measured with every input but the first frozen.
const NODE_PASSED_MIN: usize = 1188;

/// Node tests of 8-bit quantization, all of which the native engine answers: names that begin so.
const QUANTIZATION: [&str; 7] = [
    "node/quantizelinear",
    "node/dequantizelinear",
    "node/qlinearconv",
    "node/qlinearmatmul",
    "node/convinteger",
    "node/matmulinteger",
    "node/dynamicquantizelinear",
];

fn list(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance").join(name)
}

/// Every case that this machine can pose.
fn cases(test: &str) -> Vec<Case> {
    let mut cases = quantized_cases();
    if let Some(python) = peer::python(test) {
        cases.append(&mut posed(&node_cases(&onnx_test_data(&python))).0);
    }
    cases
}

#[test]
fn what_the_suite_cannot_pose_is_listed() {
    let Some(python) = peer::python("what_the_suite_cannot_pose_is_listed") else { return };
    let (_, verdicts) = posed(&node_cases(&onnx_test_data(&python)));
    hold_to_gaps(&list("every.gaps"), &verdicts);
}

#[test]
fn the_native_engine_has_only_the_gaps_that_are_listed() {
    let engine: Arc<dyn Engine> = Arc::new(NativeEngine::new());
    let cases = cases("the_native_engine_has_only_the_gaps_that_are_listed");
    let verdicts = ask_all(&engine, &cases);
    let gaps = hold_to_gaps(&list("native.gaps"), &verdicts);
    let passed = gaps.total("node").map_or(0, |(passed, _)| passed);
    assert!(passed >= NODE_PASSED_MIN, "{passed} node tests pass; tract alone passes {NODE_PASSED_MIN}");
    let quantized = |name: &&str| QUANTIZATION.iter().any(|start| name.starts_with(start));
    let missing: Vec<&str> = gaps.names().filter(quantized).collect();
    assert!(missing.is_empty(), "8-bit quantization must be whole: {missing:?}");
    let _: BTreeMap<String, _> = verdicts;
}
