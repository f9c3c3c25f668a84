//! `fleet device enroll`.

use std::path::PathBuf;

use clap::Args;
use cloud_sync_protocol::{BrokerUrl, ChannelId, DeviceId};
use runtime_console::{Failure, PassphraseArgs};
use runtime_trust::Digest;
use serde::Serialize;

use super::rollout_start::CHANNEL_DEFAULT;
use super::session::Session;
use super::{Context, failed};
use crate::admin::Request;
use crate::error::FleetError;
use crate::fleet::read_text;
use crate::report::Enrolled;

/// Make the file that turns a machine into a device of the fleet
///
/// It holds the broker's address, a certificate with its key, and the root of trust. Bring the file to the device over
/// a way that you trust (its mode is 0600), run `edge-agent enroll FILE` there, and remove it. It names the broker that
/// `fleet serve` used last, unless --broker names another.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleet device enroll camera-1 --channel stable --out camera-1.json")]
pub(super) struct Arguments {
    /// The device's name
    device: DeviceId,
    /// Where the enrolment file goes; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The channel that the device follows
    #[arg(long, value_name = "NAME", default_value = CHANNEL_DEFAULT)]
    channel: ChannelId,
    /// Make a new certificate for a device that is enrolled already
    #[arg(long)]
    again: bool,
    /// The broker that the device connects to
    #[arg(long, value_name = "URL")]
    broker: Option<BrokerUrl>,
    /// PEM file with the authority that signed that broker's certificate [default: the device CA]
    #[arg(long, value_name = "FILE", requires = "broker")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    device: DeviceId,
    channel: ChannelId,
    broker: BrokerUrl,
    file: PathBuf,
    certificate_sha256: Digest,
    certificate_expires_unix: u64,
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<(), Failure> {
    let disk = |error: runtime_disk::DiskError| failed(FleetError::from(error));
    if runtime_disk::exists(&arguments.out).map_err(disk)? {
        return Err(Failure::usage(format!("write {}: it is already there", arguments.out.display()))
            .with_hint("name another file, or remove this one"));
    }
    let ca_pem = arguments.ca.as_deref().map(read_text).transpose().map_err(failed)?;
    let mut session = Session::open(&context.folder, &arguments.passphrase).await?;
    let request = Request::DeviceEnroll {
        device: arguments.device.clone(),
        channel: arguments.channel.clone(),
        again: arguments.again,
        broker: arguments.broker,
        ca_pem,
    };
    let enrolled: Enrolled = session.call(request).await?;
    if let Some(folder) = arguments.out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        runtime_disk::create_folder(folder).map_err(disk)?;
    }
    runtime_disk::write_private(&arguments.out, &enrolled.enrolment.encode()).map_err(disk)?;
    let report = Report {
        schema: 1,
        device: arguments.device,
        channel: arguments.channel,
        broker: enrolled.enrolment.broker,
        file: arguments.out,
        certificate_sha256: enrolled.certificate_sha256,
        certificate_expires_unix: enrolled.certificate_expires_unix,
    };
    let human = format!(
        "{} in channel {}, broker {}: {}\nOn the device: edge-agent enroll {}",
        report.device,
        report.channel,
        report.broker,
        report.file.display(),
        report.file.file_name().unwrap_or_default().display(),
    );
    context.console.data(&report, &human);
    Ok(())
}
