//! `fleet artifact show`.

use clap::Args;
use runtime_console::{Failure, PassphraseArgs};

use super::Context;
use super::session::Session;
use super::target::Target;
use crate::admin::Request;
use crate::report::ArtifactDetails;

/// Show one artifact: what `list` says, and its manifest as it was signed
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleet artifact show digits@1.0.0")]
pub(super) struct Arguments {
    /// NAME, NAME@VERSION, NAME@NUMBER or NAME@DIGEST; without a version the newest allowed one
    target: Target,
}

pub(super) async fn run(context: &Context, Arguments { target }: Arguments) -> Result<(), Failure> {
    let passphrase = PassphraseArgs::default();
    let mut session = Session::open(&context.folder, &passphrase).await?;
    let request = Request::ArtifactShow { name: target.name, version: target.version };
    let details: ArtifactDetails = session.call(request).await?;
    let row = &details.row;
    let manifest = serde_json::to_string_pretty(&details.manifest).expect("a JSON value serializes");
    let human = format!(
        "{} {} (number {}), {}, floor {}\ndigest {}\n{manifest}",
        row.name, row.version, row.number, row.state, details.floor, row.digest
    );
    context.console.data(&details, &human);
    Ok(())
}
