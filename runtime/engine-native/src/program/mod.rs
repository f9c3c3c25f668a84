//! A compiled program: steps in order over planned memory.

mod arena;
mod builder;
mod memory;
mod step;

pub(crate) use builder::{Builder, Element, ValueId, channels_last, plain};
pub(crate) use memory::Memory;
pub(crate) use step::{ConcatPart, Step};

use std::time::Instant;

use runtime_engine::{EngineError, check_deadline};
use runtime_kernels::Scratch;
use runtime_tensor::{Tensor, TensorSpec};

/// A buffer of the arena, of the constants, or of the request.
pub(crate) type BufferId = usize;

/// Steps in order, for one sample.
#[derive(Debug)]
pub(crate) struct Program {
    steps: Vec<Step>,
    memory: Memory,
    scratch: Scratch,
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
    pub(crate) fn new(steps: Vec<Step>, memory: Memory, outputs: Vec<OutputPlace>) -> Self {
        let weight_bytes = steps.iter().map(Step::weight_bytes).sum();
        Self { steps, memory, scratch: Scratch::new(), outputs, weight_bytes }
    }

    /// Bytes held while idle.
    pub(crate) fn resident_bytes(&self) -> u64 {
        (self.weight_bytes + self.memory.bytes() + self.scratch.bytes()) as u64
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
        for sample in 0..samples {
            for step in &self.steps {
                check_deadline(deadline)?;
                step.run(inputs, (sample, samples), &mut self.memory, &mut self.scratch);
            }
            for (&position, output) in wanted.iter().zip(outputs.iter_mut()) {
                let place = self.outputs[position];
                let bytes = output.bytes_mut();
                let length = bytes.len() / samples;
                self.memory.export(place, &mut bytes[sample * length..(sample + 1) * length]);
            }
        }
        Ok(())
    }

    /// The largest that the scratch gets, reached by running once on zeros of `inputs`' shapes.
    pub(crate) fn warm(&mut self, inputs: &[TensorSpec], sample_shapes: &[Vec<usize>]) -> Result<(), EngineError> {
        let zeros = inputs.iter().zip(sample_shapes).map(|(spec, shape)| Tensor::zeros(spec.element, shape.clone()));
        let zeros: Vec<Tensor> = zeros.collect::<Result<_, _>>()?;
        let zeros: Vec<&Tensor> = zeros.iter().collect();
        self.run(&zeros, 1, &[], &mut [], None)
    }
}
