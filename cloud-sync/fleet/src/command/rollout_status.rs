//! `fleet rollout status`.

use clap::Args;
use cloud_sync_protocol::ChannelId;
use runtime_console::{Failure, PassphraseArgs};

use super::rollout_start::CHANNEL_DEFAULT;
use super::session::Session;
use super::{Context, now, shown};
use crate::admin::Request;
use crate::report::RolloutStatus;

/// Show what a channel runs, and where each of its devices is
///
/// A device is active, pending, or has refused a model of the deployment: then it says why, and serves what it had.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleet rollout status --channel stable")]
pub(super) struct Arguments {
    /// The channel
    #[arg(long, value_name = "NAME", default_value = CHANNEL_DEFAULT)]
    channel: ChannelId,
}

pub(super) async fn run(context: &Context, Arguments { channel }: Arguments) -> Result<(), Failure> {
    let passphrase = PassphraseArgs::default();
    let mut session = Session::open(&context.folder, &passphrase).await?;
    let status: RolloutStatus = session.call(Request::RolloutStatus { channel }).await?;
    context.console.data(&status, &shown::rollout(&status, now()));
    Ok(())
}
