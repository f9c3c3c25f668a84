use distill_quantize::{Batches, Bench, CalibrationOptions, QuantizeOptions, calibrate, equalize, quantize};
use runtime_engine::{Engine, LoadOptions};
use runtime_graph::{Attribute, Model, Node};
use runtime_tensor::{Tensor, Tolerance, compare};

use crate::reference::Reference;
use crate::samples::{batches, conv, mixture, model, pool, student, tensor};

fn answers(model: &Model) -> Tensor {
    let batch = batches(1, 4).next().unwrap().unwrap();
    Reference.load(&model.write(), &LoadOptions::default()).unwrap().run(&batch, &[], None).unwrap().remove(0).1
}

fn labels(nodes: &[String]) -> Vec<&str> {
    nodes.iter().map(String::as_str).collect()
}

/// Two convolutions, a depthwise one, a residual and a matrix: everything that factors move through.
fn deep(bound: &str) -> Model {
    let bound = |input: &str, output: &str| match bound {
        "Clip" => Node::new("Clip", &[input, "low", "high"], &[output]),
        other => Node::new(other, &[input], &[output]),
    };
    let nodes = vec![
        conv("x", "w1", "b1", "c1"),
        bound("c1", "r1"),
        conv("r1", "wd", "bd", "c2").with("group", Attribute::Int(6)),
        bound("c2", "r2"),
        conv("r2", "w3", "", "c3"),
        Node::new("Add", &["c3", "r1"], &["s"]),
        pool("MaxPool", "s", "p"),
        Node::new("GlobalAveragePool", &["p"], &["g"]),
        Node::new("Flatten", &["g"], &["f"]),
        Node::new("Gemm", &["f", "w4", "b4"], &["y"]).with("transB", Attribute::Int(1)),
    ];
    let constants = vec![
        ("w1", tensor(1, &[6, 1, 3, 3], 0.5)),
        ("b1", tensor(2, &[6], 0.2)),
        ("wd", tensor(3, &[6, 1, 3, 3], 0.5)),
        ("bd", tensor(4, &[6], 0.2)),
        ("w3", tensor(5, &[6, 6, 3, 3], 0.3)),
        ("w4", tensor(6, &[5, 6], 1.0)),
        ("b4", tensor(7, &[5], 0.2)),
        ("low", Tensor::from_f32(vec![], vec![0.0]).unwrap()),
        ("high", Tensor::from_f32(vec![], vec![6.0]).unwrap()),
    ];
    model(nodes, constants, &[0, 5])
}

/// The same function with channel `i` of what `w1` and `wd` make larger by `factors[i % 3]`.
fn scaled(mut model: Model) -> Model {
    let factor = |channel: usize| [1e3f32, 1.0, 1e-3][channel % 3];
    let mut change = |name: &str, of: &dyn Fn(usize) -> f32| {
        let values = model.graph_mut().initializers.get_mut(name).unwrap().as_f32_mut().unwrap();
        values.iter_mut().enumerate().for_each(|(index, value)| *value *= of(index));
    };
    // r1: made by w1 and w3, read by wd and w4; r2: made by wd, read by w3. Both have the same factors.
    change("w1", &|index| factor(index / 9));
    change("b1", &factor);
    change("bd", &|channel| factor(channel + 1));
    change("wd", &|index| factor(index / 9 + 1) / factor(index / 9));
    change("w3", &|index| factor(index / 54) / factor(index / 9 % 6 + 1));
    change("w4", &|index| 1.0 / factor(index % 6));
    model
}

fn samples() -> Batches<'static> {
    Box::new(batches(3, 4))
}

fn sqnr_db(model: &Model, per_channel: bool) -> f64 {
    let options = QuantizeOptions { per_channel, ..QuantizeOptions::default() };
    let calibration = CalibrationOptions { quantize: options.clone(), ..CalibrationOptions::default() };
    let plan = calibrate(model, &mut samples(), &Reference, &calibration).unwrap();
    let found = quantize(model, &plan, &options).unwrap().model;
    Bench { engine: &Reference, samples: &samples, threads: 1 }.sqnr_db(model, &found).unwrap()
}

#[test]
fn the_function_stays_and_the_channels_become_even() {
    for (name, float) in [("plain", deep("Relu")), ("scaled", scaled(deep("Relu")))] {
        let found = equalize(&float).unwrap();
        let tolerance = Tolerance { absolute: 1e-5, relative: 1e-4 };
        compare(&answers(&float), &answers(&found.model), tolerance).unwrap_or_else(|it| panic!("{name}: {it:?}"));
        let classes: Vec<(Vec<&str>, Vec<&str>)> =
            found.channels.iter().map(|class| (labels(&class.makers), labels(&class.readers))).collect();
        let expected = [(vec!["Conv:c1", "Conv:c3"], vec!["Conv:c2", "Gemm:y"]), (vec!["Conv:c2"], vec!["Conv:c3"])];
        assert_eq!(classes, expected, "{name}");
        assert!(found.channels.iter().all(|class| class.spread_after < 20.0), "{name}: {:?}", found.channels);
        assert!(found.rounds < 40, "{name}: it ends by itself");
    }
    assert!(equalize(&scaled(deep("Relu"))).unwrap().channels[0].spread_before > 1e4);
}

#[test]
fn one_scale_for_all_weights_is_enough_again() {
    let plain = sqnr_db(&deep("Relu"), false);
    let broken = sqnr_db(&scaled(deep("Relu")), false);
    let repaired = sqnr_db(&equalize(&scaled(deep("Relu"))).unwrap().model, false);
    assert!(broken < 10.0 && plain > 25.0, "the example must collapse: {plain} dB, then {broken} dB");
    let even = sqnr_db(&equalize(&deep("Relu")).unwrap().model, false);
    assert!((repaired - even).abs() < 1.0, "equalized {even} dB, scaled and equalized {repaired} dB");
    assert!(repaired > plain - 5.0, "{plain} dB, broken {broken} dB, repaired {repaired} dB");
}

/// ReLU6 bounds a value where its channel's scale says; a factor would move the bound.
#[test]
fn what_is_not_homogeneous_is_left_alone() {
    let found = equalize(&deep("Clip")).unwrap();
    assert!(found.channels.is_empty(), "{:?}", found.channels);
    let found = equalize(&deep("Tanh")).unwrap();
    assert!(found.channels.is_empty(), "{:?}", found.channels);
    for float in [student(), mixture()] {
        let found = equalize(&float).unwrap();
        let tolerance = Tolerance { absolute: 1e-5, relative: 1e-4 };
        compare(&answers(&float), &answers(&found.model), tolerance).unwrap();
    }
}

#[test]
fn channels_that_are_switched_off_stay_off() {
    let mut float = deep("Relu");
    float.graph_mut().initializers.get_mut("w1").unwrap().as_f32_mut().unwrap()[..9].fill(0.0);
    float.graph_mut().initializers.get_mut("wd").unwrap().as_f32_mut().unwrap()[9..18].fill(0.0);
    let found = equalize(&float).unwrap();
    let constants = found.model.graph().initializers.values();
    assert!(constants.filter_map(|tensor| tensor.as_f32().ok()).flatten().all(|value| value.is_finite()));
    let tolerance = Tolerance { absolute: 1e-5, relative: 1e-4 };
    compare(&answers(&float), &answers(&found.model), tolerance).unwrap();
}
