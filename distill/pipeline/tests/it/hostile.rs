//! Bad data and bad models: a clear message, the right exit code, nothing lost.
#![allow(clippy::disallowed_methods)]

use runtime_graph::{Graph, Model, Node};
use runtime_tensor::{Dimension, ElementType, Tensor, TensorSpec};

use crate::support::{Arrays, Folder, RECIPE, ready, stripes, student};

#[test]
fn bad_data_is_named() {
    let with = |change: &dyn Fn(&mut Arrays)| {
        let mut arrays = stripes(240, 1);
        change(&mut arrays);
        arrays
    };
    let labels = |change: &dyn Fn(&mut Vec<i64>)| with(&|arrays| change(arrays.y.as_mut().unwrap()));
    let rows: Vec<(&str, Arrays)> = vec![
        (
            "found NaN in sample 3",
            with(&|arrays| arrays.x.iter_mut().skip(3 * 64 + 5).take(1).for_each(|x| *x = f32::NAN)),
        ),
        ("found inf", with(&|arrays| arrays.x[0] = f32::INFINITY)),
        ("expected 0 to 2", labels(&|y| y[7] = 3)),
        ("expected 0 or more", labels(&|y| y[7] = -1)),
        ("found no sample of class [1]", labels(&|y| y.iter_mut().for_each(|label| *label -= i64::from(*label == 1)))),
        ("expected [240]", labels(&|y| y.truncate(239))),
        ("expected [samples, ...]", with(&|arrays| arrays.shape = vec![240 * 64])),
        ("[channels, height, width]", with(&|arrays| arrays.shape = vec![240, 64])),
    ];
    let folder = ready();
    let mut wrong = Vec::new();
    for (expected, arrays) in rows {
        arrays.save(&folder.path("data.npz"));
        for command in ["check", "run"] {
            let ended = folder.distill(&[command, "recipe.toml"]);
            if ended.code != 2 || !ended.stderr.contains(expected) {
                wrong.push(format!("{command}, {expected}: exit {}, {}", ended.code, ended.stderr));
            }
        }
    }
    folder.write("data.npz", b"no archive");
    let ended = folder.distill(&["check", "recipe.toml"]).expect(2);
    assert!(ended.stderr.contains("numpy.savez"), "{}", ended.stderr);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn samples_take_the_shape_that_the_recipe_gives() {
    let folder = ready();
    let mut flat = stripes(240, 1);
    flat.shape = vec![240, 64];
    flat.save(&folder.path("data.npz"));
    folder.distill(&["check", "recipe.toml", "--set", "data.shape=[1, 8, 8]"]).expect(0);
    let ended = folder.distill(&["check", "recipe.toml", "--set", "data.shape=[1, 8, 9]"]).expect(2);
    assert!(ended.stderr.contains("which cannot become [1, 8, 9]"), "{}", ended.stderr);
    student(&folder, "model.onnx");
    folder.distill(&["evaluate", "model.onnx", "--data", "data.npz", "--shape", "1,8,8"]).expect(0);
    folder.distill(&["evaluate", "model.onnx", "--data", "data.npz"]).expect(2);
}

#[test]
fn samples_in_two_parts_are_leakage() {
    let folder = ready();
    stripes(60, 9).save(&folder.path("test.npz"));
    folder.distill(&["check", "recipe.toml", "--set", "data.test=test.npz"]).expect(0);
    let mut shared = stripes(60, 9);
    shared.x[..64].copy_from_slice(&stripes(240, 1).x[64 * 30..64 * 31]);
    shared.save(&folder.path("test.npz"));
    let ended = folder.distill(&["check", "recipe.toml", "--set", "data.test=test.npz"]).expect(2);
    assert!(ended.stderr.contains("found 1 samples that also stand in"), "{}", ended.stderr);
    // The same sample in a calibration file.
    shared.save(&folder.path("calibration.npz"));
    let settings = ["--set", "data.calibration=calibration.npz", "--set", "data.file=test.npz"];
    let ended = folder.distill(&[&["check", "recipe.toml"], &settings[..]].concat()).expect(2);
    assert!(ended.stderr.contains("also stand in calibration"), "{}", ended.stderr);
}

/// A classifier of 8 x 8 images with a node that only `operator` explains.
fn odd_model(folder: &Folder, operator: &str) {
    let batch = || Dimension::Symbol("batch".to_owned());
    let spec = |name: &str, shape| TensorSpec { name: name.to_owned(), element: ElementType::F32, shape };
    let fixed =
        |sizes: &[u64]| std::iter::once(batch()).chain(sizes.iter().map(|size| Dimension::Fixed(*size))).collect();
    let graph = Graph {
        name: "odd".to_owned(),
        nodes: vec![
            Node::new("Flatten", &["input"], &["flat"]),
            Node::new(operator, &["flat"], &["odd"]),
            Node::new("MatMul", &["odd", "weight"], &["output"]),
        ],
        initializers: [("weight".to_owned(), Tensor::from_f32(vec![64, 3], vec![0.01; 192]).unwrap())].into(),
        inputs: vec![spec("input", fixed(&[1, 8, 8]))],
        outputs: vec![spec("output", fixed(&[3]))],
        ..Graph::default()
    };
    folder.write("model.onnx", Model::from_graph(graph, 17).write());
}

#[test]
fn models_that_cannot_be_taken_are_named() {
    let folder = ready();
    folder.write(
        "recipe.toml",
        RECIPE.replace("family = \"cnn\"\nchannels = [6, 8]\nhidden = [16]", "model = \"model.onnx\""),
    );
    let check = |code: i32, expected: &str| {
        let ended = folder.distill(&["check", "recipe.toml"]).expect(code);
        assert!(ended.stderr.contains(expected), "{expected}: {}", ended.stderr);
    };
    odd_model(&folder, "Erf");
    check(5, "Erf");
    odd_model(&folder, "NoSuchOperator");
    check(5, "NoSuchOperator");
    student(&folder, "model.onnx");
    check(0, "");
    let whole = folder.read("model.onnx");
    folder.write("model.onnx", &whole[..whole.len() / 2]);
    check(2, "model.onnx");
    folder.write("model.onnx", b"");
    check(2, "model.onnx");
    std::fs::remove_file(folder.path("model.onnx")).unwrap();
    check(2, "model.onnx");
}

#[test]
fn damaged_artifacts_are_not_trusted() {
    let folder = ready();
    student(&folder, "model.onnx");
    let pack = [
        "pack",
        "model.onnx",
        "--name",
        "m",
        "--artifact-version",
        "1.0.0",
        "--number",
        "1",
        "--data",
        "data.npz",
        "--precision",
        "f32",
    ];
    folder.distill(&pack).expect(0);
    let whole = folder.read("m.cask");
    folder.distill(&["inspect", "m.cask"]).expect(0);
    folder.write("short.cask", &whole[..whole.len() - 1]);
    folder.distill(&["inspect", "short.cask"]).expect(4);
    folder.write("text.cask", b"hello");
    folder.distill(&["inspect", "text.cask"]).expect(4);
    folder.write("root.json", b"{}");
    let ended = folder.distill(&["verify", "m.cask", "--root", "root.json"]).expect(4);
    assert!(ended.stderr.contains("root.json"), "{}", ended.stderr);
}
