//! Magika's file-type detector: mixed precision is found on made files and judged on the labelled ones.

use std::path::Path;

use distill_quantize::{
    Batches, Bench, CalibrationOptions, ObserverKind, QuantizeOptions, Refined, mixed_precision, observe, rank,
};
use runtime_engine::{Engine, LoadOptions};
use runtime_graph::{Model, ReadLimits};
use runtime_tensor::{NamedTensor, Tensor};

use crate::Result;
use crate::peer::Peer;

const INPUT: &str = "bytes";
const BATCH: usize = 10;
const THREADS: usize = 2;
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
    let samples = || batches(&calibration);
    let seen = Refined::new(observe(&float, &mut samples(), peer, &options)?);
    let bench = Bench { engine: peer, samples: &samples, threads: THREADS };
    let ranking = rank(&seen, &options.quantize, &bench)?;
    for layer in &ranking.layers {
        eprintln!("{:8.2} dB {:>8} bytes {} {}", layer.sqnr_db, layer.bytes_saved, layer.operator, layer.node);
    }
    let expected = classes(peer, &float.write(), &judged)?;
    let mut measure = |bytes: &[u8]| {
        let found = classes(peer, bytes, &judged).map_err(|error| error.to_string())?;
        let changed = found.iter().zip(&expected).filter(|(found, expected)| found != expected).count();
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
        let found = classes(peer, model, &files)?;
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

fn tensor(named: &[NamedTensor], name: &str) -> Result<Tensor> {
    let found = named.iter().find(|(other, _)| other == name).ok_or("find the samples")?;
    Ok(found.1.clone())
}

fn batches(x: &Tensor) -> Batches<'_> {
    let (count, width) = (x.shape()[0], x.len() / x.shape()[0]);
    Box::new((0..count).step_by(BATCH).map(move |start| {
        let rows = BATCH.min(count - start);
        let bytes = &x.bytes()[4 * start * width..][..4 * rows * width];
        let mut shape = x.shape().to_vec();
        shape[0] = rows;
        let tensor = Tensor::new(x.element(), shape, bytes).map_err(|error| error.to_string())?;
        Ok(vec![(INPUT.to_owned(), tensor)])
    }))
}

fn classes(peer: &Peer, model: &[u8], x: &Tensor) -> Result<Vec<usize>> {
    let mut session = peer.load(model, &LoadOptions { threads: THREADS, ..LoadOptions::default() })?;
    let mut found = Vec::new();
    for batch in batches(x) {
        let answers = session.run(&batch?, &[], None)?;
        found.extend(answers[0].1.argmax_last()?);
    }
    Ok(found)
}
