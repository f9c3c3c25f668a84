use distill_quantize::{Activation, CalibrationOptions, ObserverKind, QuantizeOptions, calibrate, quantize};
use runtime_engine::{Engine, LoadOptions};
use runtime_graph::Model;
use runtime_tensor::Tensor;

use crate::reference::Reference;
use crate::samples::{batches, mixture, student, tensor};

fn answers(model: &Model, images: &Tensor) -> Tensor {
    let mut session = Reference.load(&model.write(), &LoadOptions::default()).unwrap();
    session.run(&[("x".to_owned(), images.clone())], &[], None).unwrap().remove(0).1
}

/// Error power over signal power, both without the mean, in decibels.
fn noise_db(float: &Tensor, integer: &Tensor) -> f64 {
    let (float, integer) = (float.as_f32().unwrap(), integer.as_f32().unwrap());
    let mean = float.iter().map(|&value| f64::from(value)).sum::<f64>() / float.len() as f64;
    let signal: f64 = float.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum();
    let error: f64 = float.iter().zip(integer).map(|(&a, &b)| f64::from(a - b).powi(2)).sum();
    10.0 * (error / signal).log10()
}

/// Integer answers are the float ones within the noise of 8 bits, whatever is chosen.
#[test]
fn integers_answer_like_floats() {
    let images = tensor(77, &[40, 1, 8, 8], 1.0);
    let mut wrong = Vec::new();
    for (name, float) in [("student", student()), ("mixture", mixture())] {
        let expected = answers(&float, &images);
        for observer in [ObserverKind::MinMax, ObserverKind::Percentile(0.9999), ObserverKind::SquaredError] {
            for (activation, pair_safe) in [(Activation::U8, false), (Activation::U8, true), (Activation::I8, false)] {
                let options = QuantizeOptions { activation, pair_safe, ..QuantizeOptions::default() };
                let calibration = CalibrationOptions { observer, quantize: options.clone(), threads: 1 };
                let plan = calibrate(&float, &mut batches(6, 8), &Reference, &calibration).unwrap();
                let found = answers(&quantize(&float, &plan, &options).unwrap().model, &images);
                let noise = noise_db(&expected, &found);
                let labels = expected.argmax_last().unwrap().into_iter().zip(found.argmax_last().unwrap());
                let equal = labels.filter(|(float, integer)| float == integer).count();
                if noise > -25.0 || equal < 37 {
                    wrong.push(format!("{name} {observer:?} {activation:?} {pair_safe}: {noise:.1} dB, {equal} of 40"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
