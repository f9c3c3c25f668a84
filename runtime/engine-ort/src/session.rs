//! A loaded model.

use std::time::Instant;

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{Session as RawSession, SessionInputValue, SessionOutputs};
use runtime_engine::{
    CheckedRequest, Coverage, EngineError, NumericsClass, Session, catch_panic, check_deadline, check_request,
};
use runtime_tensor::{NamedTensor, TensorSpec};

use crate::alarm::Alarm;
use crate::engine::NAME;
use crate::ffi;
use crate::values::{from_ort, spec, to_ort};

/// What the allocator calls the bytes that it holds.
const ALLOCATED: &std::ffi::CStr = c"TotalAllocated";

/// A model in ONNX Runtime.
pub(crate) struct OrtSession {
    /// `None` only while it is dropped.
    session: Option<RawSession>,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    coverage: Coverage,
    model_bytes: u64,
    alarm: Alarm,
}

impl OrtSession {
    pub(crate) fn new(session: RawSession, coverage: Coverage, model_bytes: u64) -> Result<Self, EngineError> {
        let inputs = session.inputs().iter().map(spec).collect::<Result<_, _>>()?;
        let outputs = session.outputs().iter().map(spec).collect::<Result<_, _>>()?;
        let alarm = Alarm::new().map_err(run_error)?;
        Ok(Self { session: Some(session), inputs, outputs, coverage, model_bytes, alarm })
    }
}

impl Drop for OrtSession {
    fn drop(&mut self) {
        drop(self.session.take());
        // glibc keeps what a session held; a device has better use for it.
        ffi::trim_memory();
    }
}

impl Session for OrtSession {
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
        let (outputs, alarm) = (&self.outputs, &mut self.alarm);
        let Some(session) = self.session.as_mut() else { return Err(internal("the session is closed".into())) };
        let answer = catch_panic(NAME, || {
            let values: Vec<SessionInputValue<'_>> =
                tensors.into_iter().map(to_ort).collect::<ort::Result<_>>().map_err(run_error)?;
            let copy = |answers: &SessionOutputs<'_>| {
                let named = |&position: &usize| {
                    let spec: &TensorSpec = &outputs[position];
                    Ok((spec.name.clone(), from_ort(&answers[position], spec)?))
                };
                wanted.iter().map(named).collect()
            };
            match deadline {
                None => copy(&session.run(&values[..]).map_err(run_error)?),
                Some(deadline) => {
                    let set = alarm.set(deadline).map_err(run_error)?;
                    copy(&session.run_with_options(&values[..], set.options()).map_err(run_error)?)
                }
            }
        });
        // Whatever a stopped run says, the reason is the deadline; and an answer that is late is none.
        check_deadline(deadline)?;
        answer
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    /// What the session's allocator holds, at least the model's size: weights that are used as the file has them lie
    /// outside of that allocator, and the library does not say how many.
    fn resident_bytes(&self) -> u64 {
        let held = catch_panic(NAME, || {
            let session = self.session.as_ref().ok_or_else(|| internal("the session is closed".into()))?;
            let main = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Arena, MemoryType::Default)
                .map_err(run_error)?;
            let allocator = Allocator::new(session, main).map_err(run_error)?;
            Ok(ffi::allocator_statistic(&allocator, ALLOCATED))
        });
        held.ok().flatten().unwrap_or(0).max(self.model_bytes)
    }

    fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn numerics(&self) -> NumericsClass {
        NumericsClass::Float
    }

    fn isa(&self) -> &str {
        "onnxruntime"
    }
}

fn internal(reason: String) -> EngineError {
    EngineError::Internal { engine: NAME.into(), reason }
}

fn run_error(error: ort::Error) -> EngineError {
    internal(format!("ONNX Runtime: {}", error.message().trim()))
}
