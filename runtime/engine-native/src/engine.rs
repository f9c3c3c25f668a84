//! The engine: reads a model, compiles it or hands it to tract.

use runtime_engine::{Coverage, Engine, EngineError, LoadOptions, Session, catch_panic};
use runtime_graph::{Borrowed, GraphError, Model, ReadLimits};
use runtime_kernels::{Isa, Table, dispatch, fastest};

use crate::compiled::CompiledSession;
use crate::expand::{expand, has_quantized_operators};
use crate::fallback;
use crate::region::{Refusal, compile, weights_only};

/// The engine's name.
pub(crate) const NAME: &str = "native";

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
        NAME
    }

    fn build(&self) -> String {
        concat!("native ", env!("CARGO_PKG_VERSION"), ", tract 0.23").to_owned()
    }

    /// Takes no device but `cpu`, no precision, and reads no compile cache: compiling takes milliseconds.
    fn load(&self, model: &[u8], options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        let table = choose_table(options)?;
        catch_panic(NAME, || load(model, options, table))
    }
}

fn unsupported(reason: String) -> EngineError {
    EngineError::Unsupported { engine: NAME.into(), reason }
}

fn choose_table(options: &LoadOptions) -> Result<&'static Table, EngineError> {
    options.expect_cpu(NAME)?;
    let Some(name) = options.isa.as_deref() else { return Ok(fastest()) };
    let names = || Isa::all().map(Isa::name).collect::<Vec<_>>().join(", ");
    let isa = Isa::from_name(name)
        .ok_or_else(|| unsupported(format!("instruction set {name:?} is not built in; {} are", names())))?;
    dispatch(isa).ok_or_else(|| EngineError::NoDevice {
        device: "cpu".into(),
        reason: format!("it lacks the instruction set {name}; leave the choice out, or take one that it has"),
    })
}

fn load(bytes: &[u8], options: &LoadOptions, table: &'static Table) -> Result<Box<dyn Session>, EngineError> {
    let mut model = Borrowed::read(bytes, &ReadLimits::default(), &weights_only).map_err(read_error)?;
    if has_quantized_operators(&model.graph) {
        expand(&mut model.graph);
    }
    let (inputs, outputs) = (model.graph.inputs.clone(), model.graph.outputs.clone());
    match compile(model, table, options.threads) {
        Ok(compiled) => Ok(Box::new(CompiledSession::new(inputs, outputs, compiled, table.isa.name()))),
        Err(Refusal::Bad(error)) => Err(read_error(error)),
        Err(Refusal::LeftOut(leftover)) if options.strict => Err(unsupported(first_reason(&leftover.coverage))),
        Err(Refusal::LeftOut(leftover)) => {
            Ok(Box::new(fallback::load(bytes, read(bytes)?, *leftover, table, options.threads)?))
        }
    }
}

/// The model with all its constants, its quantized operators written as what they mean.
pub(crate) fn read(bytes: &[u8]) -> Result<Model, EngineError> {
    let mut model = Model::read(bytes, &ReadLimits::default()).map_err(read_error)?;
    if has_quantized_operators(model.graph()) {
        expand(model.graph_mut());
    }
    Ok(model)
}

fn first_reason(coverage: &Coverage) -> String {
    match coverage.left_out.first() {
        Some(left_out) => {
            let more = coverage.left_out.len() - 1;
            format!("no kernel takes {} ({}): {}; and {more} more", left_out.node, left_out.operator, left_out.reason)
        }
        None => "no kernel takes it".to_owned(),
    }
}

fn read_error(error: GraphError) -> EngineError {
    match error {
        GraphError::Unsupported { .. } | GraphError::Element { .. } => unsupported(format!("failed to {error}")),
        other => EngineError::BadModel { reason: format!("failed to {other}") },
    }
}
