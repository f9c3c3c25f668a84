//! Requests and replies.

use std::time::Instant;

use runtime_tensor::NamedTensor;

use crate::{InferError, ModelIdentity};

/// The active artifact on its best engine.
pub const RUNG_FIRST: u8 = 1;
/// The active artifact on another engine.
pub const RUNG_NEXT_ENGINE: u8 = 2;
/// The last good artifact.
pub const RUNG_LAST_GOOD: u8 = 3;

/// One request.
#[derive(Clone, Debug, Default)]
pub struct InferRequest {
    /// The model's name.
    pub model: String,
    /// Answer only when this number is the active one.
    pub number: Option<u64>,
    /// Every input, in any order.
    pub inputs: Vec<NamedTensor>,
    /// Outputs to return; empty means all.
    pub wanted: Vec<String>,
    /// When the answer is of no more use; at most the options' `time_max` from now.
    pub deadline: Option<Instant>,
    /// Rung 1 or an error: no other engine, no other artifact.
    pub strict: bool,
}

/// The answer, and what gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct InferReply {
    /// The outputs, in the order asked for.
    pub outputs: Vec<NamedTensor>,
    /// The artifact that answered.
    pub identity: ModelIdentity,
    /// The engine that answered.
    pub engine: String,
    /// The rung that answered, 1 to 3.
    pub rung: u8,
}

type Callback = Box<dyn FnOnce(Result<InferReply, InferError>) + Send>;

/// The way back to who asked. Answers exactly once: dropped unanswered it says [`InferError::Closed`], so nobody
/// waits for a worker that is gone.
pub struct Reply {
    callback: Option<Callback>,
}

impl Reply {
    /// Calls `callback` with the answer, on the thread that has it: it must be short and must not block.
    pub fn new(callback: impl FnOnce(Result<InferReply, InferError>) + Send + 'static) -> Self {
        Self { callback: Some(Box::new(callback)) }
    }

    /// Gives the answer.
    pub(crate) fn send(mut self, answer: Result<InferReply, InferError>) {
        if let Some(callback) = self.callback.take() {
            callback(answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(callback) = self.callback.take() {
            callback(Err(InferError::Closed));
        }
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply")
    }
}
