//! `fleet artifact list`.

use clap::Args;
use cloud_sync_protocol::ModelName;
use runtime_console::{Failure, PassphraseArgs};

use super::session::Session;
use super::{Context, shown};
use crate::admin::Request;
use crate::report::ArtifactList;

/// List artifacts: versions, whether devices may take them, which channels run them
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleet artifact list digits")]
pub(super) struct Arguments {
    /// Only this name
    name: Option<ModelName>,
}

pub(super) async fn run(context: &Context, Arguments { name }: Arguments) -> Result<(), Failure> {
    let passphrase = PassphraseArgs::default();
    let mut session = Session::open(&context.folder, &passphrase).await?;
    let list: ArtifactList = session.call(Request::ArtifactList { name }).await?;
    context.console.data(&list, &shown::artifacts(&list));
    Ok(())
}
