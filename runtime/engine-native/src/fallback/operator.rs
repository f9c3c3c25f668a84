//! A compiled region as an operator of tract.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use runtime_engine::EngineError;
use runtime_tensor::{Dimension, Tensor, TensorSpec};
use tract_onnx::prelude::{
    DatumType, DatumTypeExt, InferenceModel, SpecialOps, TDim, TValue, TVec, TractError, TractResult, TypedFact,
    TypedModel,
};
use tract_onnx::tract_core::internal::{EvalContext, EvalOp, Op, OutletId, StaticName, TypedOp};
use tract_onnx::tract_hir::infer::{InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{Expansion, expand};
use tract_onnx::tract_hir::ops::unimpl::UnimplementedOp;

use super::DeadlinePassed;
use super::rest::region_name;
use super::tensors::{datum_type, from_tract, to_tract};
use crate::program::Program;
use crate::region::Region;

/// A handle on a region; tract clones it with its models and plans.
#[derive(Clone)]
pub(super) struct RegionOperator(Arc<Inner>);

struct Inner {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    input_types: Vec<DatumType>,
    output_types: Vec<DatumType>,
    by_sample: bool,
    /// Only for the compiler: a session runs on one thread at a time.
    run: Mutex<Run>,
}

struct Run {
    program: Program,
    deadline: Option<Instant>,
}

/// Makes the nodes of `model` that stand for `regions` run them.
pub(super) fn place_regions(model: &mut InferenceModel, regions: Vec<Region>) -> Result<Vec<RegionOperator>, String> {
    let mut operators = Vec::new();
    for (number, region) in regions.into_iter().enumerate() {
        let operator = RegionOperator::new(region).map_err(|error| format!("{error:#}"))?;
        let name = region_name(number);
        let mut nodes =
            model.nodes_mut().iter_mut().filter(|node| node.name == name && node.op_is::<UnimplementedOp>());
        match (nodes.next(), nodes.next()) {
            (Some(node), None) => node.op = expand(operator.clone()),
            _ => return Err(format!("another node of the model is called {name}, as only this engine's own may be")),
        }
        operators.push(operator);
    }
    Ok(operators)
}

impl RegionOperator {
    fn new(region: Region) -> TractResult<Self> {
        let types =
            |specs: &[TensorSpec]| specs.iter().map(|spec| datum_type(spec.element)).collect::<TractResult<_>>();
        let Region { inputs, outputs, by_sample, program } = region;
        Ok(Self(Arc::new(Inner {
            input_types: types(&inputs)?,
            output_types: types(&outputs)?,
            inputs,
            outputs,
            by_sample,
            run: Mutex::new(Run { program, deadline: None }),
        })))
    }

    /// When the next run is to be over.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        self.0.run.lock().unwrap_or_else(PoisonError::into_inner).deadline = deadline;
    }

    /// Bytes of the program.
    pub(super) fn resident_bytes(&self) -> u64 {
        self.0.run.lock().unwrap_or_else(PoisonError::into_inner).program.resident_bytes()
    }

    /// The shape of `spec` for `batch` samples.
    fn shape(&self, spec: &TensorSpec, batch: &TDim) -> TVec<TDim> {
        let size = |size: &Dimension| match size {
            Dimension::Fixed(size) => TDim::from(i64::try_from(*size).unwrap_or(i64::MAX)),
            Dimension::Symbol(_) => batch.clone(),
        };
        spec.shape.iter().map(size).collect()
    }

    fn answer(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let inner = self.0.as_ref();
        let given = inputs.iter().zip(&inner.inputs).map(|(value, spec)| from_tract(value, spec));
        let given: Vec<Tensor> = given.collect::<Result<_, _>>()?;
        let samples = match (inner.by_sample, given.first()) {
            (true, Some(first)) => first.shape().first().copied().unwrap_or(0),
            _ => 1,
        };
        let shape = |spec: &TensorSpec| -> Vec<usize> {
            let size = |size: &Dimension| match size {
                Dimension::Fixed(size) => usize::try_from(*size).unwrap_or(usize::MAX),
                Dimension::Symbol(_) => samples,
            };
            spec.shape.iter().map(size).collect()
        };
        if let Some((tensor, spec)) =
            given.iter().zip(&inner.inputs).find(|(tensor, spec)| tensor.shape() != shape(spec))
        {
            return Err(TractError::msg(format!("a region got {:?} for {spec}", tensor.shape())));
        }
        let answers = inner.outputs.iter().map(|spec| Tensor::zeros(spec.element, shape(spec)));
        let mut answers: Vec<Tensor> = answers.collect::<Result<_, _>>()?;
        let all: Vec<usize> = (0..answers.len()).collect();
        let references: Vec<&Tensor> = given.iter().collect();
        let mut run = inner.run.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = run.deadline;
        run.program.run(&references, samples, &all, &mut answers, deadline).map_err(|error| match error {
            EngineError::Deadline => TractError::from(DeadlinePassed),
            other => other.into(),
        })?;
        answers.iter().map(to_tract).collect()
    }
}

impl fmt::Debug for RegionOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegionOperator").field("inputs", &self.0.inputs).field("outputs", &self.0.outputs).finish()
    }
}

impl PartialEq for RegionOperator {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for RegionOperator {}

impl Op for RegionOperator {
    fn name(&self) -> StaticName {
        "CaskRegion".into()
    }

    fn as_typed(&self) -> Option<&dyn TypedOp> {
        Some(self)
    }
}

impl EvalOp for RegionOperator {
    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.answer(&inputs)
    }

    /// Nothing is folded: what a region reads comes from a request.
    fn eval_out_of_plan(&self, _inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        Ok(None)
    }
}

impl TypedOp for RegionOperator {
    fn as_op(&self) -> &dyn Op {
        self
    }

    fn as_op_mut(&mut self) -> &mut dyn Op {
        self
    }

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let inner = self.0.as_ref();
        let batch = inputs.first().and_then(|fact| fact.shape.dims().first()).cloned().unwrap_or_else(|| TDim::from(1));
        for (position, (fact, spec)) in inputs.iter().zip(&inner.inputs).enumerate() {
            let expected = self.shape(spec, &batch);
            if fact.datum_type != inner.input_types[position] || fact.shape.dims() != expected.as_slice() {
                return Err(TractError::msg(format!("a region would get {fact:?} for {spec}")));
            }
        }
        let facts = inner.outputs.iter().zip(&inner.output_types);
        Ok(facts.map(|(spec, datum_type)| datum_type.fact(self.shape(spec, &batch))).collect())
    }
}

impl Expansion for RegionOperator {
    fn name(&self) -> StaticName {
        "CaskRegion".into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.0.outputs.len())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let inner = self.0.as_ref();
        if inputs.len() != inner.inputs.len() || outputs.len() != inner.outputs.len() {
            return Err(TractError::msg("a region has other inputs or outputs than its node"));
        }
        let own = inner.inputs.iter().chain(&inner.outputs);
        let types = inner.input_types.iter().chain(&inner.output_types);
        for ((proxy, spec), &datum_type) in inputs.iter().chain(outputs).zip(own).zip(types) {
            solver.equals(&proxy.datum_type, datum_type)?;
            solver.equals(&proxy.rank, spec.shape.len() as i64)?;
            for (axis, size) in spec.shape.iter().enumerate() {
                match size {
                    Dimension::Fixed(size) => {
                        let size = TDim::from(i64::try_from(*size).unwrap_or(i64::MAX));
                        solver.equals(&proxy.shape[axis], size)?;
                    }
                    Dimension::Symbol(_) => solver.equals(&proxy.shape[axis], &inputs[0].shape[0])?,
                }
            }
        }
        Ok(())
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }

    fn runs_out_of_plan(&self) -> bool {
        false
    }
}
