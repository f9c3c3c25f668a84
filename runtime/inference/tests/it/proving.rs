//! Step 9: every way to fail it, and what a proof says.

use std::sync::Arc;
use std::time::Duration;

use runtime_artifact::{Limits, Numerics};
use runtime_engine::NumericsClass;
use runtime_engine::testing::{Faults, TestEngine};
use runtime_inference::{Engines, ModelFiles, Proof, ProofFailure, ProveOptions, prove};

use crate::model::{accumulate, affine, floats, on};

struct Bench {
    engines: Engines,
    faults: Vec<Arc<Faults>>,
}

/// Engines of these names, and what makes each fail.
fn engines(names: &[&'static str]) -> Bench {
    let made: Vec<TestEngine> = names.iter().map(|name| TestEngine::new(name)).collect();
    let faults = made.iter().map(TestEngine::faults).collect();
    let engines = made.into_iter().fold(Engines::default(), |engines, engine| engines.with(Arc::new(engine)));
    Bench { engines, faults }
}

fn proven(bench: &Bench, files: &ModelFiles) -> Result<Proof, ProofFailure> {
    prove(files, &bench.engines, &[], None, &ProveOptions::default())
}

#[test]
fn a_good_model_is_proven_on_every_engine() {
    let bench = engines(&["a", "b"]);
    let proof = proven(&bench, &affine(1)).unwrap();
    assert_eq!(proof.golden_cases, 1);
    assert_eq!(proof.memory_bytes, 4096);
    assert_eq!((proof.isa.as_str(), proof.numerics), ("scalar", NumericsClass::Exact));
    let mut passed = proof.engines.clone();
    passed.sort();
    assert_eq!(passed, ["a", "b"]);
    assert_eq!(proof.engine, proof.engines[0]);
    // Three rounds of forty runs and the golden case, on each engine.
    assert!(bench.faults.iter().all(|faults| faults.runs() == 121 && faults.loads() == 1));
}

#[test]
fn only_allowed_engines_are_tried() {
    let bench = engines(&["a", "b"]);
    let order = ["b".to_owned(), "unknown".to_owned()];
    let proof = prove(&affine(1), &bench.engines, &order, None, &ProveOptions::default()).unwrap();
    assert_eq!(proof.engines, ["b"]);
    assert_eq!(bench.faults[0].loads(), 0);
    let unknown = prove(&affine(1), &bench.engines, &order[1..], None, &ProveOptions::default()).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "find an engine: this build has a, b, the artifact or the configuration allows unknown"
    );
}

#[test]
fn an_engine_that_fails_leaves_the_others() {
    let bench = engines(&["a", "b"]);
    bench.faults[0].answer_wrong(true);
    assert_eq!(proven(&bench, &affine(1)).unwrap().engines, ["b"]);
}

#[test]
fn every_failure_has_its_reason() {
    let wrong_golden = {
        let mut files = affine(1);
        files.golden.cases[0].outputs[0] = floats("y", &[1, 4], &[1.0, 3.0, 5.0, 8.0]);
        files
    };
    let limited = |limits: Limits| ModelFiles { limits, ..affine(1) };
    type Row = (&'static str, ModelFiles, fn(&Faults), &'static str);
    let rows: Vec<Row> = vec![
        ("golden-mismatch", wrong_golden, |_| {}, "found 7, expected 8 at element 3"),
        ("golden-missing", ModelFiles { golden: Default::default(), ..affine(1) }, |_| {}, "golden set is empty"),
        ("load-failed", ModelFiles { model: vec![1, 2, 3], ..affine(1) }, |_| {}, "test-model NAME"),
        ("load-failed", affine(1), |faults| faults.fail_loads(1), "told to fail this load"),
        ("golden-run", affine(1), |faults| faults.fail_runs(1), "told to fail this run"),
        ("golden-run", affine(1), |faults| faults.panic_runs(1), "told to panic in this run"),
        (
            "memory-limit",
            limited(Limits { p95_us: 0, memory_bytes: 4095 }),
            |_| {},
            "found 4096 bytes, at most 4095 are allowed",
        ),
    ];
    let mut wrong = Vec::new();
    for (reason, files, fault, text) in rows {
        let bench = engines(&["a"]);
        fault(&bench.faults[0]);
        let failure = proven(&bench, &files).unwrap_err();
        if failure.reason() != reason || !failure.to_string().contains(text) {
            wrong.push(format!("{reason}: {} {failure}", failure.reason()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_exact_promise_needs_an_exact_session() {
    let float = Engines::default().with(Arc::new(TestEngine::new("a").with_numerics(NumericsClass::Float)));
    let exact = prove(&affine(1), &float, &[], None, &ProveOptions::default()).unwrap_err();
    assert_eq!(exact.reason(), "not-exact");
    let loose = Numerics::Tolerance { absolute_e9: 1_000_000_001, relative_e9: 0 };
    let mut close = ModelFiles { numerics: loose, ..affine(1) };
    close.golden.cases[0].outputs[0] = floats("y", &[1, 4], &[1.0, 3.0, 5.0, 8.0]);
    assert_eq!(prove(&close, &float, &[], None, &ProveOptions::default()).unwrap().golden_cases, 1);
    close.golden.cases[0].outputs[0] = floats("y", &[1, 4], &[1.0, 3.0, 5.0, 9.0]);
    assert_eq!(prove(&close, &float, &[], None, &ProveOptions::default()).unwrap_err().reason(), "golden-mismatch");
}

#[test]
fn runs_are_held_against_the_limit_and_the_active_model() {
    let bench = engines(&["a"]);
    // No run takes less than a limit of zero microseconds and a share of zero percent allows nothing.
    let strict = ProveOptions { slower_percent_max: 0, slower_us_max: 0, ..ProveOptions::default() };
    let active = on(affine(1), &["a"]);
    match prove(&affine(2), &bench.engines, &[], Some(&active), &strict) {
        // p95 of two fast models may be equal to the microsecond: then neither is slower.
        Err(failure) => assert_eq!(failure.reason(), "slower-than-active"),
        Ok(proof) => assert_eq!(proof.engines, ["a"]),
    }
    let fair = prove(&affine(2), &bench.engines, &[], Some(&active), &ProveOptions::default()).unwrap();
    assert_eq!(fair.engine, "a");
}

#[test]
fn an_active_model_that_fails_is_no_obstacle() {
    let bench = engines(&["a"]);
    let mut broken = affine(1);
    broken.model = vec![0];
    let strict = ProveOptions { slower_percent_max: 0, slower_us_max: 0, ..ProveOptions::default() };
    prove(&affine(2), &bench.engines, &[], Some(&on(broken, &["a"])), &strict).unwrap();
}

#[test]
fn a_proof_ends_in_time() {
    let bench = engines(&["a"]);
    let hurried = ProveOptions { time_max: Duration::ZERO, ..ProveOptions::default() };
    let failure = prove(&affine(1), &bench.engines, &[], None, &hurried).unwrap_err();
    assert_eq!(
        (failure.reason(), failure.to_string().as_str()),
        ("proof-time", "finish the proof on engine a within 0 ms")
    );
}

#[test]
fn a_golden_case_may_name_its_state() {
    assert_eq!(proven(&engines(&["a"]), &accumulate()).unwrap().golden_cases, 1);
}
