//! `fleet artifact sign`.

use std::path::PathBuf;

use clap::Args;
use runtime_console::{ExitCode, Failure, PassphraseArgs};
use runtime_trust::{Digest, Envelope, PayloadType, Role};
use serde::Serialize;

use super::release::KeyArgs;
use super::{Context, failed};
use crate::error::FleetError;
use crate::fleet::Outside;

/// Add a release key's signature to a .cask file
///
/// For artifacts that were packed without a key, and for roots of trust that demand several signatures: each person
/// signs with a key of their own. Nothing but the list of signatures changes. Needs no running `fleet serve`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleet artifact sign digits.cask --key ann.key")]
pub(super) struct Arguments {
    /// The artifact
    #[arg(value_name = "FILE.cask")]
    file: PathBuf,
    /// Write the signed artifact here instead of over the file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    name: String,
    version: String,
    number: u64,
    digest: Digest,
    file: PathBuf,
    signed_by: Vec<String>,
    /// Whether the signatures meet the fleet's threshold; absent when the folder has no root to ask.
    enough: Option<bool>,
}

pub(super) fn run(context: &Context, arguments: Arguments) -> Result<(), Failure> {
    let failed_here = |error: FleetError| failed(error).with_context(arguments.file.display());
    let artifact = runtime_artifact::open(&arguments.file).map_err(|error| failed_here(error.into()))?;
    let manifest = artifact.manifest_unverified().map_err(|error| failed_here(error.into()))?;
    let mut envelope = Envelope::parse(artifact.envelope_bytes())
        .map_err(FleetError::not_trusted("read the envelope"))
        .map_err(failed_here)?;
    let keys = arguments.keys.open(&context.folder, &arguments.passphrase)?;
    for key in &keys {
        envelope.add_signature(key);
    }
    let file = arguments.out.unwrap_or_else(|| arguments.file.clone());
    artifact
        .write_with_envelope(&envelope.to_bytes(), &file)
        .map_err(|error| Failure::from_error(&error, ExitCode::Usage).with_context(file.display()))?;
    let root = Outside::read(&context.folder).ok().map(|outside| outside.root);
    let enough = root.map(|root| envelope.verify(PayloadType::Manifest, root.role(Role::Targets)).is_ok());
    let report = Report {
        schema: 1,
        name: manifest.name.clone(),
        version: manifest.version.to_string(),
        number: manifest.number,
        digest: artifact.manifest_digest_unverified(),
        file,
        signed_by: keys.iter().map(|key| key.id().to_string()).collect(),
        enough,
    };
    let verdict = match enough {
        Some(true) => "; the fleet's threshold is met",
        Some(false) => "; the fleet's threshold is not met yet",
        None => "",
    };
    let count = report.signed_by.len();
    let human =
        format!("{} {} in {}: signed by {count} keys{verdict}", report.name, report.version, report.file.display());
    context.console.data(&report, &human);
    Ok(())
}
