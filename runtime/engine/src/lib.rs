//! The traits Engine and Session: what every inference engine owes its caller.
//!
//! An engine turns the bytes of one ONNX file into a session; a session answers from one thread at a time. No
//! method panics on bad bytes or bad inputs, and none falls back to another engine or precision in silence:
//! what an engine cannot do is [`EngineError::Unsupported`], by name.
#![forbid(unsafe_code)]

mod coverage;
mod error;
mod guard;
mod options;
mod states;
mod validate;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::time::Instant;

use runtime_tensor::{NamedTensor, TensorSpec};

pub use coverage::{Coverage, LeftOut, NumericsClass};
pub use error::EngineError;
pub use guard::catch_panic;
pub use options::LoadOptions;
pub use states::{StateLink, with_states};
pub use validate::{CheckedRequest, check_deadline, check_inputs, check_request, check_wanted};

/// A way to run models: a CPU engine, ONNX Runtime, a GPU.
pub trait Engine: Send + Sync {
    /// The suffix of the engine's crate: `native`, `ort`, `wgpu`. Stands in every answer.
    fn name(&self) -> &'static str;

    /// Version of the engine and of what it is built on; part of the key of compiled models and measurements.
    fn build(&self) -> String;

    /// Prepares `model`, the verified bytes of one ONNX file.
    ///
    /// Errors: [`EngineError::BadModel`] for bytes that are no valid model, [`EngineError::Unsupported`] for a
    /// valid one that this engine cannot run as `options` ask, [`EngineError::NoDevice`] for a missing device.
    fn load(&self, model: &[u8], options: &LoadOptions) -> Result<Box<dyn Session>, EngineError>;
}

/// A loaded model. One thread at a time.
pub trait Session: Send {
    /// The model's inputs, without initializers, in the model's order.
    fn inputs(&self) -> &[TensorSpec];

    /// The model's outputs, in the model's order.
    fn outputs(&self) -> &[TensorSpec];

    /// Answers one request.
    ///
    /// `inputs` names every input once, in any order. `wanted` names the outputs to return, in the order to
    /// return them; empty means all. After an error the session is as it was before the call, state included,
    /// and usable. A `deadline` that has passed before or during the run is [`EngineError::Deadline`]; engines
    /// look at the clock between operators, so a run may end up to one operator late.
    fn run(
        &mut self,
        inputs: &[NamedTensor],
        wanted: &[String],
        deadline: Option<Instant>,
    ) -> Result<Vec<NamedTensor>, EngineError>;

    /// Forgets state that earlier runs left (recurrent models); does nothing for a stateless model.
    fn reset(&mut self) -> Result<(), EngineError>;

    /// Bytes that this session holds in memory while idle: packed weights, arena, tables.
    fn resident_bytes(&self) -> u64;

    /// Which part of the model the engine's own kernels take, and what they leave out and why.
    fn coverage(&self) -> &Coverage;

    /// Whether answers are the same bytes on every machine.
    fn numerics(&self) -> NumericsClass;

    /// The instruction set that the kernels of this session use: `scalar`, `avx2`, `neon`; with the name of another
    /// runtime where that runs a part of the model or all of it: `avx2+tract`, `tract`.
    fn isa(&self) -> &str;
}
