//! How a model is to be loaded.

use std::path::PathBuf;

use crate::EngineError;

/// Options of [`Engine::load`](crate::Engine::load). An engine refuses an option that it cannot honour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The device to run on, by the engine's own name for it; `None` is the engine's first.
    pub device: Option<String>,
    /// Threads that one run may use; 0 means 1.
    pub threads: usize,
    /// Arithmetic to use where the engine offers a choice (`f16`); `None` is what the model says.
    pub precision: Option<String>,
    /// Refuse a model of which any node would leave the engine's own kernels.
    pub strict: bool,
    /// The instruction set to use; `None` is the fastest that this CPU has.
    pub isa: Option<String>,
    /// A folder for compiled models; `None` compiles at each load.
    pub compile_cache: Option<PathBuf>,
}

impl LoadOptions {
    /// Refuses another device than `cpu`, and any choice of precision: for `engine`, which has neither.
    pub fn expect_cpu(&self, engine: &str) -> Result<(), EngineError> {
        if let Some(device) = self.device.as_deref().filter(|&device| device != "cpu") {
            return Err(EngineError::NoDevice {
                device: device.into(),
                reason: "this engine runs on device cpu only".into(),
            });
        }
        if let Some(precision) = &self.precision {
            let reason = format!("precision {precision:?} cannot be chosen; the model says what it is");
            return Err(EngineError::Unsupported { engine: engine.into(), reason });
        }
        Ok(())
    }
}
