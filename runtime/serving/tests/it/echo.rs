//! An engine that gives back what it gets, one input and one output per element type.

use std::time::Instant;

use runtime_engine::{Coverage, Engine, EngineError, LoadOptions, NumericsClass, Session, check_inputs, check_wanted};
use runtime_tensor::{Dimension, ElementType, NamedTensor, TensorSpec};

#[derive(Debug)]
pub(crate) struct EchoEngine;

struct EchoSession {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    coverage: Coverage,
}

impl Engine for EchoEngine {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn build(&self) -> String {
        "echo 1".into()
    }

    fn load(&self, _: &[u8], _: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        let specs = |prefix: &str| {
            let spec = |element: ElementType| TensorSpec {
                name: format!("{prefix}_{}", element.name()),
                element,
                shape: vec![Dimension::Symbol("n".into()), Dimension::Fixed(2)],
            };
            ElementType::all().map(spec).collect()
        };
        Ok(Box::new(EchoSession { inputs: specs("in"), outputs: specs("out"), coverage: Coverage::default() }))
    }
}

impl Session for EchoSession {
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
        _: Option<Instant>,
    ) -> Result<Vec<NamedTensor>, EngineError> {
        let (tensors, _) = check_inputs(&self.inputs, inputs)?;
        let positions = check_wanted(&self.outputs, wanted)?;
        Ok(positions.into_iter().map(|at| (self.outputs[at].name.clone(), tensors[at].clone())).collect())
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn resident_bytes(&self) -> u64 {
        0
    }

    fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn numerics(&self) -> NumericsClass {
        NumericsClass::Exact
    }

    fn isa(&self) -> &str {
        "none"
    }
}
