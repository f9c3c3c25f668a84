//! Exact answers: the same bytes on every instruction set that the machine has.

use std::collections::BTreeMap;

use runtime_engine::{Engine, EngineError, LoadOptions, NumericsClass};
use runtime_kernels::Isa;
use runtime_tensor::NamedTensor;

use super::{Case, Question};

/// The definition.
const SCALAR: &str = "scalar";

/// What came of running exact models on every instruction set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exactness {
    /// Cases that ran on each instruction set; one that the machine or the engine lacks is not there.
    pub cases: BTreeMap<&'static str, usize>,
    /// Cases whose bytes differ from the scalar ones, or that did not run.
    pub wrong: Vec<String>,
}

/// Runs each case that `engine` calls exact on every instruction set.
pub fn exactness(engine: &dyn Engine, cases: &[Case]) -> Exactness {
    let mut found = Exactness::default();
    for case in cases {
        let question = match (case.make)() {
            Ok(question) => question,
            Err(why) => {
                found.wrong.push(format!("{}: {why}", case.name));
                continue;
            }
        };
        let mut scalar = None;
        // The definition comes first.
        for isa in Isa::known().map(Isa::name) {
            let answer = match exact_answer(engine, &question, isa) {
                Ok(Some(answer)) => answer,
                Ok(None) => continue,
                Err(error) => {
                    found.wrong.push(format!("{} on {isa}: failed to {error}", case.name));
                    continue;
                }
            };
            *found.cases.entry(isa).or_default() += 1;
            match &scalar {
                None if isa == SCALAR => scalar = Some(answer),
                Some(expected) if *expected == answer => {}
                _ => found.wrong.push(format!("{} on {isa}: other bytes than {SCALAR}", case.name)),
            }
        }
    }
    found
}

/// The answer of a model that is exact; nothing where it is not, or where this instruction set is not here.
fn exact_answer(
    engine: &dyn Engine,
    question: &Question,
    isa: &'static str,
) -> Result<Option<Vec<NamedTensor>>, EngineError> {
    let options = LoadOptions { isa: Some(isa.to_owned()), ..LoadOptions::default() };
    let mut session = match engine.load(&question.model, &options) {
        // A name that this engine has no kernels for, or a level that this CPU lacks.
        Err(EngineError::Unsupported { .. } | EngineError::NoDevice { .. }) => return Ok(None),
        other => other?,
    };
    if session.numerics() != NumericsClass::Exact {
        return Ok(None);
    }
    session.run(&question.inputs, &[], None).map(Some)
}
