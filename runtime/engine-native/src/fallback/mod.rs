//! A session in tract: float arithmetic, any model that tract takes, with each compiled region as one operator.
//!
//! The one place that knows tract's types. tract is asked for the most general form first (symbols stay symbols);
//! a model that it cannot optimize that way gets a plan for each shape that it meets, a few of which are kept. Where it
//! does not take a model with its regions, it gets the model without.

mod operator;
mod rest;
mod tensors;

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use runtime_engine::{
    CheckedRequest, Coverage, EngineError, LeftOut, NumericsClass, Session, catch_panic, check_deadline, check_request,
};
use runtime_graph::Model;
use runtime_kernels::Table;
use runtime_tensor::{Dimension, NamedTensor, TensorSpec};
use tract_onnx::prelude::{
    Framework, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, Symbol, TDim, TValue, TVec, TractError,
    TractResult, TypedRunnableModel, TypedSimpleState,
};
use tract_onnx::tract_core::plan::eval;

use crate::engine::{NAME, read};
use crate::region::{Leftover, Region};
use crate::simplify::{has_quantization, simplify};
use operator::{RegionOperator, place_regions};
use rest::leave_rest;
use tensors::{datum_type, from_tract, to_tract};

/// What stands for the instruction set of a model in tract, which chooses its own.
const TRACT: &str = "tract";
/// Plans for different shapes that one session keeps.
const PLANS_MAX: usize = 4;

type Plan = std::sync::Arc<TypedRunnableModel>;
type Bindings = BTreeMap<String, u64>;

/// A model that tract runs.
pub(crate) struct FloatSession {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    /// For each of tract's inputs the position of ours.
    input_order: Vec<usize>,
    plans: Plans,
    regions: Vec<RegionOperator>,
    coverage: Coverage,
    isa: String,
    weight_bytes: u64,
}

enum Plans {
    /// One plan for every shape.
    Any(Plan),
    /// The model, and plans for the shapes met, the latest last.
    ByShape { model: Box<InferenceModel>, plans: VecDeque<(Bindings, Plan)> },
}

/// Loads `model`, which was read from `bytes` and of which `leftover` is left out.
pub(crate) fn load(
    bytes: &[u8],
    mut model: Model,
    leftover: Leftover,
    table: &'static Table,
    threads: usize,
) -> Result<FloatSession, EngineError> {
    let parts = leftover.into_parts(table, threads);
    let mut coverage = parts.coverage.clone();
    if !parts.regions.is_empty() {
        let isa = format!("{}+{TRACT}", table.isa.name());
        let mixed = leave_rest(&mut model, parts);
        match mixed.and_then(|(coverage, regions)| FloatSession::new(model, coverage, regions, isa)) {
            Ok(session) => return Ok(session),
            Err(error) => {
                tracing::debug!(%error, "tract does not take the model with its compiled regions");
                let node = "the compiled regions".to_owned();
                coverage.left_out.insert(0, LeftOut { node, operator: "graph".into(), reason: error.to_string() });
                coverage.left_out.truncate(Coverage::LEFT_OUT_MAX);
            }
        }
        model = read(bytes)?;
    }
    FloatSession::new(model, coverage, Vec::new(), TRACT.to_owned())
}

impl FloatSession {
    /// `regions` are operators of `model`; `coverage` says why not everything is in one.
    fn new(mut model: Model, coverage: Coverage, regions: Vec<Region>, isa: String) -> Result<Self, EngineError> {
        let (inputs, outputs) = (model.inputs(), model.outputs());
        if has_quantization(model.graph()) {
            let opset = model.opset();
            simplify(model.graph_mut(), opset)
                .map_err(|reason| EngineError::Unsupported { engine: NAME.into(), reason })?;
        }
        let weights = model.graph().initializers.values().map(|tensor| tensor.bytes().len() as u64);
        let weights: u64 = weights.sum();
        // An unchanged model is written as the very bytes that were read.
        let bytes = model.write();
        drop(model);
        let parse = || {
            let onnx = tract_onnx::onnx().with_ignore_output_shapes(true);
            // What the file notes of inner values names symbols that a plan for one shape has no longer.
            let onnx = onnx.with_ignore_value_info(!regions.is_empty());
            onnx.model_for_read(&mut bytes.as_slice())
        };
        let mut parsed = guarded(parse).map_err(|error| unsupported(&error, &coverage))?;
        let regions = place_regions(&mut parsed, regions).map_err(internal)?;
        let input_order = input_order(&parsed, &inputs)?;
        if parsed.output_outlets().map_or(0, <[_]>::len) != outputs.len() {
            return Err(internal("tract finds another number of outputs than the model has".into()));
        }
        let plans = Plans::of(parsed, &inputs, &input_order).map_err(|error| unsupported(&error, &coverage))?;
        let programs: u64 = regions.iter().map(RegionOperator::resident_bytes).sum();
        let weight_bytes = plans.constant_bytes().max(weights) + programs;
        Ok(Self { inputs, outputs, input_order, plans, regions, coverage, isa, weight_bytes })
    }
}

/// For each of tract's inputs the position of ours: tract keeps the model's names.
fn input_order(model: &InferenceModel, inputs: &[TensorSpec]) -> Result<Vec<usize>, EngineError> {
    let outlets = model.input_outlets().unwrap_or_default();
    let position = |name: &str| inputs.iter().position(|spec| spec.name == name);
    let order: Option<Vec<usize>> = outlets.iter().map(|outlet| position(&model.node(outlet.node).name)).collect();
    match order {
        Some(order) if order.len() == inputs.len() => Ok(order),
        _ => Err(internal("tract finds other inputs than the model has".into())),
    }
}

impl Plans {
    fn of(model: InferenceModel, inputs: &[TensorSpec], order: &[usize]) -> TractResult<Self> {
        if let Ok(plan) = guarded(|| plan(&model, inputs, order, None)) {
            return Ok(Self::Any(plan));
        }
        let symbols = inputs.iter().flat_map(|spec| &spec.shape).filter_map(|size| match size {
            Dimension::Symbol(symbol) => Some((symbol.clone(), 1)),
            Dimension::Fixed(_) => None,
        });
        let ones: Bindings = symbols.collect();
        let first = guarded(|| plan(&model, inputs, order, Some(&ones)))?;
        Ok(Self::ByShape { model: Box::new(model), plans: VecDeque::from([(ones, first)]) })
    }

    fn get(&mut self, inputs: &[TensorSpec], order: &[usize], bindings: &Bindings) -> TractResult<Plan> {
        match self {
            Self::Any(plan) => Ok(plan.clone()),
            Self::ByShape { model, plans } => {
                if let Some((_, plan)) = plans.iter().find(|(shape, _)| shape == bindings) {
                    return Ok(plan.clone());
                }
                let made = plan(model, inputs, order, Some(bindings))?;
                if plans.len() == PLANS_MAX {
                    plans.pop_front();
                }
                plans.push_back((bindings.clone(), made.clone()));
                Ok(made)
            }
        }
    }

    /// Bytes of the constants of all plans.
    fn constant_bytes(&self) -> u64 {
        let of = |plan: &Plan| -> u64 {
            let constants = plan.model().nodes().iter().filter_map(|node| {
                let constant = node.outputs.first()?.fact.konst.as_ref()?;
                Some((constant.len() * constant.datum_type().size_of()) as u64)
            });
            constants.sum()
        };
        match self {
            Self::Any(plan) => of(plan),
            Self::ByShape { plans, .. } => plans.iter().map(|(_, plan)| of(plan)).sum(),
        }
    }
}

/// A plan for `bindings`, or for every shape.
fn plan(
    model: &InferenceModel,
    inputs: &[TensorSpec],
    order: &[usize],
    bindings: Option<&Bindings>,
) -> TractResult<Plan> {
    let mut model = model.clone();
    for (place, &position) in order.iter().enumerate() {
        let spec = &inputs[position];
        let dimension = |size: &Dimension| match size {
            Dimension::Fixed(size) => TDim::from(i64::try_from(*size).unwrap_or(i64::MAX)),
            Dimension::Symbol(symbol) => match bindings.and_then(|bindings| bindings.get(symbol)) {
                Some(&size) => TDim::from(i64::try_from(size).unwrap_or(i64::MAX)),
                None => TDim::from(symbol_of(&model, symbol)),
            },
        };
        let shape: TVec<TDim> = spec.shape.iter().map(dimension).collect();
        model.set_input_fact(place, InferenceFact::dt_shape(datum_type(spec.element)?, shape))?;
    }
    model.into_optimized()?.into_runnable()
}

/// tract asserts what it expects of a model; a model that breaks an assertion is one that it does not take.
fn guarded<T>(work: impl FnOnce() -> TractResult<T>) -> TractResult<T> {
    match catch_panic(NAME, || Ok(work())) {
        Ok(answer) => answer,
        Err(panic) => Err(TractError::msg(panic.to_string())),
    }
}

fn symbol_of(model: &InferenceModel, symbol: &str) -> Symbol {
    model.symbols.sym(symbol)
}

impl Session for FloatSession {
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
        catch_panic(NAME, || {
            let plan = self.plans.get(&self.inputs, &self.input_order, &bindings).map_err(|error| run_error(&error))?;
            let values = self.input_order.iter().map(|&position| to_tract(tensors[position]));
            let values: TVec<TValue> = values.collect::<TractResult<_>>().map_err(|error| run_error(&error))?;
            self.regions.iter().for_each(|region| region.set_deadline(deadline));
            let answers = run_until(&plan, values, deadline)?;
            let named = |position: usize| {
                let spec = &self.outputs[position];
                Ok((spec.name.clone(), from_tract(&answers[position], spec)?))
            };
            wanted.into_iter().map(named).collect()
        })
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn resident_bytes(&self) -> u64 {
        self.weight_bytes
    }

    fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn numerics(&self) -> NumericsClass {
        NumericsClass::Float
    }

    fn isa(&self) -> &str {
        &self.isa
    }
}

/// Marks that the deadline passed, on its way through tract's own error type.
#[derive(Debug, thiserror::Error)]
#[error("the deadline passed")]
struct DeadlinePassed;

/// Runs a plan, looking at the clock before every node.
fn run_until(plan: &Plan, inputs: TVec<TValue>, deadline: Option<Instant>) -> Result<TVec<TValue>, EngineError> {
    let mut state = TypedSimpleState::new(plan).map_err(|error| run_error(&error))?;
    let answers = state.run_plan_with_eval(inputs, |context, node_state, node, inputs| {
        if check_deadline(deadline).is_err() {
            return Err(DeadlinePassed.into());
        }
        eval(context, node_state, node, inputs)
    });
    answers.map_err(|error| match error.chain().any(|cause| cause.is::<DeadlinePassed>()) {
        true => EngineError::Deadline,
        false => run_error(&error),
    })
}

fn run_error(error: &TractError) -> EngineError {
    internal(format!("tract: {error:#}"))
}

fn internal(reason: String) -> EngineError {
    EngineError::Internal { engine: NAME.into(), reason }
}

/// What tract could not load, after what the kernels could not.
fn unsupported(error: &TractError, coverage: &Coverage) -> EngineError {
    let integer = match coverage.left_out.first() {
        Some(node) => format!("; no kernel takes {} ({}): {}", node.node, node.operator, node.reason),
        None => String::new(),
    };
    EngineError::Unsupported { engine: NAME.into(), reason: format!("tract: {error:#}{integer}") }
}
