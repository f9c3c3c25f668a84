//! The conformance suite, asked of every engine: ONNX's node tests, quantized operators, real networks.
//!
//! What an engine does not do stands in `NAME.gaps`, and how much of each model its own kernels take in
//! `NAME.coverage`. A new engine is one more test that calls [`conform`].
#![allow(clippy::disallowed_methods)] // The lists are small files of this repository.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use runtime_engine::Engine;
use runtime_engine_native::NativeEngine;
use runtime_engine_ort::OrtEngine;
use tests::conformance::{
    Case, ExpectedCoverage, Gaps, ask_all, exactness, hold_to_coverage, hold_to_gaps, node_cases, onnx_test_data,
    posed, quantized_cases, real_cases, real_models,
};
use tests::peer;

/// Node tests that tract alone answers, measured with every input but the first frozen.
const NODE_PASSED_MIN: usize = 1188;

/// Node tests of quantization to 8 bits, every one of which the native engine answers: names that begin so.
const QUANTIZATION: [&str; 7] = [
    "node/quantizelinear",
    "node/dequantizelinear",
    "node/qlinearconv",
    "node/qlinearmatmul",
    "node/convinteger",
    "node/matmulinteger",
    "node/dynamicquantizelinear",
];

/// Quantized operators that regions covered wholly when this was written; the others stand in `native.coverage`.
const EXACT_MIN: usize = 470;

/// Groups of whole networks, and of single operators that quantized regions are made of.
const NETWORKS: [&str; 2] = ["light", "tiny"];
const OPERATORS: [&str; 1] = ["quantized"];

fn list(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance").join(name)
}

/// Every case that this machine can pose; without the Python peers those that are made here.
fn cases(test: &str) -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        let Some(python) = peer::python(test) else { return quantized_cases() };
        // The slowest first, so that neither thread waits long for the other at the end.
        let mut cases = real_cases(&real_models(&python, Path::new(env!("CARGO_TARGET_TMPDIR"))));
        cases.extend(quantized_cases());
        cases.extend(posed(&node_cases(&onnx_test_data(&python))).0);
        cases
    })
}

/// Asks every case of `engine` and holds what came of it to the engine's lists.
fn conform(test: &str, engine: &Arc<dyn Engine>) -> Gaps {
    let answered = ask_all(engine, cases(test));
    let found = ExpectedCoverage::found(&answered, &NETWORKS, &OPERATORS);
    let verdicts = answered.iter().map(|(name, one)| (name.clone(), one.verdict.clone())).collect();
    let gaps = hold_to_gaps(&list(&format!("{}.gaps", engine.name())), &verdicts);
    hold_to_coverage(&list(&format!("{}.coverage", engine.name())), &answered, &found);
    gaps
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
    let gaps = conform("the_native_engine_has_only_the_gaps_that_are_listed", &engine);
    let passed = gaps.total("node").map_or(0, |(passed, _)| passed);
    assert!(passed >= NODE_PASSED_MIN, "{passed} node tests pass; tract alone passes {NODE_PASSED_MIN}");
    let quantized = |name: &&str| QUANTIZATION.iter().any(|start| name.starts_with(start));
    let missing: Vec<&str> = gaps.names().filter(quantized).collect();
    assert!(missing.is_empty(), "8-bit quantization must be whole: {missing:?}");
}

#[test]
fn onnxruntime_has_only_the_gaps_that_are_listed() {
    let test = "onnxruntime_has_only_the_gaps_that_are_listed";
    let Some((_, library)) = peer::onnxruntime(test) else { return };
    let engine = OrtEngine::open(Some(&library)).expect("the peers' library is new enough");
    let engine: Arc<dyn Engine> = Arc::new(engine);
    conform(test, &engine);
}

#[test]
fn exact_answers_are_the_same_bytes_on_every_instruction_set() {
    let cases = cases("exact_answers_are_the_same_bytes_on_every_instruction_set");
    // The scalar kernels would need minutes for the large networks.
    let small = |case: &&Case| case.name.starts_with("quantized/") || case.name.starts_with("tiny/");
    let small: Vec<Case> = cases.iter().filter(small).cloned().collect();
    let found = exactness(&NativeEngine::new(), &small);
    // Past the harness's capture: which sets a machine has is what its run proved.
    let _ = writeln!(std::io::stderr(), "exact models that ran, by instruction set: {:?}", found.cases);
    assert!(found.wrong.is_empty(), "{}", found.wrong.join("\n"));
    let scalar = found.cases.get("scalar").copied().unwrap_or_default();
    assert!(scalar >= EXACT_MIN, "{scalar} models are exact, expected at least {EXACT_MIN}");
    assert!(found.cases.values().all(|&cases| cases == scalar), "{:?}", found.cases);
}
