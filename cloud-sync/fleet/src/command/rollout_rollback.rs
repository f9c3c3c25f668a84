//! `fleet rollout rollback`.

use clap::Args;
use cloud_sync_protocol::{ChannelId, ModelName};
use runtime_console::{Failure, PassphraseArgs};

use super::rollout_start::CHANNEL_DEFAULT;
use super::session::Session;
use super::{Context, shown};
use crate::admin::Request;
use crate::report::Deployed;

/// Deploy what the channel ran before, under a higher sequence
///
/// It goes back to the version before the present one that is still allowed; a second rollback goes further back.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleet rollout rollback --channel stable")]
pub(super) struct Arguments {
    /// The model to go back with [default: the one that changed last]
    name: Option<ModelName>,
    /// The channel
    #[arg(long, value_name = "NAME", default_value = CHANNEL_DEFAULT)]
    channel: ChannelId,
    /// Use at least this sequence: after the folder was restored from a backup
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    sequence: u64,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<(), Failure> {
    let mut session = Session::open(&context.folder, &arguments.passphrase).await?;
    let Arguments { ref name, ref channel, sequence: sequence_min, .. } = arguments;
    let (name, channel) = (name.clone(), channel.clone());
    let deployed: Deployed = session.call(Request::RolloutRollback { channel, name, sequence_min }).await?;
    context.console.data(&deployed, &shown::deployed(&deployed));
    Ok(())
}
