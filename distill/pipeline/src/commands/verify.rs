//! `distill verify`: the signature and every byte of a `.cask`.

use std::path::PathBuf;

use runtime_artifact::{Manifest, open};
use runtime_console::{Console, ExitCode};
use runtime_trust::{Digest, Root};
use serde::Serialize;

use super::inspect::describe;
use crate::error::{At as _, PipelineError, Result};

/// Bytes of a root file; the trust crate has the same cap and names it.
const ROOT_BYTES_MAX: u64 = 1 << 20;

/// Arguments of `distill verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: distill verify digits.cask --root fleet/trust/root.json")]
pub(crate) struct Args {
    /// The artifact
    file: PathBuf,
    /// The fleet's root.json, from a source that you trust
    #[arg(long, value_name = "ROOT")]
    root: PathBuf,
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    verified: bool,
    digest: Digest,
    bytes: u64,
    manifest: &'a Manifest,
}

pub(super) fn run(args: &Args, console: &Console) -> Result<ExitCode> {
    let root = runtime_disk::read_bounded(&args.root, ROOT_BYTES_MAX)?;
    let root = Root::pin(&root).map_err(|refusal| PipelineError::Artifact(refusal.into())).at(args.root.display())?;
    let bytes = runtime_disk::file_bytes(&args.file)?;
    let place = args.file.display();
    let artifact = open(&args.file).at(&place)?.verify(&root).at(&place)?;
    let manifest = artifact.manifest();
    let human = format!("{place}: good\n{}", describe(manifest, &artifact.digest(), bytes));
    console.data(&Report { schema: 1, verified: true, digest: artifact.digest(), bytes, manifest }, &human);
    Ok(ExitCode::Ok)
}
