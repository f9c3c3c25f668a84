use distill_quantize::{
    Batches, Bench, CalibrationOptions, QuantizeOptions, Refined, RoundingOptions, layer_means, observe,
    round_adaptively,
};
use runtime_engine::{Engine, LoadOptions};
use runtime_graph::Model;

use crate::reference::Reference;
use crate::samples::{batches, mixture, student};

fn samples() -> Batches<'static> {
    Box::new(batches(3, 6))
}

fn bench() -> Bench<'static> {
    Bench { engine: &Reference, samples: &samples, threads: 1 }
}

fn coarse(bits: u32) -> QuantizeOptions {
    QuantizeOptions { weight_bits: bits, ..QuantizeOptions::default() }
}

fn seen(model: &Model, options: &QuantizeOptions) -> Refined {
    let options = CalibrationOptions { quantize: options.clone(), ..CalibrationOptions::default() };
    Refined::new(observe(model, &mut samples(), &Reference, &options).unwrap())
}

/// Mean of each output over fresh samples.
fn means(model: &Model) -> Vec<f64> {
    let mut session = Reference.load(&model.write(), &LoadOptions::default()).unwrap();
    let mut sums = Vec::new();
    for batch in samples() {
        let found = session.run(&batch.unwrap(), &[], None).unwrap().remove(0).1;
        let classes = *found.shape().last().unwrap();
        sums.resize(classes, 0.0);
        found.as_f32().unwrap().iter().enumerate().for_each(|(at, value)| sums[at % classes] += f64::from(*value));
    }
    sums
}

#[test]
fn corrected_biases_bring_the_means_back() {
    for (name, float) in [("student", student()), ("mixture", mixture())] {
        let options = coarse(4);
        let mut refined = seen(&float, &options);
        let before = refined.make(&options).unwrap().model;
        refined.means = Some(layer_means(&refined.calibration, &options, &bench()).unwrap());
        let (after, corrections) = refined.make_with_corrections(&options).unwrap();
        let expected = means(&float);
        let distance = |model: &Model| -> f64 {
            means(model).iter().zip(&expected).map(|(found, expected)| (found - expected).powi(2)).sum()
        };
        let (old, new) = (distance(&before), distance(&after.model));
        assert!(new < old / 4.0, "{name}: {old} became {new}");
        assert!(corrections.iter().all(|one| one.largest.is_some_and(|largest| largest > 0.0)), "{corrections:?}");
        let sqnr = |model: &Model| bench().sqnr_db(&float, model).unwrap();
        assert!(sqnr(&after.model) > sqnr(&before), "{name}");
    }
}

#[test]
fn what_stays_in_float_keeps_its_bias() {
    let float = student();
    let options = QuantizeOptions { skip: vec!["Gemm:y".to_owned()], ..coarse(4) };
    let mut refined = seen(&float, &coarse(4));
    refined.means = Some(layer_means(&refined.calibration, &coarse(4), &bench()).unwrap());
    let made = refined.make(&options).unwrap().model;
    assert_eq!(made.graph().initializers["b3"], float.graph().initializers["b3"]);
}

#[test]
fn adaptive_rounding_is_better_than_nearest_and_always_the_same() {
    for (name, float) in [("student", student()), ("mixture", mixture())] {
        for bits in [8, 4, 3] {
            let options = coarse(bits);
            let mut refined = seen(&float, &options);
            let sqnr = |refined: &Refined| {
                let made = refined.make(&options).unwrap().model;
                bench().sqnr_db(&float, &made).unwrap()
            };
            let nearest = sqnr(&refined);
            let rounding = RoundingOptions { rows_max: 600, steps: 200, seed: 7 };
            let round = || round_adaptively(&refined.calibration, &options, &rounding, &bench()).unwrap();
            let found = round();
            assert_eq!(found, round(), "{name}");
            assert!(found.layers.iter().all(|layer| layer.chosen_db <= layer.nearest_db), "{:?}", found.layers);
            assert!(found.layers.iter().map(|layer| layer.turned).sum::<u64>() > 0);
            let half = 1i8 << (bits - 1).min(6);
            let limit = if bits == 8 { -127..=127 } else { -half..=half - 1 };
            assert!(found.codes.values().flat_map(|codes| &codes.codes).all(|code| limit.contains(code)), "{name}");
            refined.codes = found.codes;
            let adaptive = sqnr(&refined);
            let gain = if bits == 8 { -0.5 } else { 1.5 };
            assert!(adaptive > nearest + gain, "{name}, {bits} bits: {nearest:.1} dB became {adaptive:.1} dB");
        }
    }
}

/// Integers chosen for other scales are no integers for these.
#[test]
fn integers_are_used_only_with_their_scales() {
    let (float, options) = (student(), coarse(4));
    let mut refined = seen(&float, &options);
    let nearest = refined.make(&options).unwrap().model.write();
    refined.codes =
        round_adaptively(&refined.calibration, &options, &RoundingOptions::default(), &bench()).unwrap().codes;
    assert_ne!(refined.make(&options).unwrap().model.write(), nearest);
    refined.codes.values_mut().for_each(|codes| codes.scales[0] *= 2.0);
    assert_eq!(refined.make(&options).unwrap().model.write(), nearest);
}
