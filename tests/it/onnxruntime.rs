//! The engine `ort` over the ONNX Runtime that the peers bring.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use runtime_engine::{Engine, EngineError, LoadOptions, NumericsClass, Session};
use runtime_engine_ort::{OrtEngine, THREADS_MAX};
use runtime_graph::{Graph, Model, Node};
use runtime_inference::{Engines, ModelFiles, ModelIdentity, Proof, ProofFailure, ProveOptions, prove};
use runtime_tensor::{Dimension, ElementType, NamedTensor, Tensor, TensorSpec};
use serde_json::Value;
use tests::conformance::{conformance, native_models};
use tests::peer;

/// An engine, and a folder with the files that `ort_fixtures.py` writes.
struct Bench {
    engine: OrtEngine,
    library: PathBuf,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(test: &str) -> Option<Self> {
        let (python, library) = peer::onnxruntime(test)?;
        let engine = OrtEngine::open(Some(&library)).expect("the peer's library is new enough");
        let folder = tempfile::tempdir().expect("a temporary folder");
        peer::run_python(&python, "ort_fixtures.py", &[folder.path().to_str().expect("UTF-8")]);
        Some(Self { engine, library, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load(&self, name: &str) -> Box<dyn Session> {
        let bytes = std::fs::read(self.path(name)).expect("a fixture");
        self.engine.load(&bytes, &LoadOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs a program with the library named in the environment, and `environment`; gives code, output and errors.
    fn program(&self, program: &str, args: &[&str], environment: &[(&str, &str)]) -> (i32, Value, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cask-programs"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CASK_")) {
            command.env_remove(name);
        }
        command.env("CASK_ORT_LIBRARY", &self.library).envs(environment.iter().copied());
        command.args(["__program", program]).args(args).arg("--json").current_dir(self.folder.path());
        let output = command.output().expect("the programs start");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = serde_json::from_str(&stdout).unwrap_or(Value::Null);
        (output.status.code().unwrap_or(-1), value, stdout + &String::from_utf8_lossy(&output.stderr))
    }
}

fn row(name: &str, values: &[f32]) -> NamedTensor {
    (name.to_owned(), Tensor::from_f32(vec![values.len()], values.to_vec()).expect("one axis"))
}

#[test]
fn the_engine_ort_conforms() {
    let Some(bench) = Bench::new("the_engine_ort_conforms") else { return };
    for models in native_models() {
        let report = conformance(&bench.engine, &models);
        assert!(report.passed(), "{report}");
    }
    assert!(bench.engine.build().contains(&bench.engine.library().version));
    assert_eq!(bench.engine.library().path, bench.library);
}

#[test]
fn every_element_type_goes_in_and_out() {
    let Some(bench) = Bench::new("every_element_type_goes_in_and_out") else { return };
    let mut session = bench.load("types.onnx");
    let tensor = |element: ElementType| {
        let mut tensor = Tensor::zeros(element, vec![3, 2]).expect("small");
        tensor.bytes_mut().iter_mut().enumerate().for_each(|(at, byte)| *byte = u8::try_from(at % 128).expect("small"));
        (element.name().to_owned(), tensor)
    };
    let inputs: Vec<NamedTensor> = ElementType::all().map(tensor).collect();
    let outputs = session.run(&inputs, &[], None).expect("answers");
    assert_eq!(outputs.len(), ElementType::all().count());
    for ((name, given), (output, found)) in inputs.iter().zip(&outputs) {
        assert_eq!(*output, format!("{name}_out"));
        let mut expected = given.clone();
        if given.element() == ElementType::Bool {
            expected.bytes_mut().iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
        }
        assert_eq!(*found, expected, "{name}");
    }
    let empty: Vec<NamedTensor> = ElementType::all()
        .map(|element| (element.name().to_owned(), Tensor::zeros(element, vec![0, 2]).expect("nothing")))
        .collect();
    assert!(session.run(&empty, &[], None).expect("answers").iter().all(|(_, tensor)| tensor.is_empty()));
}

#[test]
fn a_run_without_an_end_ends_at_its_deadline() {
    let Some(bench) = Bench::new("a_run_without_an_end_ends_at_its_deadline") else { return };
    let mut session = bench.load("loop.onnx");
    let steps =
        |count: i64| vec![("n".to_owned(), Tensor::from_i64(vec![], vec![count]).expect("one")), row("x", &[0.5])];
    for _ in 0..2 {
        // Without the alarm this would take centuries.
        let answer = session.run(&steps(i64::MAX), &[], Some(Instant::now() + Duration::from_millis(50)));
        assert_eq!(answer, Err(EngineError::Deadline));
        let far = Instant::now() + Duration::from_secs(3_600);
        for deadline in [None, Some(far)] {
            assert_eq!(session.run(&steps(3), &[], deadline), Ok(vec![row("y", &[3.5])]), "the session is whole");
        }
    }
}

#[test]
fn what_ort_cannot_honour_is_refused() {
    let Some(bench) = Bench::new("what_ort_cannot_honour_is_refused") else { return };
    let model = std::fs::read(bench.path("rows.onnx")).expect("a fixture");
    let with = |change: &dyn Fn(&mut LoadOptions)| {
        let mut options = LoadOptions::default();
        change(&mut options);
        bench.engine.load(&model, &options).map(|_| ())
    };
    assert!(matches!(with(&|options| options.device = Some("npu".into())), Err(EngineError::NoDevice { .. })));
    for change in [
        &(|options: &mut LoadOptions| options.precision = Some("f16".into())) as &dyn Fn(&mut LoadOptions),
        &|options| options.isa = Some("scalar".into()),
        &|options| options.threads = THREADS_MAX + 1,
    ] {
        assert!(matches!(with(change), Err(EngineError::Unsupported { .. })));
    }
    with(&|options| (options.device, options.threads, options.strict) = (Some("cpu".into()), 2, true)).expect("loads");
    let other = bench.path("libonnxruntime.so");
    std::fs::write(&other, "another").expect("a small file");
    let refused = OrtEngine::open(Some(&other)).map(|_| ());
    assert!(matches!(refused, Err(EngineError::NoLibrary { found, .. }) if found.contains("at work in this process")));
    OrtEngine::open(None).expect("the library at work");
}

#[test]
fn models_that_ort_must_not_see_or_cannot_run_are_named() {
    let Some(bench) = Bench::new("models_that_ort_must_not_see_or_cannot_run_are_named") else { return };
    let load = |bytes: &[u8]| bench.engine.load(bytes, &LoadOptions::default()).map(|_| ());
    // A model with a graph with an initializer "w" whose data_location is EXTERNAL.
    let external = [0x3a, 7, 0x2a, 5, 0x42, 1, b'w', 0x70, 1];
    let refused = load(&external);
    assert!(matches!(&refused, Err(EngineError::BadModel { reason }) if reason.contains("\"w\"")), "{refused:?}");
    let spec =
        |name: &str| TensorSpec { name: name.into(), element: ElementType::F32, shape: vec![Dimension::Fixed(2)] };
    let graph = Graph {
        name: "g".into(),
        nodes: vec![Node::new("Abacus", &["x"], &["y"])],
        inputs: vec![spec("x")],
        outputs: vec![spec("y")],
        ..Graph::default()
    };
    let refused = load(&Model::from_graph(graph, 17).write());
    let reason = match &refused {
        Err(EngineError::BadModel { reason } | EngineError::Unsupported { reason, .. }) => reason.as_str(),
        other => panic!("{other:?}"),
    };
    assert!(reason.contains("Abacus"), "{reason}");
}

#[test]
fn a_session_tells_what_it_holds() {
    let Some(bench) = Bench::new("a_session_tells_what_it_holds") else { return };
    let spec = |name: &str| TensorSpec {
        name: name.into(),
        element: ElementType::F32,
        shape: vec![Dimension::Symbol("batch".into()), Dimension::Fixed(512)],
    };
    let weights = Tensor::from_f32(vec![512, 512], (0..512 * 512).map(|at| at as f32).collect()).expect("1 MiB");
    let graph = Graph {
        name: "g".into(),
        nodes: vec![Node::new("MatMul", &["x", "w"], &["y"])],
        initializers: BTreeMap::from([("w".to_owned(), weights)]),
        inputs: vec![spec("x")],
        outputs: vec![spec("y")],
        ..Graph::default()
    };
    let session = bench.engine.load(&Model::from_graph(graph, 17).write(), &LoadOptions::default()).expect("loads");
    let held = session.resident_bytes();
    assert!((1 << 20..16 << 20).contains(&held), "{held} bytes for 1 MiB of weights");
    assert_eq!((session.coverage().nodes_total, session.coverage().is_whole()), (1, true));
    assert_eq!((session.numerics(), session.inputs()), (NumericsClass::Float, &[spec("x")][..]));
}

/// `float` in a sealed file's form, with one golden case of its own.
fn files(bench: &Bench, exact: bool) -> ModelFiles {
    let case = native_models()[1].fixed.clone();
    let golden = runtime_artifact::GoldenCase { inputs: case.inputs, outputs: case.expected };
    let session = bench.engine.load(&case.bytes, &LoadOptions::default()).expect("loads");
    let numerics = runtime_artifact::Numerics::Tolerance { absolute_e9: 1_000, relative_e9: 1_000 };
    ModelFiles {
        identity: ModelIdentity { artifact: "float".into(), version: "1.0.0".into(), number: 1, digest: String::new() },
        variant_id: "f32".into(),
        model: case.bytes,
        golden: runtime_artifact::GoldenSet { cases: vec![golden] },
        limits: runtime_artifact::Limits { p95_us: 0, memory_bytes: 0 },
        numerics: if exact { runtime_artifact::Numerics::Exact } else { numerics },
        contract: runtime_artifact::Contract {
            inputs: session.inputs().iter().map(Into::into).collect(),
            outputs: session.outputs().iter().map(Into::into).collect(),
            states: Vec::new(),
            labels: Vec::new(),
            preprocessing: None,
            postprocessing: None,
        },
    }
}

#[test]
fn a_model_is_proven_on_both_engines_and_an_exact_one_never_on_ort() {
    let Some(bench) = Bench::new("a_model_is_proven_on_both_engines_and_an_exact_one_never_on_ort") else { return };
    let engines = Engines::standard().with_ort(Some(&bench.library));
    let proof = |exact: bool, order: &[&str]| -> Result<Proof, ProofFailure> {
        let order: Vec<String> = order.iter().map(|name| (*name).to_owned()).collect();
        prove(&files(&bench, exact), &engines, &order, None, &ProveOptions::default())
    };
    let mut passed = proof(false, &[]).expect("a proof").engines;
    passed.sort();
    assert_eq!(passed, ["native", "ort"]);
    assert_eq!(proof(false, &["ort"]).expect("a proof").isa, "onnxruntime");
    assert!(matches!(proof(true, &["ort"]), Err(ProofFailure::NotExact { engine, .. }) if engine == "ort"));
    let missing = Engines::standard().with_ort(Some(Path::new("/nowhere/libonnxruntime.so")));
    let order = ["ort".to_owned(), "native".to_owned()];
    let proof = prove(&files(&bench, false), &missing, &order, None, &ProveOptions::default()).expect("a proof");
    assert_eq!(proof.engines, ["native"], "a missing library leaves the native engine");
}

#[test]
fn the_programs_run_models_on_ort() {
    let Some(bench) = Bench::new("the_programs_run_models_on_ort") else { return };
    let version = &bench.engine.library().version;
    let measure = ["bench", "rows.onnx", "--engine", "ort", "--iterations", "5"];
    let (code, report, text) = bench.program("edge-agent", &measure, &[]);
    assert_eq!((code, &report["engine"]), (0, &"ort".into()), "{text}");
    assert!(report["build"].as_str().expect("a text").contains(version.as_str()), "{report}");
    let (_, native, text) = bench.program("edge-agent", &["bench", "rows.onnx", "--iterations", "5"], &[]);
    assert_eq!(native["output_sha256"], report["output_sha256"], "the same bytes, as nothing is computed: {text}");

    let (_, doctor, text) = bench.program("edge-agent", &["doctor"], &[]);
    let finding = |doctor: &Value| {
        let findings = doctor["findings"].as_array().expect("findings").iter();
        findings.clone().find(|finding| finding["about"] == "onnxruntime").cloned().expect("a finding")
    };
    let found = finding(&doctor);
    assert_eq!(found["health"], "ok", "{text}");
    assert_eq!(found["found"], format!("{version} at {}", bench.library.display()));

    let evaluate = ["evaluate", "rows.onnx", "--data", "rows.npz", "--engine", "ort"];
    let (code, report, text) = bench.program("distill", &evaluate, &[]);
    assert_eq!((code, &report["correct"], &report["engine"]), (0, &3.into(), &"ort".into()), "{text}");
    let (code, _, text) = bench.program("distill", &evaluate, &[("CASK_ISA", "scalar")]);
    assert_eq!(code, 5, "ONNX Runtime takes no such order: {text}");

    let nowhere = [("CASK_ORT_LIBRARY", "/nowhere/libonnxruntime.so")];
    for (program, args) in [("edge-agent", &measure[..]), ("distill", &evaluate)] {
        let (code, _, text) = bench.program(program, args, &nowhere);
        assert_eq!(code, 6, "{program}: {text}");
        assert!(text.contains("/nowhere/libonnxruntime.so") && text.contains("CASK_ORT_LIBRARY"), "{program}: {text}");
    }
    let (code, doctor, _) = bench.program("edge-agent", &["doctor"], &nowhere);
    assert_eq!((code, &finding(&doctor)["health"]), (2, &"problem".into()));
}
