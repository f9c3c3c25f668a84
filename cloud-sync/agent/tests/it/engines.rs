//! Which engines and instruction sets the program uses, and what it says of them.

use runtime_graph::{Graph, Model, Node};
use runtime_tensor::{Dimension, ElementType, Tensor, TensorSpec};
use serde_json::Value;

use crate::fixture::{MODEL, Spec, artifact};
use crate::program::{Device, command};

/// Runs the program with environment variables; gives code, standard output and errors.
fn with_environment(args: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    let output = command().args(args).envs(environment.iter().copied()).output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// relu(x) on integers: a model that the integer kernels take wholly.
fn quantized_model() -> Vec<u8> {
    let spec = |name: &str| TensorSpec {
        name: name.to_owned(),
        element: ElementType::F32,
        shape: vec![Dimension::Fixed(1), Dimension::Fixed(3)],
    };
    let graph = Graph {
        name: "relu".to_owned(),
        nodes: vec![
            Node::new("QuantizeLinear", &["x", "scale", "zero"], &["x_stored"]),
            Node::new("DequantizeLinear", &["x_stored", "scale", "zero"], &["x_real"]),
            Node::new("Relu", &["x_real"], &["r"]),
            Node::new("QuantizeLinear", &["r", "scale", "zero"], &["y_stored"]),
            Node::new("DequantizeLinear", &["y_stored", "scale", "zero"], &["y"]),
        ],
        initializers: [
            ("scale".to_owned(), Tensor::from_f32(vec![], vec![0.5]).expect("one value")),
            ("zero".to_owned(), Tensor::from_i8(vec![], vec![0]).expect("one value")),
        ]
        .into(),
        inputs: vec![spec("x")],
        outputs: vec![spec("y")],
        ..Graph::default()
    };
    Model::from_graph(graph, 17).write()
}

#[test]
fn the_instruction_set_is_forced_by_the_environment_or_a_flag() {
    let device = Device::enrolled();
    let file = device.write("model.onnx", &quantized_model());
    let bench = ["bench", file.to_str().expect("a path"), "--iterations", "2", "--json"];
    let mut digests = std::collections::BTreeSet::new();
    let mut wrong = Vec::new();
    // Each level that this CPU has is used, and each other one is a missing device.
    for isa in runtime_kernels::Isa::known() {
        let expected = if runtime_kernels::dispatch(isa).is_some() { 0 } else { 6 };
        let flag = [&bench[..], &["--isa", isa.name()]].concat();
        for (code, stdout, stderr) in
            [with_environment(&bench, &[("CASK_ISA", isa.name())]), with_environment(&flag, &[])]
        {
            let value: Value = serde_json::from_str(&stdout).unwrap_or_default();
            if code != expected || (code == 0 && value["isa"] != isa.name()) {
                wrong.push(format!("{}: {code}: {stdout}{stderr}", isa.name()));
            }
            digests.extend(value["output_sha256"].as_str().map(str::to_owned));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(digests.len(), 1, "the same bytes on every level");
    let (code, _, stderr) = with_environment(&["doctor"], &[("CASK_ISA", "abacus")]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("CASK_ISA") && stderr.contains("\"abacus\"") && stderr.contains("scalar"), "{stderr}");
    assert_eq!(with_environment(&[&bench[..], &["--isa", "abacus"]].concat(), &[]).0, 2);
    let (code, stdout, _) = with_environment(&bench, &[("CASK_ISA", "")]);
    let value: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, &value["isa"]), (0, &runtime_kernels::fastest().isa.name().into()), "empty is unset");
}

#[test]
fn doctor_tells_instruction_sets_and_whether_onnxruntime_is_there() {
    let device = Device::enrolled();
    let dir = device.dir();
    let doctor = |environment: &[(&str, &str)]| -> (i32, Value) {
        let args = ["--dir", dir.to_str().expect("a path"), "doctor", "--json"];
        let (code, stdout, stderr) = with_environment(&args, environment);
        (code, serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stderr}")))
    };
    let finding = |value: &Value, about: &str| {
        let mut findings = value["findings"].as_array().expect("findings").iter();
        findings.find(|finding| finding["about"] == about).cloned().unwrap_or_default()
    };
    let (code, value) = doctor(&[("CASK_ORT_LIBRARY", "off")]);
    assert_eq!(code, 0, "{value}");
    let found = finding(&value, "isa")["found"].as_str().expect("a text").to_owned();
    assert!(found.starts_with(runtime_kernels::fastest().isa.name()), "{found}");
    for isa in runtime_kernels::Isa::all().filter(|isa| runtime_kernels::dispatch(*isa).is_some()) {
        assert!(found.contains(isa.name()), "{found}");
    }
    assert!(finding(&value, "onnxruntime")["found"].as_str().is_some_and(|found| found.contains("not looked for")));
    let (_, value) = doctor(&[("CASK_ISA", "scalar"), ("CASK_ORT_LIBRARY", "off")]);
    assert!(finding(&value, "isa")["found"].as_str().is_some_and(|found| found.starts_with("scalar;")), "{value}");
    let (code, value) = doctor(&[("CASK_ORT_LIBRARY", "/nowhere/libonnxruntime.so")]);
    let found = finding(&value, "onnxruntime");
    assert_eq!((code, &found["health"]), (2, &"problem".into()), "{value}");
    assert!(found["found"].as_str().is_some_and(|found| found.contains("/nowhere/libonnxruntime.so")), "{found}");
    assert!(found["next"].as_str().is_some_and(|next| next.contains("native")), "{found}");
}

#[test]
fn a_missing_onnxruntime_leaves_the_native_engine() {
    let device = Device::enrolled();
    let file = device.write("model.cask", &artifact(&Spec::new(MODEL, 1)).cask);
    let dir = device.dir();
    let args = ["--dir", dir.to_str().expect("a path"), "install", file.to_str().expect("a path")];
    let (code, _, stderr) = with_environment(&args, &[("CASK_ORT_LIBRARY", "/nowhere/libonnxruntime.so")]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("ort is left out") && stderr.contains("/nowhere/libonnxruntime.so"), "{stderr}");
    let status = device.json(&["status"]);
    assert_eq!(status["models"][0]["active"]["engine"], "native", "{status}");
}
