//! Subcommands without a recipe.

use crate::support::{ready, stripes, student};

#[test]
fn quantize_and_evaluate_a_model() {
    let folder = ready();
    folder.distill(&["run", "recipe.toml", "--out", "run"]).expect(0);
    stripes(90, 5).save(&folder.path("fresh.npz"));
    let scale = ["--scale", "0.0625", "--json"];
    let args =
        ["quantize", "run/student.onnx", "--calibrate", "data.npz", "--out", "own.int8.onnx", "--observer", "mse"];
    let report = folder.distill(&[&args[..], &scale[..]].concat()).expect(0).json();
    assert_eq!(report["int8_bytes"], folder.read("own.int8.onnx").len());
    assert!(report["agreement"].as_f64().unwrap() > 0.9, "{report}");
    assert_eq!(report["numerics"], "exact");
    for model in ["run/student.onnx", "own.int8.onnx"] {
        let args = ["evaluate", model, "--data", "fresh.npz"];
        let report = folder.distill(&[&args[..], &scale[..]].concat()).expect(0).json();
        assert_eq!((&report["samples"], &report["engine"]), (&90.into(), &"native".into()));
        assert!(report["accuracy"].as_f64().unwrap() > 0.7, "{model}: {report}");
        assert_eq!(report["classes"].as_array().unwrap().len(), 3);
    }
    let ended = folder.distill(&["evaluate", "own.int8.onnx", "--data", "fresh.npz", "--engine", "abacus"]).expect(5);
    assert!(ended.stderr.contains("expected one of native"), "{}", ended.stderr);
}

#[test]
fn the_instruction_set_is_forced_by_the_environment() {
    let folder = ready();
    student(&folder, "model.onnx");
    stripes(30, 5).save(&folder.path("data.npz"));
    let args = ["evaluate", "model.onnx", "--data", "data.npz", "--json"];
    for isa in runtime_kernels::Isa::all() {
        let expected = if runtime_kernels::dispatch(isa).is_some() { 0 } else { 6 };
        folder.distill_with(&args, &[("CASK_ISA", isa.name())]).expect(expected);
    }
    let ended = folder.distill_with(&args, &[("CASK_ISA", "abacus")]).expect(2);
    let text = ended.stdout + &ended.stderr;
    assert!(text.contains("CASK_ISA") && text.contains("abacus") && text.contains("scalar"), "{text}");
}

#[test]
fn a_missing_onnxruntime_is_a_missing_device() {
    let folder = ready();
    student(&folder, "model.onnx");
    let missing = ["--engine", "ort", "--ort-library", "/nowhere/libonnxruntime.so"];
    let ended = folder.distill(&[&["evaluate", "model.onnx", "--data", "data.npz"], &missing[..]].concat()).expect(6);
    assert!(ended.stderr.contains("/nowhere/libonnxruntime.so"), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: --ort-library"), "{}", ended.stderr);
}

#[test]
fn evaluation_needs_labels_that_fit() {
    let folder = ready();
    student(&folder, "model.onnx");
    let mut data = stripes(30, 5);
    data.y.as_mut().unwrap()[4] = 9;
    data.save(&folder.path("wrong.npz"));
    let ended = folder.distill(&["evaluate", "model.onnx", "--data", "wrong.npz"]).expect(2);
    assert!(ended.stderr.contains("found label 9 at sample 4"), "{}", ended.stderr);
    data.y = None;
    data.save(&folder.path("wrong.npz"));
    let ended = folder.distill(&["evaluate", "model.onnx", "--data", "wrong.npz"]).expect(2);
    assert!(ended.stderr.contains("no array `y`"), "{}", ended.stderr);
}

#[test]
fn help_and_completions_go_to_standard_output() {
    let folder = ready();
    let help = folder.distill(&["run", "--help"]).expect(0);
    assert!(help.stdout.contains("Example: distill run recipe.toml") && help.stderr.is_empty());
    for shell in ["bash", "zsh", "fish"] {
        let script = folder.distill(&["completions", shell]).expect(0).stdout;
        assert!(script.contains("evaluate"), "{shell}");
    }
    folder.distill(&["no-such-command"]).expect(2);
}
