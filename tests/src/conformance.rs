//! One suite for every engine: what `Engine` and `Session` promise, as rows that all run.
//!
//! An engine brings its own models (bytes that it can load, inputs, expected outputs); the cases are the same for all.
//! A model that an engine has no way to express is `None`, and its rows are reported as left out, not as passed.

mod ask;
mod exact;
mod expected_coverage;
mod gaps;
mod models;
mod node_tests;
mod quantized;
mod question;
mod real;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use runtime_engine::{Engine, EngineError, LoadOptions, NumericsClass, Session, StateLink, with_states};
use runtime_tensor::{ElementType, NamedTensor, Tensor, Tolerance, compare};

pub use ask::{Answered, Case, Verdict, ask, ask_all};
pub use exact::{Exactness, exactness};
pub use expected_coverage::{ExpectedCoverage, hold_to_coverage};
pub use gaps::{Gaps, Judgement, REWRITE_ENV, hold_to_gaps};
pub use models::{native_models, test_models};
pub use node_tests::{node_cases, onnx_test_data, posed};
pub use quantized::quantized_cases;
pub use question::{Expected, FLOAT_TOLERANCE, Nearest, Question};
pub use real::{real_cases, real_models};

/// A model with one request and its answer.
#[derive(Clone, Debug)]
pub struct ModelCase {
    /// Bytes to load.
    pub bytes: Vec<u8>,
    /// Every input.
    pub inputs: Vec<NamedTensor>,
    /// Every output, in the model's order.
    pub expected: Vec<NamedTensor>,
}

/// A model whose states are closed into loops, and requests in turn with their answers.
#[derive(Clone, Debug)]
pub struct StateCase {
    /// Bytes to load.
    pub bytes: Vec<u8>,
    /// The states.
    pub links: Vec<StateLink>,
    /// Requests in the order to send them, each with its answer; the second must depend on the first.
    pub steps: Vec<(Vec<NamedTensor>, Vec<NamedTensor>)>,
}

/// The models that an engine brings.
#[derive(Clone, Debug)]
pub struct Models {
    /// Every size is fixed.
    pub fixed: ModelCase,
    /// The first axis of inputs and outputs is the batch; the request has at least two samples.
    pub batch: ModelCase,
    /// Two inputs of the same shape and at least one output.
    pub two_inputs: ModelCase,
    /// State in an output that feeds an input.
    pub state: Option<StateCase>,
    /// How far answers may lie from the expected ones.
    pub tolerance: Tolerance,
}

/// What came of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It held.
    Passed,
    /// It did not, because.
    Failed(String),
    /// The engine brings no model for it.
    LeftOut,
}

/// One row of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The case.
    pub case: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of every case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The engine's name.
    pub engine: String,
    /// One row a case; all of them ran.
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether no case failed.
    pub fn passed(&self) -> bool {
        self.rows.iter().all(|row| !matches!(row.outcome, Outcome::Failed(_)))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "engine {}:", self.engine)?;
        for row in &self.rows {
            match &row.outcome {
                Outcome::Passed => writeln!(f, "  passed    {}", row.case)?,
                Outcome::LeftOut => writeln!(f, "  left out  {}", row.case)?,
                Outcome::Failed(why) => writeln!(f, "  FAILED    {}: {why}", row.case)?,
            }
        }
        Ok(())
    }
}

type Promise<'a> = (&'static str, fn(&Suite<'a>) -> Result<(), String>);

fn promises<'a>() -> [Promise<'a>; 13] {
    [
        ("answers a model of fixed sizes, twice the same", Suite::fixed),
        ("answers every sample of a batch as it answers it alone", Suite::batch),
        ("takes two inputs by name, in any order", Suite::two_inputs),
        ("returns the wanted outputs in the wanted order", Suite::wanted),
        ("refuses a missing, an unknown and a repeated input by name", Suite::input_names),
        ("refuses an unknown output by name", Suite::output_names),
        ("refuses a wrong element type", Suite::element_type),
        ("refuses a wrong shape", Suite::shape),
        ("refuses batches that differ between inputs", Suite::batches_differ),
        ("gives up when the deadline has passed, and answers the next request", Suite::deadline),
        ("refuses bytes that are no model", Suite::no_model),
        ("refuses a device that is not there", Suite::no_device),
        ("reports resident bytes, coverage and numerics that agree", Suite::reports),
    ]
}

/// Runs every case of the suite on `engine` with its own `models`.
pub fn conformance(engine: &dyn Engine, models: &Models) -> Report {
    let suite = Suite { engine, models };
    let outcome = |run: Result<(), String>| run.map_or_else(Outcome::Failed, |()| Outcome::Passed);
    let mut rows: Vec<Row> =
        promises().into_iter().map(|(case, run)| Row { case, outcome: outcome(run(&suite)) }).collect();
    let state = match &models.state {
        Some(state) => outcome(suite.state(state)),
        None => Outcome::LeftOut,
    };
    rows.push(Row { case: "carries state from run to run and forgets it at a reset", outcome: state });
    Report { engine: engine.name().to_owned(), rows }
}

struct Suite<'a> {
    engine: &'a dyn Engine,
    models: &'a Models,
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

/// The error must be `BadInput` and name `tensor`.
fn refused_by_name<T: fmt::Debug>(answer: Result<T, EngineError>, tensor: &str) -> Result<(), String> {
    match answer {
        Err(EngineError::BadInput { tensor: named, .. }) if named == tensor => Ok(()),
        other => Err(format!("expected a refusal of {tensor:?}, found {other:?}")),
    }
}

impl Suite<'_> {
    fn load(&self, case: &ModelCase) -> Result<Box<dyn Session>, String> {
        self.engine.load(&case.bytes, &LoadOptions::default()).map_err(|error| format!("failed to {error}"))
    }

    fn run(&self, session: &mut dyn Session, inputs: &[NamedTensor]) -> Result<Vec<NamedTensor>, String> {
        session.run(inputs, &[], None).map_err(|error| format!("failed to {error}"))
    }

    fn same(&self, expected: &[NamedTensor], found: &[NamedTensor]) -> Result<(), String> {
        let names = |tensors: &[NamedTensor]| tensors.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        ensure(names(expected) == names(found), || format!("outputs {:?} for {:?}", names(found), names(expected)))?;
        for ((name, expected), (_, found)) in expected.iter().zip(found) {
            compare(expected, found, self.models.tolerance).map_err(|difference| format!("{name}: {difference}"))?;
        }
        Ok(())
    }

    fn fixed(&self) -> Result<(), String> {
        let case = &self.models.fixed;
        let mut session = self.load(case)?;
        let first = self.run(session.as_mut(), &case.inputs)?;
        self.same(&case.expected, &first)?;
        let second = self.run(session.as_mut(), &case.inputs)?;
        ensure(first == second, || "the second answer has other bytes".into())
    }

    fn batch(&self) -> Result<(), String> {
        let case = &self.models.batch;
        let mut session = self.load(case)?;
        let together = self.run(session.as_mut(), &case.inputs)?;
        self.same(&case.expected, &together)?;
        let samples = case.inputs[0].1.shape()[0];
        ensure(samples >= 2, || "the suite needs at least two samples".into())?;
        for sample in 0..samples {
            let alone = self.run(session.as_mut(), &part(&case.inputs, sample)?)?;
            self.same(&part(&together, sample)?, &alone).map_err(|why| format!("sample {sample}: {why}"))?;
        }
        // Back to the first size: a session keeps nothing of an earlier one.
        let again = self.run(session.as_mut(), &case.inputs)?;
        self.same(&case.expected, &again)
    }

    fn two_inputs(&self) -> Result<(), String> {
        let case = &self.models.two_inputs;
        let mut session = self.load(case)?;
        self.same(&case.expected, &self.run(session.as_mut(), &case.inputs)?)?;
        let reversed: Vec<NamedTensor> = case.inputs.iter().rev().cloned().collect();
        self.same(&case.expected, &self.run(session.as_mut(), &reversed)?)
    }

    fn wanted(&self) -> Result<(), String> {
        let case = &self.models.two_inputs;
        let mut session = self.load(case)?;
        let reversed: Vec<NamedTensor> = case.expected.iter().rev().cloned().collect();
        for expected in [&reversed[..], &reversed[..1]] {
            let wanted: Vec<String> = expected.iter().map(|(name, _)| name.clone()).collect();
            let found = session.run(&case.inputs, &wanted, None).map_err(|error| format!("failed to {error}"))?;
            self.same(expected, &found)?;
        }
        Ok(())
    }

    fn input_names(&self) -> Result<(), String> {
        let case = &self.models.two_inputs;
        let mut session = self.load(case)?;
        let missing = &case.inputs[..1];
        refused_by_name(session.run(missing, &[], None), &case.inputs[1].0)?;
        let mut unknown = case.inputs.clone();
        unknown[1].0 = "no such input".into();
        refused_by_name(session.run(&unknown, &[], None), "no such input")?;
        let mut repeated = case.inputs.clone();
        repeated.push(case.inputs[0].clone());
        refused_by_name(session.run(&repeated, &[], None), &case.inputs[0].0)?;
        self.still_answers(session.as_mut(), case)
    }

    fn still_answers(&self, session: &mut dyn Session, case: &ModelCase) -> Result<(), String> {
        let answer = self.run(session, &case.inputs)?;
        self.same(&case.expected, &answer).map_err(|why| format!("after the refusals: {why}"))
    }

    fn output_names(&self) -> Result<(), String> {
        let case = &self.models.fixed;
        let mut session = self.load(case)?;
        let wanted = ["no such output".to_owned()];
        refused_by_name(session.run(&case.inputs, &wanted, None), "no such output")?;
        self.still_answers(session.as_mut(), case)
    }

    fn element_type(&self) -> Result<(), String> {
        let case = &self.models.fixed;
        let mut session = self.load(case)?;
        let (name, right) = &case.inputs[0];
        let other = ElementType::all().find(|element| *element != right.element()).unwrap_or(ElementType::Bool);
        let wrong = Tensor::zeros(other, right.shape().to_vec()).map_err(|error| error.to_string())?;
        let mut inputs = case.inputs.clone();
        inputs[0].1 = wrong;
        refused_by_name(session.run(&inputs, &[], None), name)?;
        self.still_answers(session.as_mut(), case)
    }

    fn shape(&self) -> Result<(), String> {
        let case = &self.models.fixed;
        let mut session = self.load(case)?;
        let (name, right) = &case.inputs[0];
        let mut longer = right.shape().to_vec();
        longer.push(1);
        let mut wider = right.shape().to_vec();
        wider[0] += 1;
        for shape in [longer, wider, vec![], vec![0; right.shape().len()]] {
            let wrong = Tensor::zeros(right.element(), shape).map_err(|error| error.to_string())?;
            let mut inputs = case.inputs.clone();
            inputs[0].1 = wrong;
            refused_by_name(session.run(&inputs, &[], None), name)?;
        }
        self.still_answers(session.as_mut(), case)
    }

    fn batches_differ(&self) -> Result<(), String> {
        let case = &self.models.two_inputs;
        let mut session = self.load(case)?;
        let mut inputs = case.inputs.clone();
        let mut shape = inputs[1].1.shape().to_vec();
        shape[0] += 1;
        inputs[1].1 = Tensor::zeros(inputs[1].1.element(), shape).map_err(|error| error.to_string())?;
        refused_by_name(session.run(&inputs, &[], None), &case.inputs[1].0)?;
        self.still_answers(session.as_mut(), case)
    }

    fn deadline(&self) -> Result<(), String> {
        let case = &self.models.fixed;
        let mut session = self.load(case)?;
        let passed = session.run(&case.inputs, &[], Some(Instant::now()));
        ensure(passed == Err(EngineError::Deadline), || format!("expected the deadline, found {passed:?}"))?;
        let far = Instant::now() + Duration::from_secs(3_600);
        let in_time = session.run(&case.inputs, &[], Some(far)).map_err(|error| format!("failed to {error}"))?;
        self.same(&case.expected, &in_time)
    }

    fn no_model(&self) -> Result<(), String> {
        let good = &self.models.fixed.bytes;
        let mut flipped = good.clone();
        flipped[0] ^= 0xff;
        let half = good[..good.len() / 2].to_vec();
        let rows = [("nothing", vec![]), ("zeros", vec![0; 4096]), ("half a model", half), ("a flipped byte", flipped)];
        for (what, bytes) in rows {
            match self.engine.load(&bytes, &LoadOptions::default()).map(|_| ()) {
                Err(EngineError::BadModel { .. } | EngineError::Unsupported { .. }) => {}
                other => return Err(format!("{what}: expected a bad model, found {other:?}")),
            }
        }
        Ok(())
    }

    fn no_device(&self) -> Result<(), String> {
        let options = LoadOptions { device: Some("no such device".into()), ..LoadOptions::default() };
        match self.engine.load(&self.models.fixed.bytes, &options).map(|_| ()) {
            Err(EngineError::NoDevice { device, .. }) if device == "no such device" => Ok(()),
            other => Err(format!("expected no device, found {other:?}")),
        }
    }

    fn reports(&self) -> Result<(), String> {
        for case in [&self.models.fixed, &self.models.batch, &self.models.two_inputs] {
            let session = self.load(case)?;
            let coverage = session.coverage();
            ensure(session.resident_bytes() > 0, || "it holds no memory".into())?;
            ensure(!session.isa().is_empty(), || "it names no instruction set".into())?;
            ensure(coverage.nodes_covered <= coverage.nodes_total, || format!("{coverage:?}"))?;
            ensure(coverage.macs_covered <= coverage.macs_total, || format!("{coverage:?}"))?;
            let explained = coverage.is_whole() == coverage.left_out.is_empty();
            ensure(explained, || format!("what is left out is not explained: {coverage:?}"))?;
            let exact = session.numerics() == NumericsClass::Exact;
            ensure(!exact || coverage.is_whole(), || format!("exact, but not covered: {coverage:?}"))?;
            ensure(!exact || self.models.tolerance.is_exact(), || "an exact engine is compared loosely".into())?;
        }
        Ok(())
    }

    fn state(&self, case: &StateCase) -> Result<(), String> {
        let plain = self.engine.load(&case.bytes, &LoadOptions::default()).map_err(|error| error.to_string())?;
        let mut session = with_states(plain, &case.links).map_err(|error| format!("failed to {error}"))?;
        for round in 0..2 {
            for (step, (inputs, expected)) in case.steps.iter().enumerate() {
                let found = self.run(session.as_mut(), inputs)?;
                self.same(expected, &found).map_err(|why| format!("round {round}, step {step}: {why}"))?;
            }
            session.reset().map_err(|error| format!("failed to {error}"))?;
        }
        Ok(())
    }
}

/// Sample `sample` of every tensor, as a batch of one.
fn part(tensors: &[NamedTensor], sample: usize) -> Result<Vec<NamedTensor>, String> {
    let one = |(name, tensor): &NamedTensor| {
        let mut shape = tensor.shape().to_vec();
        let length = tensor.bytes().len() / shape[0];
        shape[0] = 1;
        let bytes = &tensor.bytes()[sample * length..(sample + 1) * length];
        Ok((name.clone(), Tensor::new(tensor.element(), shape, bytes).map_err(|error| error.to_string())?))
    };
    tensors.iter().map(one).collect()
}

/// Names and values of a report's failures, for assertions.
pub fn failures(report: &Report) -> BTreeMap<&'static str, String> {
    let failed = |row: &Row| match &row.outcome {
        Outcome::Failed(why) => Some((row.case, why.clone())),
        _ => None,
    };
    report.rows.iter().filter_map(failed).collect()
}

#[cfg(test)]
mod tests {
    use runtime_engine::testing::TestEngine;
    use runtime_engine_native::NativeEngine;

    use super::*;

    #[test]
    fn the_native_engine_conforms() {
        for models in native_models() {
            let report = conformance(&NativeEngine::new(), &models);
            assert!(report.passed(), "{report}");
        }
    }

    #[test]
    fn the_test_engine_conforms() {
        let report = conformance(&TestEngine::new("test"), &test_models());
        assert!(report.passed(), "{report}");
    }

    #[test]
    fn an_engine_that_answers_wrongly_or_panics_does_not() {
        let engine = TestEngine::new("test");
        engine.faults().answer_wrong(true);
        let wrong = conformance(&engine, &test_models());
        assert!(failures(&wrong).contains_key(promises()[0].0), "{wrong}");
        let engine = TestEngine::new("test");
        engine.faults().panic_runs(1);
        let panicked = conformance(&engine, &test_models());
        assert!(failures(&panicked)[promises()[0].0].contains("panic"), "{panicked}");
    }
}
