//! The engine: options, checks before ONNX Runtime sees a model, loading.

use std::path::Path;

use ort::environment::Environment;
use ort::error::ErrorCode;
use ort::memory::DeviceType;
use ort::session::Session as RawSession;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use runtime_engine::{Coverage, Engine, EngineError, LoadOptions, Session, catch_panic};
use runtime_graph::{GraphError, ReadLimits, survey};

use crate::library::{self, LibraryInfo, Loaded};
use crate::session::OrtSession;

/// The engine's name.
pub(crate) const NAME: &str = "ort";

/// Threads that one run may use at most: more would end the process before it answers.
pub const THREADS_MAX: usize = 1024;

/// ONNX Runtime with its CPU provider.
#[derive(Clone, Debug)]
pub struct OrtEngine {
    loaded: Loaded,
}

impl OrtEngine {
    /// Loads the library at `library`, or without a path the one that the system's search finds as
    /// `libonnxruntime.so` or `libonnxruntime.so.1`.
    ///
    /// Errors: [`EngineError::NoLibrary`] when it is missing, is not ONNX Runtime, is older than
    /// 1.[`MINOR_VERSION_MIN`](crate::MINOR_VERSION_MIN), or when another one is at work in this process.
    pub fn open(library: Option<&Path>) -> Result<Self, EngineError> {
        Ok(Self { loaded: library::open(library)? })
    }

    /// The library that this process uses.
    pub fn library(&self) -> &LibraryInfo {
        &self.loaded.info
    }
}

impl Engine for OrtEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn build(&self) -> String {
        format!("ort {}, ONNX Runtime {}", env!("CARGO_PKG_VERSION"), self.loaded.info.version)
    }

    /// Takes no device but `cpu`, no precision and no instruction set, and reads no compile cache. On one device no
    /// node can leave it, so that `strict` changes nothing.
    fn load(&self, model: &[u8], options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        check(options)?;
        let coverage = look_at(model)?;
        catch_panic(NAME, || {
            let session = commit(&self.loaded.environment, model, options.threads.max(1))?;
            let session = OrtSession::new(session, coverage, model.len() as u64)?;
            Ok(Box::new(session) as Box<dyn Session>)
        })
    }
}

fn unsupported(reason: String) -> EngineError {
    EngineError::Unsupported { engine: NAME.into(), reason }
}

fn check(options: &LoadOptions) -> Result<(), EngineError> {
    options.expect_cpu(NAME)?;
    if let Some(isa) = &options.isa {
        return Err(unsupported(format!(
            "instruction set {isa:?} cannot be chosen: ONNX Runtime takes the CPU's best; leave the choice out"
        )));
    }
    if options.threads > THREADS_MAX {
        return Err(unsupported(format!("found {} threads, at most {THREADS_MAX} are allowed", options.threads)));
    }
    Ok(())
}

/// What must hold before foreign code reads the bytes; gives the coverage, which is always whole.
fn look_at(model: &[u8]) -> Result<Coverage, EngineError> {
    let found = survey(model, &ReadLimits::default()).map_err(read_error)?;
    if let Some(tensor) = found.external {
        return Err(EngineError::BadModel {
            reason: format!("the data of tensor {tensor:?} lies in another file; save the model as one file"),
        });
    }
    Ok(Coverage { nodes_total: found.nodes, nodes_covered: found.nodes, ..Coverage::default() })
}

fn read_error(error: GraphError) -> EngineError {
    EngineError::BadModel { reason: format!("failed to {error}") }
}

fn commit(environment: &Environment, model: &[u8], threads: usize) -> Result<RawSession, EngineError> {
    let build = || -> ort::Result<SessionBuilder> {
        let builder = RawSession::builder(environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads)?;
        // Named, so that a provider that registers itself later is never chosen in silence.
        let is_cpu = |device: &ort::device::Device<'_>| {
            device.hardware_device().ty() == DeviceType::CPU
                && device.ep().is_ok_and(|provider| provider == "CPUExecutionProvider")
        };
        Ok(builder.with_devices(environment.devices().filter(is_cpu), None)?)
    };
    let internal = |error: ort::Error| EngineError::Internal { engine: NAME.into(), reason: error.to_string() };
    build().map_err(internal)?.commit_from_memory(model).map_err(load_error)
}

/// ONNX Runtime's reason in this crate's terms.
fn load_error(error: ort::Error) -> EngineError {
    let reason = format!("ONNX Runtime: {}", error.message().trim());
    match error.code() {
        ErrorCode::InvalidProtobuf
        | ErrorCode::InvalidGraph
        | ErrorCode::InvalidArgument
        | ErrorCode::NoModel
        | ErrorCode::NoSuchFile => EngineError::BadModel { reason },
        // Also an operator or a version of one that this library lacks: it has no code of its own.
        _ => unsupported(reason),
    }
}
