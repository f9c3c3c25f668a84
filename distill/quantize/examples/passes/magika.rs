//! Magika's file-type detector: mixed precision is found on made files and judged on the labelled ones.

use std::path::Path;

use distill_quantize::{
    Bench, CalibrationOptions, ObserverKind, QuantizeOptions, Refined, mixed_precision, observe, rank,
};
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

    let options =
        CalibrationOptions { observer: ObserverKind::MinMax, quantize: QuantizeOptions::default(), threads: THREADS };
    let samples = || batches(&calibration, INPUT, BATCH);
    let answer = |model: &[u8], x: &Tensor| classes(peer, model, batches(x, INPUT, BATCH));
    let seen = Refined::new(observe(&float, &mut samples(), peer, &options)?);
    let bench = Bench { engine: peer, samples: &samples, threads: THREADS };
    let ranking = rank(&seen, &options.quantize, &bench)?;
    for layer in &ranking.layers {
        eprintln!("{:8.2} dB {:>8} bytes {} {}", layer.sqnr_db, layer.bytes_saved, layer.operator, layer.node);
    }
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
    let found = mixed_precision(&seen, &options.quantize, &ranking, 24, &mut measure)?;
    for attempt in &found.attempts {
        eprintln!("{} in float, {} bytes: {:?}", attempt.left_in_float.len(), attempt.bytes, attempt.broken);
    }
    let best = &found.attempts[found.chosen];
    eprintln!("left in float: {:#?}", best.left_in_float);
    let right = |model: &[u8]| -> Result<usize> {
        let found = answer(model, &files)?;
        Ok(found.iter().zip(labels.as_i64()?).filter(|(found, label)| **found as i64 == **label).count())
    };
    let whole = &found.attempts[0];
    let plain = seen.make(&options.quantize)?;
    println!("| Magika v3_3 | bytes | right of {} |", labels.len());
    println!("| float | {} | {} |", float.write().len(), right(&float.write())?);
    println!("| everything on integers | {} | {} |", whole.bytes, right(&plain.model.write())?);
    println!("| mixed, budget met: {} | {} | {} |", found.met(), best.bytes, right(&found.quantized.model.write())?);
    Ok(())
}
