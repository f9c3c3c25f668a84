//! The engines of this build.

use std::path::Path;
use std::sync::Arc;

use runtime_engine::{Engine, EngineError, LoadOptions, Session};
use runtime_engine_native::NativeEngine;
use runtime_engine_ort::{LibraryInfo, OrtEngine};

/// The engines that can be named, in the order of preference before anything is measured.
#[derive(Clone, Default)]
pub struct Engines {
    engines: Vec<Arc<dyn Engine>>,
    isa: Option<String>,
    ort: Option<Result<LibraryInfo, EngineError>>,
}

impl Engines {
    /// Names of all engines that this build can have; `ort` also needs a library on the machine.
    pub const BUILT_IN: [&'static str; 2] = ["native", "ort"];

    /// Every engine that needs nothing but this build.
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

    /// The same engines and ONNX Runtime from `library`, or from where the system's search finds it.
    ///
    /// A library that is missing or does not fit leaves the others as they are;
    /// [`ort_library`](Self::ort_library) says why.
    #[must_use]
    pub fn with_ort(mut self, library: Option<&Path>) -> Self {
        match OrtEngine::open(library) {
            Ok(engine) => {
                self.ort = Some(Ok(engine.library().clone()));
                self.with(Arc::new(engine))
            }
            Err(error) => {
                self.ort = Some(Err(error));
                self
            }
        }
    }

    /// The same engines, whose loads use the instruction set `isa` unless their options name another.
    #[must_use]
    pub fn with_isa(mut self, isa: Option<String>) -> Self {
        self.isa = isa;
        self
    }

    /// The engine of this name.
    pub fn get(&self, name: &str) -> Option<Arc<dyn Engine>> {
        let engine = self.engines.iter().find(|engine| engine.name() == name).cloned()?;
        match &self.isa {
            Some(isa) => Some(Arc::new(ForcedIsa { engine, isa: isa.clone() })),
            None => Some(engine),
        }
    }

    /// All names, the preferred one first.
    pub fn names(&self) -> Vec<&str> {
        self.engines.iter().map(|engine| engine.name()).collect()
    }

    /// What came of the look for ONNX Runtime; `None` when nobody looked.
    pub fn ort_library(&self) -> Option<Result<&LibraryInfo, &EngineError>> {
        self.ort.as_ref().map(Result::as_ref)
    }
}

impl std::fmt::Debug for Engines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Engines").field(&self.names()).finish()
    }
}

/// An engine for a process that is to use one instruction set.
struct ForcedIsa {
    engine: Arc<dyn Engine>,
    isa: String,
}

impl Engine for ForcedIsa {
    fn name(&self) -> &'static str {
        self.engine.name()
    }

    fn build(&self) -> String {
        self.engine.build()
    }

    fn load(&self, model: &[u8], options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        let mut options = options.clone();
        options.isa.get_or_insert_with(|| self.isa.clone());
        self.engine.load(model, &options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forced_instruction_set_reaches_every_load_that_names_none() {
        let load = |forced: &str, named: Option<&str>| {
            let engine = Engines::standard().with_isa(Some(forced.to_owned())).get("native").unwrap();
            let options = LoadOptions { isa: named.map(str::to_owned), ..LoadOptions::default() };
            engine.load(b"no model", &options).map(|_| ()).unwrap_err()
        };
        assert!(load("abacus", None).to_string().contains("abacus"));
        assert!(load("scalar", Some("abacus")).to_string().contains("abacus"));
        assert!(matches!(load("scalar", None), EngineError::BadModel { .. }));
    }

    #[test]
    fn a_missing_library_leaves_the_other_engines() {
        let engines = Engines::standard();
        assert!(engines.ort_library().is_none(), "nobody looked");
        let engines = engines.with_ort(Some(Path::new("/nowhere/libonnxruntime.so")));
        assert_eq!(engines.names(), ["native"]);
        let error = engines.ort_library().unwrap().unwrap_err();
        assert!(matches!(error, EngineError::NoLibrary { library, .. } if library == "/nowhere/libonnxruntime.so"));
    }
}
