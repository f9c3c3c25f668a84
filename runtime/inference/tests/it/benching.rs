//! What a bench reports.

use std::collections::BTreeMap;

use runtime_engine::testing::{TestEngine, TestModel};
use runtime_engine::{EngineError, NumericsClass};
use runtime_inference::{BenchOptions, bench};

#[test]
fn a_bench_counts_its_runs_and_names_its_answers() {
    let engine = TestEngine::new("a");
    let options = BenchOptions { iterations: 20, ..BenchOptions::default() };
    let report = bench(&engine, &TestModel::RowSum.bytes(), &options).unwrap();
    assert_eq!((report.engine.as_str(), report.isa.as_str(), report.iterations), ("a", "scalar", 20));
    // Eight sets of inputs for the digest, then the measured runs.
    assert_eq!(engine.faults().runs(), 28);
    assert!(report.median_us <= report.p95_us);
    assert_eq!(report.numerics, NumericsClass::Exact);
    let again = bench(&engine, &TestModel::RowSum.bytes(), &options).unwrap();
    assert_eq!(report.output_sha256, again.output_sha256);
    let seeded = BenchOptions { seed: 100, ..options.clone() };
    assert_ne!(bench(&engine, &TestModel::RowSum.bytes(), &seeded).unwrap().output_sha256, report.output_sha256);
    let batch = BenchOptions { bindings: BTreeMap::from([("batch".to_owned(), 5)]), ..options };
    assert_ne!(bench(&engine, &TestModel::RowSum.bytes(), &batch).unwrap().output_sha256, report.output_sha256);
}

#[test]
fn a_bad_model_is_an_error() {
    let refused = bench(&TestEngine::new("a"), b"nothing", &BenchOptions::default());
    assert!(matches!(refused, Err(EngineError::BadModel { .. })), "{refused:?}");
}
