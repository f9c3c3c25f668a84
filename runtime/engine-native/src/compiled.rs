//! A session over a compiled program.

use std::collections::BTreeMap;
use std::time::Instant;

use runtime_engine::{CheckedRequest, Coverage, EngineError, NumericsClass, Session, catch_panic, check_request};
use runtime_tensor::{NamedTensor, Tensor, TensorSpec};

use crate::engine::NAME;
use crate::region::Compiled;

/// A model that the kernels cover wholly.
pub(crate) struct CompiledSession {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    compiled: Compiled,
    isa: &'static str,
}

impl CompiledSession {
    pub(crate) fn new(
        inputs: Vec<TensorSpec>,
        outputs: Vec<TensorSpec>,
        compiled: Compiled,
        isa: &'static str,
    ) -> Self {
        Self { inputs, outputs, compiled, isa }
    }

    /// Zeroed outputs of the shapes that `bindings` give.
    fn make_outputs(&self, wanted: &[usize], bindings: &BTreeMap<String, u64>) -> Result<Vec<Tensor>, EngineError> {
        let make = |&position: &usize| {
            let spec = &self.outputs[position];
            let shape = spec.bound_shape(bindings).ok_or_else(|| EngineError::Internal {
                engine: NAME.into(),
                reason: format!("output {spec} has a size that no input tells"),
            })?;
            Tensor::zeros(spec.element, shape).map_err(|error| EngineError::BadInput {
                tensor: spec.name.clone(),
                found: error.to_string(),
                expected: "a batch whose outputs fit".into(),
            })
        };
        wanted.iter().map(make).collect()
    }
}

impl Session for CompiledSession {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn run(
        &mut self,
        inputs: &[NamedTensor],
        wanted: &[String],
        deadline: Option<Instant>,
    ) -> Result<Vec<NamedTensor>, EngineError> {
        let CheckedRequest { tensors, bindings, wanted } =
            check_request(&self.inputs, &self.outputs, inputs, wanted, deadline)?;
        let mut outputs = self.make_outputs(&wanted, &bindings)?;
        let samples = match &self.compiled.batch {
            None => 1,
            Some(symbol) => bindings.get(symbol).and_then(|&size| usize::try_from(size).ok()).unwrap_or(0),
        };
        catch_panic(NAME, || self.compiled.program.run(&tensors, samples, &wanted, &mut outputs, deadline))?;
        Ok(wanted.into_iter().map(|position| self.outputs[position].name.clone()).zip(outputs).collect())
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn resident_bytes(&self) -> u64 {
        self.compiled.program.resident_bytes()
    }

    fn coverage(&self) -> &Coverage {
        &self.compiled.coverage
    }

    fn numerics(&self) -> NumericsClass {
        self.compiled.numerics
    }

    fn isa(&self) -> &str {
        self.isa
    }
}
