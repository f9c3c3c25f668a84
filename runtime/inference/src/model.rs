//! A model as this crate gets it: bytes that somebody else has verified, and what was promised about them.

use std::sync::Arc;

use runtime_artifact::{Contract, GoldenSet, Limits, Numerics};
use runtime_engine::{NumericsClass, StateLink};
use runtime_tensor::{TensorSpec, Tolerance};

/// Which artifact an answer comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelIdentity {
    /// The artifact's name.
    pub artifact: String,
    /// The artifact's version (semver).
    pub version: String,
    /// The growing integer beside the version; the version in URLs.
    pub number: u64,
    /// SHA-256 of the manifest, in hex.
    pub digest: String,
}

/// One variant of an artifact, read and verified by the caller.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// Which artifact this is.
    pub identity: ModelIdentity,
    /// Id of the variant in the manifest.
    pub variant_id: String,
    /// The bytes of one ONNX file.
    pub model: Vec<u8>,
    /// Inputs with expected outputs.
    pub golden: GoldenSet,
    /// What the variant may take; 0 states no limit.
    pub limits: Limits,
    /// How close answers must be to the golden ones.
    pub numerics: Numerics,
    /// Inputs, outputs, states and labels.
    pub contract: Contract,
}

impl ModelFiles {
    /// How far an answer may lie from the golden one.
    pub fn tolerance(&self) -> Tolerance {
        match self.numerics {
            Numerics::Exact => Tolerance::EXACT,
            Numerics::Tolerance { absolute_e9, relative_e9 } => {
                Tolerance { absolute: absolute_e9 as f64 * 1e-9, relative: relative_e9 as f64 * 1e-9 }
            }
        }
    }

    /// The contract's state pairs as engines know them.
    pub(crate) fn state_links(&self) -> Vec<StateLink> {
        let link =
            |pair: &runtime_artifact::StatePair| StateLink { input: pair.input.clone(), output: pair.output.clone() };
        self.contract.states.iter().map(link).collect()
    }
}

/// A model and the engines that it may run on, the best first.
#[derive(Clone, Debug)]
pub struct ServedModel {
    /// The model.
    pub files: Arc<ModelFiles>,
    /// Names of engines, in the order to try them: a [`Proof`](crate::Proof) lists those that passed.
    pub engines: Vec<String>,
}

/// What is to answer under one model name.
#[derive(Clone, Debug)]
pub struct ActiveModel {
    /// Rung 1 on its first engine, rung 2 on the others.
    pub primary: ServedModel,
    /// Rung 3.
    pub last_good: Option<ServedModel>,
}

/// Which rung is ready after an activation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    /// The model name.
    pub name: String,
    /// The rung that loaded: 1 is the model on its best engine.
    pub rung: u8,
    /// The engine that loaded.
    pub engine: String,
    /// Why better rungs did not load; empty at rung 1.
    pub passed_over: Vec<String>,
}

/// Why nothing answers under a known model name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Nothing is active yet, or it was deactivated; the text says why.
    NotReady(String),
    /// Everything that could answer is on the signed deny-list.
    Denied,
}

/// What is known about a served model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelMetadata {
    /// The active artifact.
    pub identity: ModelIdentity,
    /// Inputs that a request must give; states are kept inside and not listed.
    pub inputs: Vec<TensorSpec>,
    /// Outputs that a request may ask for.
    pub outputs: Vec<TensorSpec>,
    /// The engine that answers unless it fails.
    pub engine: String,
    /// Its instruction set.
    pub isa: String,
    /// Whether its answers are the same bytes on every machine.
    pub numerics: NumericsClass,
    /// Names of the classes, in the order of the output; empty when the contract has none.
    pub labels: Vec<String>,
    /// Whether it answers now.
    pub ready: bool,
    /// Bytes that the loaded sessions hold while idle.
    pub resident_bytes: u64,
}

/// Whether a model name is known and answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// It answers.
    Ready,
    /// It is known and does not answer.
    Absent(Absence),
    /// Nobody has named it.
    Unknown,
}
