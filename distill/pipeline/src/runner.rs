//! A model on the device's own engine, over many samples.

use runtime_engine::{Coverage, Engine, LoadOptions, NumericsClass, Session};
use runtime_tensor::{Dimension, ElementType, Tensor, TensorSpec};

use crate::data::rows;
use crate::error::{PipelineError, Result};

/// Samples of one run when the model takes any number.
const BATCH: usize = 64;

/// A loaded classifier.
pub(crate) struct Runner {
    session: Box<dyn Session>,
    input: TensorSpec,
    output: String,
    /// Samples of one run; fixed by the model or [`BATCH`].
    batch: usize,
    fixed: bool,
}

impl Runner {
    /// Loads the bytes of an ONNX file with one input and one output.
    pub(crate) fn load(engine: &dyn Engine, model: &[u8]) -> Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let session = engine.load(model, &LoadOptions { threads, ..LoadOptions::default() })?;
        let ([input], [output]) = (session.inputs(), session.outputs()) else {
            return Err(PipelineError::Unsupported(format!(
                "found a model with {} inputs and {} outputs, expected one of each",
                session.inputs().len(),
                session.outputs().len()
            )));
        };
        if input.element != ElementType::F32 {
            return Err(PipelineError::Unsupported(format!("found input {input}, expected f32")));
        }
        let (input, output) = (input.clone(), output.name.clone());
        let (batch, fixed) = match input.shape.first() {
            Some(Dimension::Fixed(batch)) => (usize::try_from(*batch).unwrap_or(1).max(1), true),
            _ => (BATCH, false),
        };
        Ok(Runner { session, input, output, batch, fixed })
    }

    /// The model's input.
    pub(crate) fn input(&self) -> &TensorSpec {
        &self.input
    }

    /// Name of the model's output.
    pub(crate) fn output(&self) -> &str {
        &self.output
    }

    /// Whether answers are the same bytes on every machine.
    pub(crate) fn numerics(&self) -> NumericsClass {
        self.session.numerics()
    }

    /// What the engine's own kernels take.
    pub(crate) fn coverage(&self) -> &Coverage {
        self.session.coverage()
    }

    /// The output for every sample of `x`, in order.
    pub(crate) fn run(&mut self, x: &Tensor) -> Result<Tensor> {
        let samples = x.shape()[0];
        let (mut bytes, mut shape, mut element) = (Vec::new(), vec![samples], ElementType::F32);
        for start in (0..samples).step_by(self.batch) {
            let end = (start + self.batch).min(samples);
            // A model of a fixed batch gets the last sample again; the surplus is cut from the answer.
            let last = if self.fixed { start + self.batch } else { end };
            let indices: Vec<usize> = (start..last).map(|at| at.min(samples - 1)).collect();
            let output = self.run_once(&rows(x, &indices)?)?;
            if output.shape().first() != Some(&indices.len()) {
                return Err(PipelineError::Unsupported(format!(
                    "found an output of shape {:?} for {} samples, expected one row per sample",
                    output.shape(),
                    indices.len()
                )));
            }
            let row = output.bytes().len() / indices.len();
            bytes.extend_from_slice(&output.bytes()[..row * (end - start)]);
            shape = [vec![samples], output.shape()[1..].to_vec()].concat();
            element = output.element();
        }
        Ok(Tensor::new(element, shape, &bytes)?)
    }

    /// One call of the engine.
    pub(crate) fn run_once(&mut self, batch: &Tensor) -> Result<Tensor> {
        let inputs = [(self.input.name.clone(), batch.clone())];
        let outputs = self.session.run(&inputs, std::slice::from_ref(&self.output), None)?;
        let found = outputs.len();
        outputs
            .into_iter()
            .next()
            .map(|(_, tensor)| tensor)
            .ok_or_else(|| PipelineError::input(format!("the engine gave {found} outputs, expected 1")))
    }
}

/// The class of each row: the position of its largest value.
pub(crate) fn classes(outputs: &Tensor) -> Result<Vec<u32>> {
    let samples = outputs.shape()[0];
    let flat = outputs.clone().reshape(vec![samples, outputs.len() / samples.max(1)])?;
    Ok(flat.argmax_last()?.into_iter().map(|class| class as u32).collect())
}

/// Share of `found` that equals `expected`; 1 of nothing.
pub(crate) fn share_equal(found: &[u32], expected: &[u32]) -> f64 {
    let equal = found.iter().zip(expected).filter(|(f, e)| f == e).count();
    if expected.is_empty() { 1.0 } else { equal as f64 / expected.len() as f64 }
}
