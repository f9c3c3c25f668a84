//! The conformance suite, run for every engine.
#![allow(clippy::disallowed_methods)]
use std::sync::Arc;
use runtime_engine::Engine;
use runtime_engine_native::NativeEngine;
use tests::conformance::*;
#[test]
fn scratch() {
    let python = tests::peer::python("x").unwrap();
    let data = onnx_test_data(&python);
    let cases = node_cases(&data);
    let engine: Arc<dyn Engine> = Arc::new(NativeEngine::new());
    let start = std::time::Instant::now();
    let v = ask_all(&engine, &cases);
    let passed = v.values().filter(|v| v.is_ok()).count();
    eprintln!("{passed} of {} in {:?}", v.len(), start.elapsed());
    let mut t = String::new();
    for (n, v) in &v { if let Err(e) = v { t += &format!("{n}\t{}\n", e.replace('\n', " ")); } }
    std::fs::write("/tmp/conf_gaps.txt", t).unwrap();
}
