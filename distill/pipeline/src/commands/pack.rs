//! `distill pack`: a finished ONNX model into a `.cask`, without a recipe.

use std::path::PathBuf;

use runtime_artifact::Provenance;
use runtime_console::{Console, ExitCode, PassphraseArgs, human_bytes};
use runtime_engine::NumericsClass;
use runtime_inference::Engines;
use runtime_trust::Digest;
use serde::Serialize;

use crate::args::ScaleArgs;
use crate::data::{self, Part};
use crate::error::{PipelineError, Result};
use crate::runner::Runner;
use crate::{golden, models, run, seal};

/// Arguments of `distill pack`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: distill pack model.int8.onnx --name camera --artifact-version 1.0.0 --number 1 --data validation.npz \
                  --sign-key fleet/keys/release.key --out camera.cask"
)]
pub(crate) struct Args {
    /// The ONNX model
    model: PathBuf,
    /// Name of the artifact
    #[arg(long)]
    name: String,
    /// Version for people, semver
    #[arg(long, value_name = "VERSION")]
    artifact_version: semver::Version,
    /// Version for machines; grows with every release
    #[arg(long)]
    number: u64,
    /// Samples for the golden set, a .npz file with `x`; never test samples
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Golden cases to take
    #[arg(long, default_value_t = 16)]
    golden: usize,
    /// Number format of the model, for people: int8, f32
    #[arg(long, default_value = "int8")]
    precision: String,
    /// What the classes are called, in order
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    labels: Vec<String>,
    /// The value of full brightness in the data, for images
    #[arg(long, default_value_t = 255.0)]
    white: f32,
    /// Key file of the release role; without it sign later with `fleet artifact sign`
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
    /// Where to write the artifact; by default NAME.cask
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    scale: ScaleArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    file: String,
    digest: Digest,
    bytes: u64,
    signed: bool,
    numerics: NumericsClass,
    p95_us: u64,
    memory_bytes: u64,
    golden_cases: u64,
}

pub(super) fn run(args: &Args, console: &Console, engines: &Engines) -> Result<ExitCode> {
    if !runtime_artifact::is_name(&args.name) || !runtime_artifact::is_name(&args.precision) {
        return Err(PipelineError::input(format!(
            "found name {:?} and precision {:?}, expected 1 to 63 of a-z, 0-9, `.`, `_`, `-`",
            args.name, args.precision
        )));
    }
    if args.golden == 0 || args.golden > 1024 {
        return Err(PipelineError::input(format!("--golden: found {}, expected 1 to 1024", args.golden)));
    }
    let key = args.sign_key.as_ref().map(|path| seal::open_signing_key(path, &args.passphrase)).transpose()?;
    let model = models::read(&args.model)?;
    let set = args.scale.read(&args.data)?;
    if let Some(finding) = data::check_values(&args.data.display().to_string(), &set.x) {
        return Err(PipelineError::input(finding.text));
    }
    models::check_fit(&model, &set.x.shape()[1..])?;
    let preparation = args.scale.preparation();
    let part = Part { x: preparation.apply(&set.x)?, y: set.y, samples: data::sample_digests(&set.x) };
    let bytes = model.write();
    let mut runner = Runner::load(run::engine(engines, run::DEVICE_ENGINE)?.as_ref(), &bytes)?;
    let sealing = seal::Sealing {
        name: &args.name,
        version: &args.artifact_version,
        number: args.number,
        precision: &args.precision,
        model: &bytes,
        golden: golden::make(&part, &mut runner, args.golden)?,
        numerics: runner.numerics(),
        contract: seal::contract(&model, &args.labels, preparation, args.white),
        quality: Vec::new(),
        provenance: Provenance { tool: seal::tool(), recipe: None, teacher: None, data: Some(set.digest) },
        p95_us_max: None,
        memory_bytes_max: None,
    };
    let sealed = seal::seal(&sealing, engines, key.as_ref())?;
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.cask", args.name)));
    runtime_disk::write_atomic(&out, &sealed.bytes)?;
    let report = Report {
        schema: 1,
        file: out.display().to_string(),
        digest: sealed.digest,
        bytes: sealed.bytes.len() as u64,
        signed: key.is_some(),
        numerics: runner.numerics(),
        p95_us: sealed.proof.p95_us,
        memory_bytes: sealed.proof.memory_bytes,
        golden_cases: sealed.proof.golden_cases,
    };
    let signed = if report.signed { "signed" } else { "not signed yet: use `fleet artifact sign`" };
    let human = format!("{} {} ({}, {signed})\n", report.digest, report.file, human_bytes(report.bytes));
    console.data(&report, &human);
    Ok(ExitCode::Ok)
}
