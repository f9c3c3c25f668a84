//! One model in one form with one number of threads, on both engines in this process.

use std::time::Duration;

use anyhow::{Result, anyhow};
use runtime_engine::{Coverage, Engine, LoadOptions, Session, catch_panic};
use runtime_tensor::NamedTensor;
use serde::Serialize;

use super::difference::Difference;
use super::models::{ModelFile, inputs};
use super::pairs::{Pairs, alternate};
use super::{Arguments, Side};

/// Different inputs whose answers are compared.
const INPUT_SETS: u64 = 4;

/// A row of the first table.
#[derive(Debug, Clone, Serialize)]
pub struct Case {
    /// The network.
    pub name: String,
    /// Its form.
    pub kind: String,
    /// Threads that one run could use.
    pub threads: u16,
    /// The native engine's instruction set, once it has loaded the model.
    pub isa: Option<String>,
    /// What the native engine's own kernels take, once it has loaded the model.
    pub coverage: Option<Coverage>,
    /// How far the answers lie apart, once both have answered.
    pub difference: Option<Difference>,
    /// Times and ratio, once both were measured.
    pub pairs: Option<Pairs>,
    /// Why something above is missing.
    pub error: Option<String>,
}

impl Case {
    pub(crate) fn failed(model: &ModelFile, threads: u16, error: String) -> Self {
        Self {
            name: model.name.clone(),
            kind: model.kind.clone(),
            threads,
            isa: None,
            coverage: None,
            difference: None,
            pairs: None,
            error: Some(error),
        }
    }
}

/// Loads `model` on both engines, compares their answers and measures them in turn.
pub(crate) fn run(
    arguments: &Arguments,
    model: &ModelFile,
    threads: u16,
    native: &dyn Engine,
    ort: &dyn Engine,
) -> Case {
    let mut case = Case::failed(model, threads, String::new());
    case.error = fill(&mut case, arguments, model, native, ort).err().map(|error| format!("{error:#}"));
    case
}

fn fill(
    case: &mut Case,
    arguments: &Arguments,
    model: &ModelFile,
    native: &dyn Engine,
    ort: &dyn Engine,
) -> Result<()> {
    let bytes = model.read()?;
    let mut native = load(Side::Native, native, &bytes, options(case.threads, arguments.isa()))?;
    case.isa = Some(native.isa().to_owned());
    case.coverage = Some(native.coverage().clone());
    let mut ort = load(Side::Ort, ort, &bytes, options(case.threads, None))?;
    let sets: Vec<Vec<NamedTensor>> =
        (0..INPUT_SETS).map(|seed| inputs(ort.inputs(), model.low, model.high, seed)).collect::<Result<_, _>>()?;
    let mut difference = Difference::new();
    for set in &sets {
        let own = answer(Side::Native, native.as_mut(), set)?;
        difference.add(&own, &answer(Side::Ort, ort.as_mut(), set)?).map_err(|error| anyhow!(error))?;
    }
    case.difference = Some(difference);
    let budget = Duration::from_secs_f64(arguments.seconds_per_case);
    let set = &sets[0];
    case.pairs = Some(alternate(
        budget,
        case.threads,
        || answer(Side::Native, native.as_mut(), set).map(drop),
        || answer(Side::Ort, ort.as_mut(), set).map(drop),
    )?);
    Ok(())
}

/// What both engines are loaded with.
pub(crate) fn options(threads: u16, isa: Option<&str>) -> LoadOptions {
    LoadOptions { threads: usize::from(threads), isa: isa.map(str::to_owned), ..LoadOptions::default() }
}

fn load(side: Side, engine: &dyn Engine, bytes: &[u8], options: LoadOptions) -> Result<Box<dyn Session>> {
    catch_panic(side.name(), || engine.load(bytes, &options))
        .map_err(|error| anyhow!("{}: failed to {error}", side.name()))
}

fn answer(side: Side, session: &mut dyn Session, inputs: &[NamedTensor]) -> Result<Vec<NamedTensor>> {
    catch_panic(side.name(), || session.run(inputs, &[], None))
        .map_err(|error| anyhow!("{}: failed to {error}", side.name()))
}
