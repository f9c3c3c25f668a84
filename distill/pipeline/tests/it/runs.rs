//! `distill run`, whole.

use std::collections::BTreeMap;

use runtime_artifact::{GoldenSet, open};
use runtime_trust::author::build_root;
use runtime_trust::keyfile::{Protection, seal_key, seal_key_as};
use runtime_trust::{Digest, Role, RoleKeys, Root, SigningKey};

use crate::support::{Folder, RECIPE, ready, stripes, student};

/// A root whose release role is `release`, written as `root.json`.
fn root(folder: &Folder, release: &SigningKey) -> Root {
    let roles: BTreeMap<Role, RoleKeys> = [Role::Root, Role::Targets, Role::Snapshot, Role::Timestamp]
        .into_iter()
        .map(|role| (role, RoleKeys::new(1, [release.public()])))
        .collect();
    let bytes = build_root(1, 4_000_000_000, &roles, &[release]).unwrap();
    folder.write("root.json", &bytes);
    Root::pin(&bytes).unwrap()
}

#[test]
fn a_run_ends_in_a_signed_artifact_that_answers_as_it_was_validated() {
    let folder = ready();
    let release = SigningKey::from_seed(&[7; 32]);
    let root = root(&folder, &release);
    folder.write("release.key", seal_key(&release, "release", b"open sesame").unwrap());
    let args = [
        "run",
        "recipe.toml",
        "--json",
        "--set",
        "artifact.sign_key=release.key",
        "--set",
        "student.control=true",
        "--out",
        "run",
    ];
    let ended = folder.distill_with(&args, &[("CASK_PASSPHRASE", "open sesame")]).expect(0);
    let report = ended.json();
    assert_eq!((&report["schema"], &report["signed"], &report["budget_met"]), (&1.into(), &true.into(), &true.into()));
    let metrics: serde_json::Value = serde_json::from_slice(&folder.read("run/metrics.json")).unwrap();
    for key in ["teacher_accuracy", "student_accuracy", "student_without_teacher_accuracy", "int8_accuracy"] {
        let accuracy = metrics[key].as_f64().unwrap_or_else(|| panic!("{key}: {}", metrics[key]));
        assert!((0.5..=1.0).contains(&accuracy), "{key} {accuracy}");
        assert_eq!(metrics[key], report[key]);
    }
    let sizes =
        [("float_bytes", "student.onnx"), ("int8_bytes", "student.int8.onnx"), ("artifact_bytes", "stripes.cask")];
    for (key, file) in sizes {
        assert_eq!(metrics[key], folder.read(&format!("run/{file}")).len(), "{key}");
    }
    for file in ["teacher.onnx", "recipe.toml", "log.jsonl", "test_outputs.npz"] {
        assert!(!folder.read(&format!("run/{file}")).is_empty(), "{file}");
    }

    let verified = folder.distill(&["verify", "run/stripes.cask", "--root", "root.json", "--json"]).expect(0).json();
    assert_eq!(verified["digest"], metrics["digests"]["artifact"]);
    let artifact = open(&folder.path("run/stripes.cask")).unwrap().verify(&root).unwrap();
    let manifest = artifact.manifest();
    assert_eq!(manifest.provenance.recipe, Some(Digest::of(&folder.read("run/recipe.toml"))));
    assert_eq!(manifest.provenance.teacher, Some(Digest::of(&folder.read("run/teacher.onnx"))));
    assert_eq!(manifest.provenance.data, Some(Digest::of(&folder.read("data.npz"))));
    assert_eq!(manifest.contract.labels, ["row", "column", "diagonal"]);
    let preprocessing = manifest.contract.preprocessing.as_ref().unwrap();
    assert_eq!(preprocessing.scale_e12, [3_921_568_627]); // 16 / 16 / 255
    assert_eq!(artifact.read_file("int8", "model", 1 << 20).unwrap(), folder.read("run/student.int8.onnx"));
    golden_inputs_are_no_test_inputs(
        &folder,
        &GoldenSet::decode(&artifact.read_file("int8", "golden", 1 << 20).unwrap()).unwrap(),
    );
}

fn golden_inputs_are_no_test_inputs(folder: &Folder, golden: &GoldenSet) {
    assert_eq!(golden.cases.len(), 6);
    let mut archive = npyz::npz::NpzArchive::open(folder.path("run/test_outputs.npz")).unwrap();
    let mut read = |name: &str| archive.by_name(name).unwrap().unwrap().into_vec::<f32>().unwrap();
    let (inputs, outputs) = (read("inputs"), read("outputs"));
    assert_eq!((inputs.len() / 64, outputs.len() / 3), (48, 48));
    for case in &golden.cases {
        let input = case.inputs[0].1.as_f32().unwrap();
        assert!(inputs.chunks(64).all(|image| image != input));
    }
}

#[test]
fn the_same_recipe_gives_the_same_bytes_and_another_seed_other_bytes() {
    let folder = ready();
    let run = |out: &str, seed: &str| {
        folder.distill(&["run", "recipe.toml", "--set", seed, "--set", "train.epochs=2", "--out", out]).expect(0);
        ["teacher.onnx", "student.onnx", "student.int8.onnx", "test_outputs.npz"]
            .map(|file| folder.read(&format!("{out}/{file}")))
    };
    let first = run("a", "seed=1");
    assert_eq!(first, run("b", "seed=1"));
    let other = run("c", "seed=2");
    for (a, b) in first.iter().zip(&other) {
        assert_ne!(a, b);
    }
    // The teacher of the second run was the same, so its logits were not computed again.
    let cached =
        |out: &str| String::from_utf8(folder.read(&format!("{out}/log.jsonl"))).unwrap().contains("\"cached\":true");
    assert_eq!([cached("a"), cached("b"), cached("c")], [false, true, false]);
}

#[test]
fn a_budget_that_is_not_met_keeps_the_best_and_seals_nothing() {
    let folder = ready();
    let ended = folder.distill(&[
        "run",
        "recipe.toml",
        "--json",
        "--set",
        "budget.max_bytes=100",
        "--set",
        "train.epochs=1",
        "--out",
        "run",
    ]);
    let report = ended.expect(3).json();
    assert_eq!(report["budget_met"], false);
    assert!(report["quantization"]["broken"][0].as_str().unwrap().contains("at most 100 allowed"), "{report}");
    assert!(report["attempts"].as_u64().unwrap() > 1);
    assert!(folder.read("run/student.int8.onnx").len() > 100);
    assert!(!folder.path("run/stripes.cask").exists());
}

#[test]
fn init_and_run_quantize_a_model_without_labels() {
    let folder = ready();
    let mut data = stripes(120, 2);
    data.y = None;
    data.save(&folder.path("unlabelled.npz"));
    student(&folder, "model.onnx");
    folder.distill(&["init", "model.onnx", "--data", "unlabelled.npz", "--out", "own.toml"]).expect(0);
    folder.distill(&["init", "model.onnx", "--data", "unlabelled.npz", "--out", "own.toml"]).expect(2);
    folder.distill(&["check", "own.toml"]).expect(0);
    let report = folder.distill(&["run", "own.toml", "--json", "--set", "budget.max_drop=20.0"]).expect(0).json();
    assert_eq!((&report["student_accuracy"], &report["signed"]), (&serde_json::Value::Null, &false.into()));
    assert_eq!(report["quantization"]["validation"]["measure"], "agreement");
    assert!(report["int8_agreement"].as_f64().unwrap() > 0.8, "{report}");
    // The student is the file itself, byte for byte.
    assert_eq!(folder.read("own.run/student.onnx"), folder.read("model.onnx"));
    let inspected = folder.distill(&["inspect", "own.run/model.cask", "--json"]).expect(0).json();
    assert_eq!((&inspected["verified"], &inspected["manifest"]["name"]), (&false.into(), &"model".into()));
}

#[test]
fn a_student_file_is_trained_in_place() {
    let folder = ready();
    student(&folder, "model.onnx");
    let recipe = RECIPE.replace("family = \"cnn\"\nchannels = [6, 8]\nhidden = [16]", "model = \"model.onnx\"");
    folder.write("recipe.toml", recipe);
    folder.distill(&["run", "recipe.toml", "--set", "train.epochs=2", "--out", "run"]).expect(0);
    let (before, after) = (folder.read("model.onnx"), folder.read("run/student.onnx"));
    assert_eq!(before.len(), after.len());
    assert_ne!(before, after);
}

#[test]
fn wrong_keys_are_told_before_training() {
    let folder = ready();
    let release = SigningKey::from_seed(&[7; 32]);
    folder.write("release.key", seal_key(&release, "release", b"open sesame").unwrap());
    folder.write("deploy.key", seal_key_as(&release, "deploy", Protection::InsecureUnencrypted).unwrap());
    let run = |key: &str, variables: &[(&str, &str)]| {
        let key = format!("artifact.sign_key={key}");
        folder.distill_with(&["run", "recipe.toml", "--set", &key, "--out", "run"], variables).expect(2).stderr
    };
    assert!(run("release.key", &[("CASK_PASSPHRASE", "wrong")]).contains("wrong passphrase"));
    assert!(run("release.key", &[]).contains("CASK_PASSPHRASE"));
    assert!(run("deploy.key", &[]).contains("only release signs models"));
    assert!(run("none.key", &[]).contains("none.key"));
    assert!(!folder.path("run").exists());
}
