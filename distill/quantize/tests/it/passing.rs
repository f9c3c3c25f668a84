use distill_quantize::{
    Batches, Bench, CalibrationOptions, ObserverKind, PassDetail, Passes, QuantizeOptions, Refined, Refinement,
    RoundingOptions, choose_ranges, observe, prepare, refine,
};
use runtime_graph::Model;
use runtime_tensor::{NamedTensor, Tensor};

use crate::reference::Reference;
use crate::samples::{batches, mixture, student};

/// Ordinary images, and one with a single bright place: it widens ranges for nothing.
fn samples() -> Batches<'static> {
    let bright = || {
        let mut batch: Vec<NamedTensor> = batches(1, 1).next().unwrap()?;
        let tensor: &mut Tensor = &mut batch[0].1;
        tensor.as_f32_mut().unwrap()[5] = 12.0;
        Ok(batch)
    };
    Box::new(batches(6, 8).chain(std::iter::once_with(bright)))
}

fn bench() -> Bench<'static> {
    Bench { engine: &Reference, samples: &samples, threads: 1 }
}

fn calibration(observer: ObserverKind, weight_bits: u32) -> CalibrationOptions {
    let quantize = QuantizeOptions { weight_bits, ..QuantizeOptions::default() };
    CalibrationOptions { observer, quantize, threads: 1 }
}

fn all() -> Passes {
    let rounding = RoundingOptions { rows_max: 400, steps: 100, seed: 1 };
    Passes { equalize: true, rounding: Some(rounding), correct_bias: true, attempts_max: Some(12) }
}

#[test]
fn the_best_range_is_the_best_of_all_observers() {
    for float in [student(), mixture()] {
        let options = calibration(ObserverKind::Best, 8);
        let mut refined = Refined::new(observe(&float, &mut samples(), &Reference, &options).unwrap());
        let choices = choose_ranges(&mut refined.calibration, &options.quantize, &bench()).unwrap();
        for choice in &choices {
            let best = choice.tried.iter().map(|tried| tried.2).fold(f64::NEG_INFINITY, f64::max);
            assert_eq!(choice.tried[choice.chosen].2, best, "{choice:?}");
            let range = refined.calibration.ranges()[&choice.tensors[0]];
            assert_eq!(range, choice.tried[choice.chosen].1);
        }
        assert!(choices.iter().any(|choice| choice.tried.len() > 2), "{choices:?}");
        assert!(choices.iter().any(|choice| choice.chosen > 0), "{choices:?}");
        let output = choices.iter().find(|choice| choice.tensors == ["y"]).unwrap();
        assert!(
            output.tried.iter().all(|tried| (20.0..80.0).contains(&tried.2)),
            "outputs are rounded, too: {output:?}"
        );
        let sqnr =
            |refined: &Refined| bench().sqnr_db(&float, &refined.make(&options.quantize).unwrap().model).unwrap();
        let best = sqnr(&refined);
        for kind in
            [ObserverKind::MinMax, ObserverKind::SquaredError, ObserverKind::Entropy, ObserverKind::Percentile(0.9999)]
        {
            let other = observe(&float, &mut samples(), &Reference, &calibration(kind, 8)).unwrap();
            let other = sqnr(&Refined::new(other));
            assert!(best > other - 0.5, "{kind:?} gives {other:.2} dB, the choice {best:.2} dB");
        }
    }
}

fn run(float: &Model, passes: &Passes, broken: &[&str]) -> Refinement {
    let mut measure = |_: &[u8]| Ok(broken.iter().map(|&limit| limit.to_owned()).collect());
    refine(float, &calibration(ObserverKind::Best, 4), passes, &bench(), Some(&mut measure)).unwrap()
}

#[test]
fn passes_report_what_they_did_and_only_help() {
    for float in [student(), mixture()] {
        let found = run(&float, &all(), &[]);
        let names: Vec<&str> = found.passes.iter().map(|report| report.name()).collect();
        assert!(
            ["best ranges", "adaptive rounding", "bias correction"].iter().all(|name| names.contains(name)),
            "{names:?}"
        );
        assert_eq!(names.last(), Some(&"mixed precision"));
        let mut known = found.passes[0].sqnr_before_db;
        for report in &found.passes {
            assert_eq!(report.sqnr_before_db, known, "{}: each begins where the one before ended", report.name());
            known = if report.kept { report.sqnr_after_db } else { known };
            assert_eq!(report.kept, report.sqnr_after_db >= report.sqnr_before_db, "{}", report.name());
            assert!(report.bytes_before > 0 && report.bytes_after > 0);
        }
        assert!(known > found.passes[0].sqnr_before_db + 3.0, "{:#?}", found.passes);
        let model = bench().sqnr_db(&prepare(&float).unwrap(), &found.quantized.model).unwrap();
        assert_eq!(model, known, "the figures are those of the model");
        assert_eq!(found.quantized.model.write(), run(&float, &all(), &[]).quantized.model.write(), "same bytes again");
        assert!(found.passes.iter().any(|report| matches!(&report.detail, PassDetail::Rounded { weight_bits: 4, .. })));
    }
}

#[test]
fn passes_that_are_off_do_not_run() {
    let options = calibration(ObserverKind::MinMax, 8);
    let found = refine(&student(), &options, &Passes::default(), &bench(), None).unwrap();
    assert!(found.passes.is_empty());
    let plan = distill_quantize::calibrate(&student(), &mut samples(), &Reference, &options).unwrap();
    let plain = distill_quantize::quantize(&student(), &plan, &options.quantize).unwrap();
    assert_eq!(found.quantized.model.write(), plain.model.write());
    let ranked = Passes { attempts_max: Some(3), ..Passes::default() };
    let found = refine(&student(), &options, &ranked, &bench(), None).unwrap();
    let PassDetail::Mixed { ranking, attempts, .. } = &found.passes[0].detail else { panic!("{:?}", found.passes) };
    assert!(ranking.len() == 5 && attempts.is_empty());
    let found = run(&student(), &ranked, &["it is too large"]);
    let PassDetail::Mixed { attempts, .. } = &found.passes[1].detail else { panic!("{:?}", found.passes) };
    assert_eq!(attempts.len(), 3);
}
