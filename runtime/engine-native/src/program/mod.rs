//! A compiled program: steps in order over planned memory.

mod arena;
mod builder;
mod dynamic_step;
mod float_step;
mod float_workers;
mod memory;
mod shared;
mod step;
mod stored_step;
mod workers;

pub(crate) use builder::{Builder, Element, ValueId, channels_last, plain};
pub(crate) use dynamic_step::{DynamicStep, RangeId};
pub(crate) use float_step::{FloatPart, FloatStep};
pub(crate) use memory::Memory;
pub(crate) use step::{ConcatPart, Step};
pub(crate) use stored_step::StoredStep;
pub(crate) use workers::Workers;

use workers::products_min;

use std::time::Instant;

use runtime_engine::{EngineError, check_deadline};
use runtime_kernels::{Scratch, Table};
use runtime_tensor::Tensor;
use runtime_threads::Pool;

/// A buffer of the arena, of the constants, or of the request.
pub(crate) type BufferId = usize;

/// Steps in order, for one sample.
#[derive(Debug)]
pub(crate) struct Program {
    table: &'static Table,
    steps: Vec<Step>,
    memory: Memory,
    /// Whether any step is worth sharing out; waking threads for none costs more than a small model takes.
    is_large: bool,
    /// One for each thread that a run may use. They grow in the first run, and not after it.
    scratches: Vec<Scratch>,
    has_run: bool,
    /// For each of the model's outputs: where it is, and its elements for one sample.
    outputs: Vec<OutputPlace>,
    weight_bytes: usize,
}

/// Where an output of the model lies when the program has run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutputPlace {
    pub(crate) buffer: BufferId,
    /// For stored bytes: whether the model's type is signed.
    pub(crate) signed: bool,
}

impl Program {
    pub(crate) fn new(table: &'static Table, steps: Vec<Step>, memory: Memory, outputs: Vec<OutputPlace>) -> Self {
        let weight_bytes = steps.iter().map(Step::weight_bytes).sum();
        let is_large = steps.iter().any(|step| step.products() >= products_min(table.isa));
        Self { table, steps, memory, is_large, scratches: vec![Scratch::new()], has_run: false, outputs, weight_bytes }
    }

    /// Bytes held while idle.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let scratches: usize = self.scratches.iter().map(Scratch::bytes).sum();
        (self.weight_bytes + self.memory.bytes() + scratches) as u64
    }

    /// Runs `samples` samples, one after the other, and writes the outputs at `wanted` of each into `outputs`.
    ///
    /// `inputs` are the model's inputs, each with `samples` samples.
    pub(crate) fn run(
        &mut self,
        inputs: &[&Tensor],
        samples: usize,
        wanted: &[usize],
        outputs: &mut [Tensor],
        deadline: Option<Instant>,
    ) -> Result<(), EngineError> {
        let team = Pool::shared_team(if self.is_large { self.scratches.len() } else { 1 });
        let mut with = Workers { table: self.table, team, scratches: &mut self.scratches };
        for sample in 0..samples {
            for step in &self.steps {
                check_deadline(deadline)?;
                step.run(&mut with, inputs, (sample, samples), &mut self.memory);
            }
            for (&position, output) in wanted.iter().zip(outputs.iter_mut()) {
                let place = self.outputs[position];
                let bytes = output.bytes_mut();
                let length = bytes.len() / samples;
                self.memory.export(place, &mut bytes[sample * length..(sample + 1) * length]);
            }
        }
        if !self.has_run {
            // The next time a thread may get any other part.
            Scratch::level(with.scratches);
            self.has_run = true;
        }
        Ok(())
    }

    /// Lets runs use up to `threads` threads.
    pub(crate) fn set_threads(&mut self, threads: usize) {
        self.scratches.resize_with(threads.min(Pool::cores()).max(1), Scratch::new);
    }
}
