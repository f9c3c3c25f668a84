//! The engine.

use runtime_engine::{Engine, EngineError, LoadOptions, Session};

/// The default engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct NativeEngine {}

impl NativeEngine {
    /// The engine with every instruction set that is built in.
    pub fn new() -> Self {
        Self {}
    }
}

impl Engine for NativeEngine {
    fn name(&self) -> &'static str {
        "native"
    }

    fn build(&self) -> String {
        concat!("native ", env!("CARGO_PKG_VERSION"), ", tract 0.23").to_owned()
    }

    fn load(&self, _model: &[u8], _options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        Err(EngineError::Unsupported { engine: "native".into(), reason: "nothing is covered yet".into() })
    }
}
