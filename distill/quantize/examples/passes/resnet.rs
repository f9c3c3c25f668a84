//! ResNet-8 on crops of photographs: equalization of a copy whose channels are scaled, and rounding of coarse weights.

use std::collections::BTreeMap;
use std::path::Path;

use distill_quantize::{
    Batches, Bench, CalibrationOptions, ObserverKind, QuantizeOptions, Refined, RoundingOptions, equalize, layer_means,
    observe, round_adaptively,
};
use runtime_graph::{Graph, Model, Node, ReadLimits};
use runtime_tensor::Tensor;

use crate::Result;
use crate::answers::{THREADS, batches, classes, equal, tensor};
use crate::peer::Peer;

/// Seeds and counts of crops: for calibration, and to judge.
const CALIBRATION: (u64, usize) = (1, 400);
const JUDGED: (u64, usize) = (2, 2000);

/// The model and what it is calibrated and judged on.
struct Case<'a> {
    peer: &'a Peer,
    float: Model,
    input: String,
    batch: usize,
    calibration: Tensor,
    judged: Tensor,
    expected: Vec<usize>,
}

impl<'a> Case<'a> {
    fn new(peer: &'a Peer, path: &Path, calibration: Tensor, judged: Tensor) -> Result<Self> {
        let float = Model::read_file(path, &ReadLimits::default())?;
        let input = float.inputs().first().ok_or("find the input")?.clone();
        let batch = match input.shape.first() {
            Some(runtime_tensor::Dimension::Fixed(size)) => *size as usize,
            _ => 50,
        };
        let mut case = Self { peer, float, input: input.name, batch, calibration, judged, expected: Vec::new() };
        case.expected = case.classes(&case.float)?;
        Ok(case)
    }

    fn batches<'b>(&'b self, x: &'b Tensor) -> Batches<'b> {
        batches(x, &self.input, self.batch)
    }

    fn classes(&self, model: &Model) -> Result<Vec<usize>> {
        classes(self.peer, &model.write(), self.batches(&self.judged))
    }

    /// Share of judged samples with the class of the float model.
    fn agreement(&self, model: &Model) -> Result<f64> {
        Ok(equal(&self.classes(model)?, &self.expected) as f64 / self.expected.len() as f64)
    }

    fn seen(&self, model: &Model, options: &QuantizeOptions) -> Result<Refined> {
        let options =
            CalibrationOptions { observer: ObserverKind::MinMax, quantize: options.clone(), threads: THREADS };
        Ok(Refined::new(observe(model, &mut self.batches(&self.calibration), self.peer, &options)?))
    }
}

fn photos<'a>(peer: &'a Peer, data: &str) -> Result<Case<'a>> {
    let made = |(seed, count): (u64, usize)| peer.samples(&format!("photos {seed} {count}"), data);
    let path = Path::new(data).join("models/resnet8_cifar10_f32_op17.onnx");
    Case::new(peer, &path, tensor(&made(CALIBRATION)?, "x")?, tensor(&made(JUDGED)?, "x")?)
}

/// The row of scaled channels, with one scale for all weights of a layer.
pub(crate) fn equalization(peer: &Peer, data: &str) -> Result<()> {
    let case = photos(peer, data)?;
    let (scaled, layers) = scaled(&case.float)?;
    eprintln!("channels of {layers} layers scaled by 1e3, 1 and 1e-3");
    let options = QuantizeOptions { per_channel: false, ..QuantizeOptions::default() };
    let even = equalize(&scaled)?;
    for class in &even.channels {
        eprintln!(
            "{} channels, spread {:.3e} to {:.1}: {:?}",
            class.channels, class.spread_before, class.spread_after, class.makers
        );
    }
    let mut rows = vec![
        ("as it is, int8", case.seen(&case.float, &options)?),
        ("as it is, equalized, int8", case.seen(&equalize(&case.float)?.model, &options)?),
        ("scaled, int8", case.seen(&scaled, &options)?),
        ("scaled, equalized, int8", case.seen(&even.model, &options)?),
    ];
    let mut corrected = case.seen(&even.model, &options)?;
    let samples = || case.batches(&case.calibration);
    let bench = Bench { engine: peer, samples: &samples, threads: THREADS };
    corrected.means = Some(layer_means(&corrected.calibration, &options, &bench)?);
    rows.push(("scaled, equalized, biases corrected, int8", corrected));
    println!("| ResNet-8, one scale a layer, {} crops | agreement with float | SQNR dB |", case.expected.len());
    println!("| scaled, float | {:.4} | |", case.agreement(&scaled)?);
    for (name, refined) in rows {
        let model = refined.make(&options)?.model;
        println!("| {name} | {:.4} | {:.2} |", case.agreement(&model)?, bench.sqnr_db(&case.float, &model)?);
    }
    Ok(())
}

/// The row of coarse weights: nearest rounding against adaptive rounding.
pub(crate) fn coarse(peer: &Peer, data: &str) -> Result<()> {
    rounding("ResNet-8", &photos(peer, data)?)?;
    // A network trained on digits is no part of the data: `distill run` makes one.
    if let Ok(path) = std::env::var("CASK_MNIST_MODEL") {
        let digits = |what: &str| peer.samples(&format!("mnist {what}"), data);
        let (calibration, judged) = (digits("train 0 500")?, digits("test 0 10000")?);
        rounding("MNIST", &Case::new(peer, Path::new(&path), tensor(&calibration, "x")?, tensor(&judged, "x")?)?)?;
    }
    Ok(())
}

fn rounding(name: &str, case: &Case<'_>) -> Result<()> {
    println!(
        "| {name}, {} samples | weight bits | rounding | disagreement with float | SQNR dB |",
        case.expected.len()
    );
    let samples = || case.batches(&case.calibration);
    let bench = Bench { engine: case.peer, samples: &samples, threads: THREADS };
    for bits in [8, 4, 3, 2] {
        let options = QuantizeOptions { weight_bits: bits, ..QuantizeOptions::default() };
        let mut refined = case.seen(&case.float, &options)?;
        let print = |what: &str, refined: &Refined| -> Result<()> {
            let model = refined.make(&options)?.model;
            let (agreement, sqnr) = (case.agreement(&model)?, bench.sqnr_db(&case.float, &model)?);
            println!("| {name} | {bits} | {what} | {:.2} % | {sqnr:.2} |", 100.0 * (1.0 - agreement));
            Ok(())
        };
        print("nearest", &refined)?;
        let means = layer_means(&refined.calibration, &options, &bench)?;
        refined.means = Some(means.clone());
        print("nearest, biases corrected", &refined)?;
        refined.means = None;
        let found = round_adaptively(&refined.calibration, &options, &RoundingOptions::default(), &bench)?;
        for layer in &found.layers {
            eprintln!(
                "{:8.2} to {:8.2} dB, {} turned: {}",
                layer.nearest_db, layer.chosen_db, layer.turned, layer.node
            );
        }
        refined.codes = found.codes;
        print("adaptive", &refined)?;
        refined.means = Some(means);
        print("adaptive, biases corrected", &refined)?;
    }
    Ok(())
}

/// The same function with channels larger and smaller by a thousand wherever one layer alone reads another.
fn scaled(float: &Model) -> Result<(Model, usize)> {
    let mut model = float.clone();
    let graph = model.graph_mut();
    let pairs: Vec<(usize, usize)> = (0..graph.nodes.len()).filter_map(|index| pair(graph, index)).collect();
    for &(maker, reader) in &pairs {
        let names = |node: &Node| node.inputs[1..].to_vec();
        let (made, read) = (names(&graph.nodes[maker]), names(&graph.nodes[reader]));
        let factor = |channel: usize| [1e3f32, 1.0, 1e-3][channel % 3];
        let mut change = |name: &str, channels: usize, of: &dyn Fn(usize) -> f32, axis: usize| -> Result<()> {
            let tensor = graph.initializers.get_mut(name).ok_or("find the weights")?;
            let inner: usize = tensor.shape()[axis + 1..].iter().product();
            tensor.as_f32_mut()?.iter_mut().enumerate().for_each(|(at, value)| *value *= of(at / inner % channels));
            Ok(())
        };
        let channels = graph_channels(&made, float.graph());
        change(&made[0], channels, &factor, 0)?;
        if let Some(bias) = made.get(1) {
            change(bias, channels, &factor, 0)?;
        }
        change(&read[0], channels, &|channel| 1.0 / factor(channel), 1)?;
    }
    Ok((model, pairs.len()))
}

fn graph_channels(made: &[String], graph: &Graph) -> usize {
    graph.initializers.get(&made[0]).map_or(1, |weights| weights.shape()[0])
}

/// A Conv, a Relu that alone reads it, and a Conv that alone reads that.
fn pair(graph: &Graph, maker: usize) -> Option<(usize, usize)> {
    let follower = |index: usize| graph.only_reader(graph.nodes[index].output(0)?);
    let relu = follower(maker).filter(|&index| graph.nodes[index].is("Relu"))?;
    let reader = follower(relu).filter(|&index| graph.nodes[index].is("Conv"))?;
    let shared: BTreeMap<&str, usize> =
        graph.nodes.iter().flat_map(|node| node.inputs.iter().skip(1)).fold(BTreeMap::new(), |mut counts, name| {
            *counts.entry(name.as_str()).or_default() += 1;
            counts
        });
    let own = |index: usize| graph.nodes[index].inputs[1..].iter().all(|name| shared.get(name.as_str()) == Some(&1));
    (graph.nodes[maker].is("Conv") && own(maker) && own(reader)).then_some((maker, reader))
}
