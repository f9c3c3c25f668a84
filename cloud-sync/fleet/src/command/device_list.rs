//! `fleet device list`.

use clap::Args;
use runtime_console::{Failure, PassphraseArgs};

use super::session::Session;
use super::{Context, now, shown};
use crate::admin::Request;
use crate::report::DeviceList;

/// List devices: channel, when last seen, what they run, what they refused
///
/// Without a running `fleet serve` it shows what devices reported before it ended.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleet device list --json")]
pub(super) struct Arguments {}

pub(super) async fn run(context: &Context, Arguments {}: Arguments) -> Result<(), Failure> {
    let passphrase = PassphraseArgs::default();
    let mut session = Session::open(&context.folder, &passphrase).await?;
    let list: DeviceList = session.call(Request::DeviceList {}).await?;
    context.console.data(&list, &shown::devices(&list, now()));
    Ok(())
}
