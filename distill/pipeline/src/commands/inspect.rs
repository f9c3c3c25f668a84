//! `distill inspect`: what a `.cask` says about itself.

use std::path::PathBuf;

use runtime_artifact::{Manifest, Numerics, open};
use runtime_console::{Console, ExitCode, human_bytes, table};
use runtime_trust::Digest;
use serde::Serialize;

use crate::error::{At as _, Result};

/// Arguments of `distill inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: distill inspect digits.cask\nNothing is checked: see `distill verify`.")]
pub(crate) struct Args {
    /// The artifact
    file: PathBuf,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    /// Always false here: the signature was not looked at.
    verified: bool,
    digest: Digest,
    bytes: u64,
    manifest: Manifest,
}

pub(super) fn run(args: &Args, console: &Console) -> Result<ExitCode> {
    let place = args.file.display();
    let bytes = runtime_disk::file_bytes(&args.file)?;
    let artifact = open(&args.file).at(&place)?;
    let manifest = artifact.manifest_unverified().at(&place)?;
    let digest = artifact.manifest_digest_unverified();
    let human = describe(&manifest, &digest, bytes);
    console.data(&Report { schema: 1, verified: false, digest, bytes, manifest }, &human);
    console.note("the signature was not checked: use `distill verify FILE --root ROOT`");
    Ok(ExitCode::Ok)
}

/// A manifest for people.
pub(super) fn describe(manifest: &Manifest, digest: &Digest, bytes: u64) -> String {
    let mut text = format!(
        "{} {} (number {}), {}\nmanifest {digest}\nmade by {}\n",
        manifest.name,
        manifest.version,
        manifest.number,
        human_bytes(bytes),
        manifest.provenance.tool
    );
    let made_from = [
        ("recipe", manifest.provenance.recipe),
        ("teacher", manifest.provenance.teacher),
        ("data", manifest.provenance.data),
    ];
    for (what, digest) in made_from {
        if let Some(digest) = digest {
            text.push_str(&format!("  {what} {digest}\n"));
        }
    }
    for (what, tensors) in [("input", &manifest.contract.inputs), ("output", &manifest.contract.outputs)] {
        for tensor in tensors {
            text.push_str(&format!("{what} {}\n", tensor.to_spec()));
        }
    }
    for variant in &manifest.variants {
        let numerics = match variant.numerics {
            Numerics::Exact => "the same bytes on every CPU".to_owned(),
            Numerics::Tolerance { absolute_e9, relative_e9 } => {
                format!("within {} + {} of the golden value", absolute_e9 as f64 / 1e9, relative_e9 as f64 / 1e9)
            }
        };
        text.push_str(&format!(
            "\nvariant {} ({}, {}), {numerics}; self-test: p95 at most {} us, at most {}\n",
            variant.id,
            variant.kind,
            variant.precision,
            variant.limits.p95_us,
            human_bytes(variant.limits.memory_bytes)
        ));
        let files: Vec<Vec<String>> = variant
            .files
            .iter()
            .map(|(role, file)| vec![role.clone(), human_bytes(file.bytes), file.digest.to_string()])
            .collect();
        text.push_str(&table(&["file", "size", "sha256"], &files));
        let quality: Vec<Vec<String>> = variant
            .quality
            .iter()
            .map(|quality| {
                let share = |value: i64| format!("{:.2} %", value as f64 / 1e7);
                vec![
                    quality.measure.clone(),
                    quality.split.clone(),
                    share(quality.value_e9),
                    quality.baseline_e9.map_or_else(|| "-".to_owned(), share),
                    quality.samples.to_string(),
                ]
            })
            .collect();
        if !quality.is_empty() {
            text.push_str(&table(&["measure", "part", "value", "float", "samples"], &quality));
        }
    }
    text
}
