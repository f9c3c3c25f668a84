//! Chooses an engine by measurement, proves a model on this device, runs it on bounded threads.
//!
//! The only crate that knows which engines are built in. It blocks and knows no async runtime; it never reads or
//! writes a model's files, never decides what to install, and never answers from a model that was taken away.
#![forbid(unsafe_code)]

mod bench;
mod chain;
mod engines;
mod error;
mod inference;
mod isa;
mod latency;
mod loading;
mod machine;
mod model;
mod prove;
mod queue;
mod request;
mod runtime;
mod seeded;
mod statistics;

pub use bench::{BenchOptions, BenchReport, bench};
pub use engines::Engines;
pub use error::InferError;
pub use inference::{Inference, InferenceOptions};
pub use isa::{ISA_VARIABLE, IsaError, IsaLevel, check_isa, fastest_isa, isa_levels};
pub use machine::{peak_bytes, read_machine, resident_bytes};
pub use model::{Absence, Activation, ActiveModel, ModelFiles, ModelIdentity, ModelMetadata, ModelState, ServedModel};
pub use prove::{Proof, ProofFailure, ProveOptions, prove};
pub use request::{InferReply, InferRequest, RUNG_FIRST, RUNG_LAST_GOOD, RUNG_NEXT_ENGINE, Reply};
pub use runtime_engine_ort::LibraryInfo;
pub use seeded::seeded_inputs;
pub use statistics::Statistics;
