//! One run of a recipe, from data to a sealed artifact.

mod folder;
mod metrics;
mod stages;

use std::path::{Path, PathBuf};

use distill_train::TrainDevice;
use runtime_artifact::{Budget, Provenance, Quality};
use runtime_console::{Console, PassphraseArgs};
use runtime_engine::Engine;
use runtime_inference::Engines;
use runtime_trust::{Digest, SigningKey};

use crate::cache::LogitsCache;
use crate::data::{self, Data, Preparation};
use crate::device::{self, DeviceChoice};
use crate::error::{PipelineError, Result};
use crate::recipe::{ArtifactSection, Loaded};
use crate::runner::Runner;
use crate::search::Found;
use crate::{golden, models, seal};

use folder::RunFolder;
pub(crate) use metrics::{Metrics, Outcome};
use stages::{Student, Teacher};

/// The engine that answers on devices, and therefore judges here.
pub(crate) const DEVICE_ENGINE: &str = "native";

/// What a run needs beside its recipe.
pub(crate) struct Settings<'a> {
    pub(crate) out: PathBuf,
    pub(crate) device: DeviceChoice,
    pub(crate) cache: Option<&'a Path>,
    pub(crate) passphrase: &'a PassphraseArgs,
    pub(crate) console: &'a Console,
    pub(crate) engines: &'a Engines,
}

/// What every stage of a run uses.
struct Context<'a> {
    loaded: &'a Loaded,
    device: TrainDevice,
    engines: Engines,
    engine: std::sync::Arc<dyn Engine>,
    cache: LogitsCache,
    console: &'a Console,
    folder: RunFolder,
}

/// The engine of this build with this name.
pub(crate) fn engine(engines: &Engines, name: &str) -> Result<std::sync::Arc<dyn Engine>> {
    engines.get(name).ok_or_else(|| match engines.ort_library() {
        Some(Err(error)) if name == "ort" => error.clone().into(),
        _ => PipelineError::Unsupported(format!(
            "found no engine `{name}` in this build, expected one of {}",
            Engines::BUILT_IN.join(", ")
        )),
    })
}

/// Runs the recipe and leaves everything in the run folder.
///
/// The outcome says whether the budget was met; when it was not, the best result is kept and nothing is sealed.
pub(crate) fn execute(loaded: &Loaded, settings: &Settings<'_>) -> Result<Outcome> {
    let recipe = &loaded.recipe;
    // A wrong passphrase or a missing GPU is told before hours of training, not after.
    let key = match recipe.artifact.as_ref().and_then(|artifact| artifact.sign_key.as_ref()) {
        Some(path) => Some(seal::open_signing_key(&loaded.folder.join(path), settings.passphrase)?),
        None => None,
    };
    let trains = recipe.train.is_some() || recipe.teacher.as_ref().is_some_and(|teacher| teacher.train.is_some());
    let device = if trains { device::resolve(settings.device, settings.console)? } else { TrainDevice::Cpu };
    let engines = settings.engines.clone();
    let mut context = Context {
        loaded,
        device,
        engine: engine(&engines, DEVICE_ENGINE)?,
        engines,
        cache: LogitsCache::locate(settings.cache),
        console: settings.console,
        folder: RunFolder::create(&settings.out)?,
    };
    context.folder.write("recipe.toml", loaded.text.as_bytes())?;
    let data = load_data(loaded)?;
    context.report_data(&data)?;
    let lesson = context.lesson(&data)?;
    let teacher = context.teacher(&data, &lesson)?;
    let student = context.student(&data, &lesson, teacher.as_ref())?;
    let found = crate::search::search(
        &student.model,
        &data.calibration,
        &data.validation,
        context.engine.as_ref(),
        (&recipe.quantize, &recipe.budget, recipe.seed),
        context.console,
    )?;
    for attempt in &found.attempts {
        context.folder.log("quantize", attempt)?;
    }
    context.folder.write("student.int8.onnx", &found.int8)?;
    let mut metrics = context.test(&data, teacher.as_ref(), &student, &found)?;
    if let Some(artifact) = &recipe.artifact {
        if found.met() {
            let made =
                Made { data: &data, teacher: teacher.as_ref(), student: &student, found: &found, metrics: &metrics };
            let sealed = context.seal(artifact, &made, key.as_ref())?;
            let name = format!("{}.cask", artifact.name);
            metrics.artifact_bytes = Some(sealed.bytes.len() as u64);
            metrics.digests.artifact = Some(sealed.digest);
            context.folder.write(&name, &sealed.bytes)?;
            metrics.artifact = Some(name);
        } else {
            context.console.note("nothing is sealed: the budget is not met");
        }
    }
    metrics.wall_s = context.folder.seconds();
    context.folder.write_metrics(&metrics)?;
    Ok(Outcome { folder: settings.out.clone(), metrics, signed: key.is_some() })
}

/// The data of a recipe, with the number of classes that its models declare.
pub(crate) fn load_data(loaded: &Loaded) -> Result<Data> {
    let recipe = &loaded.recipe;
    let labels = recipe.artifact.as_ref().map(|artifact| artifact.labels.len()).filter(|count| *count > 0);
    let mut classes = labels;
    for section in [Some(recipe.student.network()), recipe.teacher.clone()].into_iter().flatten() {
        if let Some(path) = &section.model
            && let Some(output) = models::read(&loaded.folder.join(path))?.outputs().first()
            && let Some(runtime_tensor::Dimension::Fixed(count)) = output.shape.get(1)
        {
            classes = usize::try_from(*count).ok().or(classes);
        }
    }
    let data = data::load(&recipe.data, &loaded.folder, classes, recipe.train.is_some())?;
    if let (Some(names), Some(classes)) = (labels, classes)
        && names != classes
    {
        return Err(PipelineError::input(format!(
            "artifact.labels: found {names} names, expected {classes}, one for each class of the model"
        )));
    }
    Ok(data)
}

/// What a run has made by the time it seals.
struct Made<'a> {
    data: &'a Data,
    teacher: Option<&'a Teacher>,
    student: &'a Student,
    found: &'a Found,
    metrics: &'a Metrics,
}

impl Context<'_> {
    /// Golden set from the validation part, quality, provenance, signature.
    fn seal(&mut self, artifact: &ArtifactSection, made: &Made<'_>, key: Option<&SigningKey>) -> Result<seal::Sealed> {
        let recipe = &self.loaded.recipe;
        let mut runner = Runner::load(self.engine.as_ref(), &made.found.int8)?;
        let golden = golden::make(&made.data.validation, &mut runner, artifact.golden)?;
        let preparation = Preparation { scale: recipe.data.scale, offset: recipe.data.offset };
        let contract =
            seal::contract(&made.student.model, &artifact.labels, preparation, recipe.data.white.unwrap_or(255.0));
        let sealing = seal::Sealing {
            name: &artifact.name,
            version: &artifact.version,
            number: artifact.number,
            precision: "int8",
            model: &made.found.int8,
            golden,
            numerics: runner.numerics(),
            contract,
            quality: self.quality(made),
            provenance: Provenance {
                tool: seal::tool(),
                recipe: Some(self.loaded.digest()),
                teacher: made.teacher.map(|teacher| teacher.digest),
                data: Some(made.data.digest),
            },
            p95_us_max: artifact.p95_us_max,
            memory_bytes_max: artifact.memory_bytes_max,
        };
        let sealed = seal::seal(&sealing, &self.engines, key)?;
        self.folder.log(
            "sealed",
            &serde_json::json!({
                "digest": sealed.digest, "bytes": sealed.bytes.len(), "p95_us": sealed.proof.p95_us,
                "memory_bytes": sealed.proof.memory_bytes, "golden_cases": sealed.proof.golden_cases,
            }),
        )?;
        Ok(sealed)
    }

    fn quality(&self, made: &Made<'_>) -> Vec<Quality> {
        let budget = &self.loaded.recipe.budget;
        let validation = &made.found.best.validation;
        let set = budget.max_drop.is_some() || budget.max_extra_errors.is_some() || budget.max_bytes.is_some();
        let judged = Quality {
            measure: validation.measure.to_owned(),
            split: "validation".to_owned(),
            value_e9: seal::billionths(validation.int8),
            baseline_e9: Some(seal::billionths(validation.float)),
            samples: validation.samples as u64,
            budget: set.then(|| Budget {
                drop_e9_max: budget.max_drop.map(|points| seal::billionths(points / 100.0) as u64),
                extra_errors_max: budget.max_extra_errors,
                bytes_max: budget.max_bytes,
            }),
        };
        let (measure, value, baseline) = match (made.metrics.int8_accuracy, made.metrics.student_accuracy) {
            (Some(int8), Some(float)) => ("accuracy", int8, float),
            _ => ("agreement", made.metrics.int8_agreement, 1.0),
        };
        let tested = Quality {
            measure: measure.to_owned(),
            split: "test".to_owned(),
            value_e9: seal::billionths(value),
            baseline_e9: Some(seal::billionths(baseline)),
            samples: made.metrics.samples.test as u64,
            budget: None,
        };
        vec![judged, tested]
    }
}

/// Digest of a model's bytes.
fn digest_of(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}
