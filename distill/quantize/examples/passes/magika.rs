//! Magika's file-type detector: mixed precision is found on made files and judged on the labelled ones.

use std::path::Path;

use distill_quantize::{Bench, CalibrationOptions, ObserverKind, PassDetail, PassReport, Passes, refine};
use runtime_graph::{Model, ReadLimits};
use runtime_tensor::Tensor;

use crate::Result;
use crate::answers::{THREADS, batches, classes, equal, tensor};
use crate::peer::Peer;

const INPUT: &str = "bytes";
const BATCH: usize = 10;
/// Seeds and counts of made files: for calibration, and to judge a candidate.
const CALIBRATION: (u64, usize) = (1, 180);
const JUDGED: (u64, usize) = (2, 360);
/// Made files on which a candidate may answer another class than the float model: what one of 152 allows.
const CHANGED_MAX: usize = 2;
const BYTES_MAX: usize = 840_000;

pub(crate) fn run(peer: &Peer, data: &str) -> Result<()> {
    let path = Path::new(data).join("magika/assets/models/standard_v3_3/model.onnx");
    let float = Model::read_file(&path, &ReadLimits::default())?;
    let made = |(seed, count): (u64, usize)| peer.samples(&format!("magika-made {seed} {count}"), data);
    let (calibration, judged) = (tensor(&made(CALIBRATION)?, "x")?, tensor(&made(JUDGED)?, "x")?);
    let labelled = peer.samples("magika-labelled", data)?;
    let (files, labels) = (tensor(&labelled, "x")?, tensor(&labelled, "y")?);

    let samples = || batches(&calibration, INPUT, BATCH);
    let answer = |model: &[u8], x: &Tensor| classes(peer, model, batches(x, INPUT, BATCH));
    let bench = Bench { engine: peer, samples: &samples, threads: THREADS };
    let expected = answer(&float.write(), &judged)?;
    let mut measure = |bytes: &[u8]| {
        let found = answer(bytes, &judged).map_err(|error| error.to_string())?;
        let changed = expected.len() - equal(&found, &expected);
        let mut broken = Vec::new();
        if changed > CHANGED_MAX {
            broken.push(format!("{changed} of {} answers changed, at most {CHANGED_MAX} may", expected.len()));
        }
        if bytes.len() > BYTES_MAX {
            broken.push(format!("{} bytes, at most {BYTES_MAX} may be", bytes.len()));
        }
        Ok(broken)
    };
    let right = |model: &[u8]| -> Result<usize> {
        let found = answer(model, &files)?;
        Ok(found.iter().zip(labels.as_i64()?).filter(|(found, label)| **found as i64 == **label).count())
    };
    println!("| Magika v3_3 | bytes | right of {} | budget on made files |", labels.len());
    println!("| float | {} | {} | |", float.write().len(), right(&float.write())?);
    let corrected = Passes { correct_bias: true, attempts_max: Some(24), ..Passes::default() };
    let searched = Passes { attempts_max: Some(24), ..Passes::default() };
    for (name, observer, passes) in [
        ("minmax, mixed precision", ObserverKind::MinMax, &searched),
        ("best ranges, biases corrected, mixed precision", ObserverKind::Best, &corrected),
    ] {
        let options = CalibrationOptions { observer, threads: THREADS, ..CalibrationOptions::default() };
        let found = refine(&float, &options, passes, &bench, Some(&mut measure))?;
        let bytes = found.quantized.model.write();
        let broken = measure(&bytes)?;
        println!(
            "| {name} | {} | {} | {} |",
            bytes.len(),
            right(&bytes)?,
            if broken.is_empty() { "met" } else { "not met" }
        );
        found.passes.iter().for_each(explain);
    }
    Ok(())
}

/// What a pass did, for people.
fn explain(report: &PassReport) {
    eprintln!(
        "{}: {:.2} to {:.2} dB, kept: {}",
        report.name(),
        report.sqnr_before_db,
        report.sqnr_after_db,
        report.kept
    );
    match &report.detail {
        PassDetail::Ranges(choices) => {
            for choice in choices {
                let (kind, range, sqnr_db) = choice.tried[choice.chosen];
                eprintln!("  {kind:?} {} to {}, {sqnr_db:.2} dB: {:?}", range.low, range.high, choice.tensors);
            }
        }
        PassDetail::Mixed { ranking, attempts, chosen } => {
            for layer in ranking {
                eprintln!(
                    "  {:.2} dB, {} bytes saved: {} {}",
                    layer.sqnr_db, layer.bytes_saved, layer.operator, layer.node
                );
            }
            for attempt in attempts {
                eprintln!("  {} in float, {} bytes: {:?}", attempt.left_in_float.len(), attempt.bytes, attempt.broken);
            }
            eprintln!("  stays in float: {:?}", attempts.get(*chosen).map(|attempt| &attempt.left_in_float));
        }
        other => eprintln!("  {other:?}"),
    }
}
