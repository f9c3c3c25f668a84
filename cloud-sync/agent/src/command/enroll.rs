//! `edge-agent enroll`

use std::path::PathBuf;

use cloud_sync_protocol::Enrolment;
use cloud_sync_protocol::limits::ENROLMENT_BYTES_MAX;
use cloud_sync_store::{DeviceState, Store};
use runtime_console::{ExitCode, Failure};
use runtime_trust::{Root, TrustState};
use serde::Serialize;

use super::Context;
use crate::device::DeviceError;
use crate::folder::FolderError;
use crate::outcome::{failed, failed_as};

/// Make this folder a device of a fleet
///
/// FILE comes from `fleet device enroll NAME --out FILE` on the operator's machine, by a way that you trust: it holds
/// the device's private key, and the root key that everything is checked by from now on. Enrolling again with a newer
/// file of the same fleet renews broker and certificate; the root stays.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge-agent --dir /var/lib/edge-agent enroll camera-7.json")]
pub(super) struct Args {
    /// The enrolment file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Serialize)]
struct Enrolled {
    schema: u32,
    fleet: String,
    device: String,
    channel: String,
    broker: String,
    folder: String,
    renewed: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    let bytes = runtime_disk::read_bounded(&args.file, ENROLMENT_BYTES_MAX as u64)
        .map_err(|error| failed_as(&error, ExitCode::Usage))?;
    let enrolment = Enrolment::decode(&bytes).map_err(|error| {
        let error = FolderError::Enrolment { path: args.file.clone(), message: error.to_string() };
        failed(&error)
    })?;
    let root = Root::pin(enrolment.root.as_bytes()).map_err(|refusal| {
        Failure::new(
            ExitCode::NotTrusted,
            format!("failed to pin the root in {}: failed to {refusal}", args.file.display()),
        )
        .with_hint("get the enrolment file again from the operator")
    })?;
    let store = Store::open(context.folder.path()).map_err(DeviceError::from)?;
    let renewed = pin(&store, root, &enrolment)?;
    runtime_disk::write_private(&context.folder.enrolment_file(), &bytes)
        .map_err(|error| failed(&FolderError::from(error)))?;
    let enrolled = Enrolled {
        schema: 1,
        fleet: enrolment.fleet.to_string(),
        device: enrolment.device.to_string(),
        channel: enrolment.channel.to_string(),
        broker: enrolment.broker.to_string(),
        folder: context.folder.path().display().to_string(),
        renewed,
    };
    let human = format!(
        "{} {} of fleet {} on channel {}, broker {}",
        if renewed { "renewed" } else { "enrolled" },
        enrolled.device,
        enrolled.fleet,
        enrolled.channel,
        enrolled.broker
    );
    context.console.data(&enrolled, &human);
    context.console.note(&format!("`edge-agent --dir {} run` starts the agent", enrolled.folder));
    Ok(ExitCode::Ok)
}

/// Pins the root where none is pinned yet; returns whether one was. A root never comes from anywhere else, and never
/// twice.
fn pin(store: &Store, root: Root, enrolment: &Enrolment) -> Result<bool, Failure> {
    let state = store.state();
    if state.trust.is_empty() {
        let trust = TrustState::enrolled(root, enrolment.time).to_bytes();
        store.commit(DeviceState { trust, ..state }).map_err(DeviceError::from)?;
        return Ok(false);
    }
    let folder = store.folder().display().to_string();
    let trust =
        TrustState::parse(&state.trust).map_err(|source| DeviceError::Trust { folder: folder.clone(), source })?;
    if !same_keys(trust.root(), &root) {
        let message = format!("failed to enroll: {folder} already trusts another root");
        return Err(Failure::new(ExitCode::NotTrusted, message)
            .with_hint("a device that changes its fleet starts with an empty folder: use another --dir"));
    }
    Ok(true)
}

/// Whether some root key of the one still counts in the other: roots of one fleet overlap, those of two do not.
fn same_keys(pinned: &Root, offered: &Root) -> bool {
    use runtime_trust::Role;
    let offered = offered.role(Role::Root);
    pinned.role(Role::Root).keys.keys().any(|key| offered.keys.contains_key(key))
}
