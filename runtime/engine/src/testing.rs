//! A test engine: two named inputs, a dynamic batch, state, and faults on command.
//!
//! Its models are a line of text. It answers with arithmetic that a test can do in its head, and fails, panics or
//! waits when its [`Faults`] say so, which a real engine will not do on command.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use runtime_tensor::{Dimension, ElementType, NamedTensor, Tensor, TensorSpec};

use crate::{
    CheckedRequest, Coverage, Engine, EngineError, LoadOptions, NumericsClass, Session, catch_panic, check_deadline,
    check_request,
};

/// The models that the test engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestModel {
    /// x: f32\[1, 4\] -> y: f32\[1, 4\] = 2 x + 1.
    Affine,
    /// x: f32\[batch, 4\] -> y: f32\[batch\] = sum of each row.
    RowSum,
    /// left: f32\[batch, 3\], right: i32\[batch, 3\] -> sum, difference: f32\[batch, 3\].
    Pair,
    /// x, state_in: f32\[batch, 2\] -> y, state_out: f32\[batch, 2\] = x + state_in.
    Accumulate,
}

const MODELS: [(TestModel, &str); 4] = [
    (TestModel::Affine, "test-model affine"),
    (TestModel::RowSum, "test-model row-sum"),
    (TestModel::Pair, "test-model pair"),
    (TestModel::Accumulate, "test-model accumulate"),
];

impl TestModel {
    /// The bytes to load.
    pub fn bytes(self) -> Vec<u8> {
        let row = MODELS.iter().find(|(model, _)| *model == self);
        row.map(|(_, text)| text.as_bytes().to_vec()).unwrap_or_default()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        MODELS.iter().find(|(_, text)| text.as_bytes() == bytes).map(|(model, _)| *model)
    }

    fn inputs(self) -> Vec<TensorSpec> {
        match self {
            Self::Affine => vec![spec("x", ElementType::F32, &[Some(1), Some(4)])],
            Self::RowSum => vec![spec("x", ElementType::F32, &[None, Some(4)])],
            Self::Pair => vec![
                spec("left", ElementType::F32, &[None, Some(3)]),
                spec("right", ElementType::I32, &[None, Some(3)]),
            ],
            Self::Accumulate => vec![
                spec("x", ElementType::F32, &[None, Some(2)]),
                spec("state_in", ElementType::F32, &[None, Some(2)]),
            ],
        }
    }

    fn outputs(self) -> Vec<TensorSpec> {
        match self {
            Self::Affine => vec![spec("y", ElementType::F32, &[Some(1), Some(4)])],
            Self::RowSum => vec![spec("y", ElementType::F32, &[None])],
            Self::Pair => ["sum", "difference"].map(|name| spec(name, ElementType::F32, &[None, Some(3)])).to_vec(),
            Self::Accumulate => ["y", "state_out"].map(|name| spec(name, ElementType::F32, &[None, Some(2)])).to_vec(),
        }
    }

    fn compute(self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let first = inputs[0].as_f32()?;
        let shape = inputs[0].shape().to_vec();
        let pairs = |right: Vec<f32>, operation: fn(f32, f32) -> f32| {
            let values = first.iter().zip(&right).map(|(&left, &right)| operation(left, right)).collect();
            Tensor::from_f32(shape.clone(), values)
        };
        Ok(match self {
            Self::Affine => vec![Tensor::from_f32(shape.clone(), first.iter().map(|x| 2.0 * x + 1.0).collect())?],
            Self::RowSum => {
                vec![Tensor::from_f32(vec![shape[0]], first.chunks_exact(4).map(|row| row.iter().sum()).collect())?]
            }
            Self::Pair => {
                let right = inputs[1].to_f32_vec()?;
                vec![pairs(right.clone(), |a, b| a + b)?, pairs(right, |a, b| a - b)?]
            }
            Self::Accumulate => {
                let sum = pairs(inputs[1].to_f32_vec()?, |a, b| a + b)?;
                vec![sum.clone(), sum]
            }
        })
    }
}

fn spec(name: &str, element: ElementType, sizes: &[Option<u64>]) -> TensorSpec {
    let dimension = |size: &Option<u64>| size.map_or_else(|| Dimension::Symbol("batch".into()), Dimension::Fixed);
    TensorSpec { name: name.into(), element, shape: sizes.iter().map(dimension).collect() }
}

/// What is to go wrong; shared with the engine, changed while it runs.
#[derive(Debug, Default)]
pub struct Faults {
    loads_failing: AtomicU32,
    runs_failing: AtomicU32,
    runs_panicking: AtomicU32,
    answers_wrong: AtomicBool,
    gate: Gate,
    loads: AtomicU32,
    runs: AtomicU32,
}

impl Faults {
    /// The next `count` loads fail.
    pub fn fail_loads(&self, count: u32) {
        self.loads_failing.store(count, Ordering::SeqCst);
    }

    /// The next `count` runs fail.
    pub fn fail_runs(&self, count: u32) {
        self.runs_failing.store(count, Ordering::SeqCst);
    }

    /// The next `count` runs panic inside the engine.
    pub fn panic_runs(&self, count: u32) {
        self.runs_panicking.store(count, Ordering::SeqCst);
    }

    /// From now on every answer is off by one.
    pub fn answer_wrong(&self, wrong: bool) {
        self.answers_wrong.store(wrong, Ordering::SeqCst);
    }

    /// The gate that every run passes.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Loads tried so far.
    pub fn loads(&self) -> u32 {
        self.loads.load(Ordering::SeqCst)
    }

    /// Runs tried so far.
    pub fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }

    fn take(counter: &AtomicU32) -> bool {
        counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

/// Holds runs until a test opens it, so that tests of queues need no sleep.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    closed: bool,
    waiting: u32,
}

impl Gate {
    /// Runs that start from now on wait.
    pub fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    }

    /// Lets every waiting and later run pass.
    pub fn open(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = false;
        self.changed.notify_all();
    }

    /// Blocks until `count` runs wait at the gate.
    pub fn wait_for(&self, count: u32) {
        let guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(guard, |state| state.waiting < count));
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting += 1;
        self.changed.notify_all();
        while state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
    }
}

/// The test engine.
#[derive(Debug)]
pub struct TestEngine {
    name: &'static str,
    faults: Arc<Faults>,
    numerics: NumericsClass,
}

impl TestEngine {
    /// An engine of this name without faults.
    pub fn new(name: &'static str) -> Self {
        Self { name, faults: Arc::default(), numerics: NumericsClass::Exact }
    }

    /// The same engine, saying that its numerics are `numerics`.
    pub fn with_numerics(mut self, numerics: NumericsClass) -> Self {
        self.numerics = numerics;
        self
    }

    /// The handle that makes it fail.
    pub fn faults(&self) -> Arc<Faults> {
        Arc::clone(&self.faults)
    }

    fn internal(&self, reason: &str) -> EngineError {
        EngineError::Internal { engine: self.name.into(), reason: reason.into() }
    }
}

impl Engine for TestEngine {
    fn name(&self) -> &'static str {
        self.name
    }

    fn build(&self) -> String {
        concat!("test ", env!("CARGO_PKG_VERSION")).to_owned()
    }

    fn load(&self, model: &[u8], options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        self.faults.loads.fetch_add(1, Ordering::SeqCst);
        if Faults::take(&self.faults.loads_failing) {
            return Err(self.internal("told to fail this load"));
        }
        if let Some(device) = &options.device {
            return Err(EngineError::NoDevice { device: device.clone(), reason: "the test engine has none".into() });
        }
        let model = TestModel::parse(model)
            .ok_or_else(|| EngineError::BadModel { reason: "found no line \"test-model NAME\"".into() })?;
        Ok(Box::new(TestSession {
            engine: self.name,
            model,
            inputs: model.inputs(),
            outputs: model.outputs(),
            coverage: Coverage { nodes_total: 1, nodes_covered: 1, ..Coverage::default() },
            faults: self.faults(),
            numerics: self.numerics,
        }))
    }
}

struct TestSession {
    engine: &'static str,
    model: TestModel,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    coverage: Coverage,
    faults: Arc<Faults>,
    numerics: NumericsClass,
}

impl Session for TestSession {
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
        let CheckedRequest { tensors, wanted, .. } =
            check_request(&self.inputs, &self.outputs, inputs, wanted, deadline)?;
        self.faults.runs.fetch_add(1, Ordering::SeqCst);
        self.faults.gate.pass();
        check_deadline(deadline)?;
        if Faults::take(&self.faults.runs_failing) {
            return Err(EngineError::Internal { engine: self.engine.into(), reason: "told to fail this run".into() });
        }
        let mut outputs = catch_panic(self.engine, || {
            assert!(!Faults::take(&self.faults.runs_panicking), "told to panic in this run");
            self.model.compute(&tensors)
        })?;
        if self.faults.answers_wrong.load(Ordering::SeqCst) {
            for output in &mut outputs {
                output.as_f32_mut()?.iter_mut().for_each(|value| *value += 1.0);
            }
        }
        Ok(wanted.into_iter().map(|at| (self.outputs[at].name.clone(), outputs[at].clone())).collect())
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn resident_bytes(&self) -> u64 {
        4096
    }

    fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn numerics(&self) -> NumericsClass {
        self.numerics
    }

    fn isa(&self) -> &str {
        "scalar"
    }
}
