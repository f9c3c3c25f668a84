//! One model on one engine, measured.

use std::collections::BTreeMap;
use std::time::Instant;

use runtime_engine::{Coverage, Engine, EngineError, LoadOptions, NumericsClass, catch_panic};
use runtime_tensor::NamedTensor;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::latency::Latencies;
use crate::machine::peak_bytes;
use crate::seeded::seeded_inputs;

/// Different sets of inputs that a bench runs over.
const INPUT_SETS: u64 = 8;
/// Runs that a bench makes at most, so that a typed zero too many ends.
const ITERATIONS_MAX: usize = 10_000_000;

/// How a model is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchOptions {
    /// Threads that one run may use; 0 means 1.
    pub threads: usize,
    /// Measured runs; at least 1.
    pub iterations: usize,
    /// Seed of the inputs.
    pub seed: u64,
    /// The instruction set to use; `None` is the fastest.
    pub isa: Option<String>,
    /// Refuse a model that the engine's own kernels do not cover wholly.
    pub strict: bool,
    /// Sizes of symbolic dimensions; 1 where none is given.
    pub bindings: BTreeMap<String, u64>,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { threads: 1, iterations: 100, seed: 0, isa: None, strict: false, bindings: BTreeMap::new() }
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchReport {
    /// The engine's name.
    pub engine: String,
    /// Its version.
    pub build: String,
    /// The instruction set of its kernels.
    pub isa: String,
    /// Whether answers are the same bytes on every machine.
    pub numerics: NumericsClass,
    /// Threads that one run could use.
    pub threads: usize,
    /// Measured runs.
    pub iterations: usize,
    /// Seed of the inputs.
    pub seed: u64,
    /// Median time of a run, in microseconds.
    pub median_us: f64,
    /// 95th percentile of the time of a run, in microseconds.
    pub p95_us: f64,
    /// Time to load the model, in milliseconds.
    pub load_ms: f64,
    /// Time of the first run, in milliseconds.
    pub first_ms: f64,
    /// The most memory that this process has held, in bytes.
    pub peak_bytes: u64,
    /// Bytes that the session says it holds.
    pub resident_bytes: u64,
    /// SHA-256 over the bytes of all outputs, in the model's order, of the eight seeded input sets in order.
    pub output_sha256: String,
    /// What the engine's own kernels take.
    pub coverage: Coverage,
}

/// Loads `model` on `engine`, runs it over seeded inputs and measures.
pub fn bench(engine: &dyn Engine, model: &[u8], options: &BenchOptions) -> Result<BenchReport, EngineError> {
    let threads = options.threads.max(1);
    let load_options =
        LoadOptions { threads, isa: options.isa.clone(), strict: options.strict, ..LoadOptions::default() };
    let started = Instant::now();
    let mut session = catch_panic(engine.name(), || engine.load(model, &load_options))?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    let sets: Vec<Vec<NamedTensor>> = (0..INPUT_SETS)
        .map(|set| seeded_inputs(session.inputs(), &options.bindings, options.seed.wrapping_add(set)))
        .collect::<Result<_, _>>()?;
    let mut run = |inputs: &[NamedTensor]| catch_panic(engine.name(), || session.run(inputs, &[], None));
    let started = Instant::now();
    let first = run(&sets[0])?;
    let first_ms = started.elapsed().as_secs_f64() * 1e3;
    let mut hash = Sha256::new();
    hash_outputs(&mut hash, &first);
    for inputs in &sets[1..] {
        hash_outputs(&mut hash, &run(inputs)?);
    }
    let iterations = options.iterations.clamp(1, ITERATIONS_MAX);
    let mut latencies = Latencies::default();
    for iteration in 0..iterations {
        let started = Instant::now();
        run(&sets[iteration % sets.len()])?;
        latencies.add(started.elapsed());
    }
    Ok(BenchReport {
        engine: engine.name().to_owned(),
        build: engine.build(),
        isa: session.isa().to_owned(),
        numerics: session.numerics(),
        threads,
        iterations,
        seed: options.seed,
        median_us: latencies.p50_us_exact(),
        p95_us: latencies.p95_us_exact(),
        load_ms,
        first_ms,
        peak_bytes: peak_bytes(),
        resident_bytes: session.resident_bytes(),
        output_sha256: hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
        coverage: session.coverage().clone(),
    })
}

fn hash_outputs(hash: &mut Sha256, outputs: &[NamedTensor]) {
    for (_, tensor) in outputs {
        hash.update(tensor.bytes());
    }
}
