//! `edge-agent verify`

use std::path::PathBuf;

use cloud_sync_store::Store;
use runtime_artifact::{ArtifactError, ErrorClass, open};
use runtime_console::{ExitCode, Failure, human_bytes};
use runtime_trust::{Root, TrustState};
use serde::Serialize;

use super::Context;
use crate::device::DeviceError;

/// Check a sealed file: signature, every digest, every rule of the format
///
/// Against the root that this folder trusts, or the one named. Says nothing about whether the artifact is current:
/// that is known where it is installed. Takes a few MiB of memory, whatever the file claims.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge-agent verify digits.cask --root root.json")]
pub(super) struct Args {
    /// The sealed file
    #[arg(value_name = "FILE.cask")]
    file: PathBuf,
    /// The root to check by, instead of the one that this folder trusts
    #[arg(long, value_name = "ROOT")]
    root: Option<PathBuf>,
}

#[derive(Serialize)]
struct Verified {
    schema: u32,
    name: String,
    version: String,
    number: u64,
    digest: String,
    bytes: u64,
    variants: Vec<VariantShown>,
}

#[derive(Serialize)]
struct VariantShown {
    id: String,
    kind: String,
    precision: String,
    bytes: u64,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    let root = root(context, args.root.as_ref())?;
    let progress = context.console.progress(0, "verifying");
    let file = |error: ArtifactError| failure(&error).with_context(args.file.display());
    let artifact = open(&args.file).map_err(file)?.verify(&root).map_err(file)?;
    drop(progress);
    let manifest = artifact.manifest();
    let variants = manifest.variants.iter().map(|variant| VariantShown {
        id: variant.id.clone(),
        kind: variant.kind.clone(),
        precision: variant.precision.clone(),
        bytes: crate::device::model::bytes(variant),
    });
    let verified = Verified {
        schema: 1,
        name: manifest.name.clone(),
        version: manifest.version.to_string(),
        number: manifest.number,
        digest: artifact.digest().to_string(),
        bytes: runtime_disk::file_bytes(&args.file).unwrap_or(0),
        variants: variants.collect(),
    };
    let human = format!(
        "{} {} (#{}) is what release signed: {}, manifest {}",
        verified.name,
        verified.version,
        verified.number,
        human_bytes(verified.bytes),
        verified.digest
    );
    context.console.data(&verified, &human);
    Ok(ExitCode::Ok)
}

/// The root to check by.
pub(super) fn root(context: &Context, named: Option<&PathBuf>) -> Result<Root, Failure> {
    if let Some(path) = named {
        return super::install::read_root(path);
    }
    // A running agent holds the folder; its root is in the enrolment as well, unless it has rotated since.
    if let Ok(enrolment) = context.folder.enrolment()
        && crate::admin::AdminClient::connect(&context.folder)?.is_some()
    {
        return Root::pin(enrolment.root.as_bytes()).map_err(|refusal| {
            Failure::new(ExitCode::NotTrusted, format!("failed to {refusal}")).with_hint("name the root with --root")
        });
    }
    let no_root = || {
        Failure::usage("failed to find a root to check by")
            .with_hint("name one with --root, or run this in an enrolled folder (--dir)")
    };
    if !runtime_disk::exists(context.folder.path()).unwrap_or(false) {
        return Err(no_root());
    }
    let store = Store::open(context.folder.path()).map_err(DeviceError::from)?;
    let bytes = store.state().trust;
    if bytes.is_empty() {
        return Err(no_root());
    }
    let folder = context.folder.path().display().to_string();
    let trust = TrustState::parse(&bytes).map_err(|source| DeviceError::Trust { folder, source })?;
    Ok(trust.root().clone())
}

/// An artifact's error as the command's.
pub(super) fn failure(error: &ArtifactError) -> Failure {
    let code = match error.class() {
        ErrorClass::NotTrusted => ExitCode::NotTrusted,
        ErrorClass::Unsupported => ExitCode::Unsupported,
        ErrorClass::Disk => ExitCode::Usage,
    };
    Failure::new(code, format!("not accepted ({}): failed to {error}", error.reason()))
}
