//! `fleet device show`.

use clap::Args;
use cloud_sync_protocol::DeviceId;
use runtime_console::{Failure, PassphraseArgs};

use super::session::Session;
use super::{Context, now, shown};
use crate::admin::Request;
use crate::report::DeviceDetails;

/// Show everything that is known about a device
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleet device show camera-1")]
pub(super) struct Arguments {
    /// The device's name
    device: DeviceId,
}

pub(super) async fn run(context: &Context, Arguments { device }: Arguments) -> Result<(), Failure> {
    let passphrase = PassphraseArgs::default();
    let mut session = Session::open(&context.folder, &passphrase).await?;
    let details: DeviceDetails = session.call(Request::DeviceShow { device }).await?;
    context.console.data(&details, &shown::device(&details, now()));
    Ok(())
}
