//! Loading a model on an engine, with its states closed into loops.

use runtime_engine::{Engine, EngineError, LoadOptions, Session, catch_panic, with_states};

use crate::ModelFiles;

/// Loads `files` on `engine`. A panic in the engine is an error.
pub(crate) fn load(
    engine: &dyn Engine,
    files: &ModelFiles,
    options: &LoadOptions,
) -> Result<Box<dyn Session>, EngineError> {
    let session = catch_panic(engine.name(), || engine.load(&files.model, options))?;
    with_states(session, &files.state_links())
}
