//! The engines of this build.

use std::sync::Arc;

use runtime_engine::Engine;
use runtime_engine_native::NativeEngine;

/// The engines that can be named, in the order of preference before anything is measured.
#[derive(Clone, Default)]
pub struct Engines {
    engines: Vec<Arc<dyn Engine>>,
}

impl Engines {
    /// Every engine that is built in.
    pub fn standard() -> Self {
        Self::default().with(Arc::new(NativeEngine::new()))
    }

    /// The same engines and `engine`, which replaces one of the same name.
    #[must_use]
    pub fn with(mut self, engine: Arc<dyn Engine>) -> Self {
        match self.engines.iter_mut().find(|other| other.name() == engine.name()) {
            Some(place) => *place = engine,
            None => self.engines.push(engine),
        }
        self
    }

    /// The engine of this name.
    pub fn get(&self, name: &str) -> Option<Arc<dyn Engine>> {
        self.engines.iter().find(|engine| engine.name() == name).cloned()
    }

    /// All names, the preferred one first.
    pub fn names(&self) -> Vec<&str> {
        self.engines.iter().map(|engine| engine.name()).collect()
    }
}

impl std::fmt::Debug for Engines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Engines").field(&self.names()).finish()
    }
}
