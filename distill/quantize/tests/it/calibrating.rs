use distill_quantize::{Activation, CalibrationOptions, ObserverKind, QuantizeError, QuantizeOptions, calibrate};
use runtime_graph::Node;
use runtime_tensor::{ElementType, NamedTensor, Tensor};

use crate::reference::Reference;
use crate::samples::{batches, conv, mixture, model, student, tensor};

type Batch = Result<Vec<NamedTensor>, String>;

#[test]
fn the_plan_has_every_tensor_and_the_right_axes() {
    let plan = calibrate(&student(), &mut batches(3, 4), &Reference, &CalibrationOptions::default()).unwrap();
    let names: Vec<&str> = plan.tensors.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["f", "g", "c2", "p1", "r1", "r2", "w1", "w2", "w3", "x", "y"]
            .iter()
            .copied()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
    for name in ["w1", "w2", "w3"] {
        assert_eq!((plan.tensors[name].element, plan.tensors[name].axis), (ElementType::I8, Some(0)), "{name}");
    }
    assert_eq!(plan.tensors["w3"].scales.len(), 10);
    assert_eq!(plan.tensors["r1"], plan.tensors["p1"], "pooling keeps the scale");
    assert_eq!(plan.tensors["g"], plan.tensors["f"], "flattening keeps the scale");
    for name in ["r1", "r2", "g"] {
        assert_eq!(plan.tensors[name].zero_points, [0], "{name} is never negative");
    }
    assert!(plan.tensors["x"].zero_points[0] > 100, "x lies around zero");
}

#[test]
fn ranges_are_those_of_the_samples() {
    let batch = |value: f32| -> Batch {
        Ok(vec![("x".to_owned(), Tensor::from_f32(vec![1, 1, 8, 8], vec![value; 64]).unwrap())])
    };
    let plan = calibrate(
        &student(),
        &mut [batch(-1.0), batch(0.5), batch(1.55)].into_iter(),
        &Reference,
        &CalibrationOptions::default(),
    );
    let found = plan.unwrap().tensors["x"].clone();
    assert!((found.scales[0] - 2.55 / 255.0).abs() < 1e-6);
    assert_eq!(found.zero_points, [100]);
}

#[test]
fn ranges_begin_where_bounds_do() {
    let plan = calibrate(&mixture(), &mut batches(2, 4), &Reference, &CalibrationOptions::default()).unwrap();
    assert_eq!(plan.tensors["rd"].zero_points, [0], "a Relu's range begins at zero, whatever it is joined to");
    assert_ne!(plan.tensors["e"].zero_points, [0]);
    assert_eq!(plan.tensors["w2"].axis, Some(1), "MatMul has its outputs in the columns");
    assert!(plan.tensors["k1"].scales[0] <= 1.0 / 255.0);
}

#[test]
fn the_same_samples_give_the_same_plan() {
    for observer in [ObserverKind::MinMax, ObserverKind::Percentile(0.999), ObserverKind::SquaredError] {
        let quantize = QuantizeOptions { pair_safe: true, activation: Activation::I8, ..QuantizeOptions::default() };
        let options = CalibrationOptions { observer, quantize, threads: 1 };
        let plan =
            |count: u32, size: usize| calibrate(&mixture(), &mut batches(count, size), &Reference, &options).unwrap();
        assert_eq!(plan(3, 2), plan(3, 2), "{observer:?}");
        assert_eq!(plan(3, 2).tensors["x"].element, ElementType::I8);
    }
}

#[test]
fn bad_samples_are_named() {
    let nan: Batch = Ok(vec![("x".to_owned(), Tensor::from_f32(vec![1, 1, 8, 8], vec![f32::NAN; 64]).unwrap())]);
    let wrong: Batch = Ok(vec![("z".to_owned(), tensor(1, &[1, 1, 8, 8], 1.0))]);
    let rows: [(Vec<Batch>, &str); 4] = [
        (vec![], "there are no samples"),
        (vec![Err("disk on fire".to_owned())], "failed to read batch 0: disk on fire"),
        (vec![batches(1, 1).next().unwrap(), nan], "tensor \"x\" holds NaN or infinity in batch 1"),
        (vec![wrong], "z"),
    ];
    for (samples, expected) in rows {
        let error =
            calibrate(&student(), &mut samples.into_iter(), &Reference, &CalibrationOptions::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_model_that_overflows_is_named() {
    let nodes = vec![conv("x", "w", "", "c"), Node::new("Mul", &["c", "c"], &["m"]), conv("m", "v", "", "y")];
    let constants = vec![("w", tensor(1, &[4, 1, 3, 3], 1e30)), ("v", tensor(2, &[4, 4, 3, 3], 1.0))];
    let error = calibrate(
        &model(nodes, constants, &[0, 4, 8, 8]),
        &mut batches(1, 1),
        &Reference,
        &CalibrationOptions::default(),
    );
    assert!(matches!(error, Err(QuantizeError::NotFinite { tensor, batch: 0 }) if tensor == "m" || tensor == "y"));
}

#[test]
fn a_model_without_weights_has_nothing_to_do() {
    let float = model(vec![Node::new("Relu", &["x"], &["y"])], vec![], &[0, 1, 8, 8]);
    let error = calibrate(&float, &mut batches(1, 1), &Reference, &CalibrationOptions::default()).unwrap_err();
    assert!(matches!(error, QuantizeError::NothingToDo { .. }));
}
