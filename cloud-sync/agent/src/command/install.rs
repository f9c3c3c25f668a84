//! `edge-agent install`

use std::path::{Path, PathBuf};

use cloud_sync_store::{DeviceState, Store};
use runtime_console::{ExitCode, Failure};
use runtime_trust::{Root, TrustState, limits};

use super::Context;
use crate::admin::{AdminClient, InstallReply, Request};
use crate::config::Flags;
use crate::device::DeviceError;
use crate::outcome::{failed_as, install_reply};

/// Install a sealed model from a file, without a network
///
/// The same checks as over the network, less those that only a fleet can make: release's signature, the floor and the
/// deny-list as last seen (newer metadata lying beside the file is used), every digest, and the proof on this device.
/// It holds against every deployment seen so far. Through the running agent when there is one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge-agent install /media/usb/digits.cask")]
pub(super) struct Args {
    /// The sealed file
    #[arg(value_name = "FILE.cask")]
    file: PathBuf,
    /// Trust this root.json, once, in a folder that was never enrolled
    #[arg(long, value_name = "ROOT")]
    root: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    let file = std::path::absolute(&args.file)
        .map_err(|error| Failure::usage(format!("{} is no path: {error}", args.file.display())))?;
    let progress = context.console.progress(0, "installing");
    progress.message("checking, copying and proving on this device");
    let reply = match AdminClient::connect(&context.folder)? {
        Some(_) if args.root.is_some() => {
            return Err(Failure::usage("an agent runs in this folder, so its root is pinned already")
                .with_hint("leave out --root"));
        }
        Some(agent) => agent.ask::<InstallReply>(Request::Install { path: file })?,
        None => {
            if let Some(root) = &args.root {
                pin(context, root)?;
            }
            let mut local = super::status::open(context, &args.flags)?;
            install_reply(local.install(&file)?)?
        }
    };
    drop(progress);
    print(context, &reply);
    Ok(ExitCode::Ok)
}

/// Prints what is active now; for `rollback`, too.
pub(super) fn print(context: &Context, reply: &InstallReply) {
    let line = |model: &crate::admin::Activated| {
        let engine = model.version.engine.as_deref().unwrap_or("no engine measured");
        format!("{} {} (#{}) is active, on {engine}", model.name, model.version.version, model.version.number)
    };
    let human: Vec<String> = reply.models.iter().map(line).collect();
    context.console.data(reply, &human.join("\n"));
}

/// Pins a root that a person names, in a folder that has none.
fn pin(context: &Context, path: &Path) -> Result<(), Failure> {
    let root = read_root(path)?;
    let store = Store::open(context.folder.path()).map_err(DeviceError::from)?;
    let state = store.state();
    if !state.trust.is_empty() {
        let same = TrustState::parse(&state.trust).is_ok_and(|trust| trust.root().bytes() == root.bytes());
        return if same {
            Ok(())
        } else {
            let message = format!("{} already trusts another root", context.folder.path().display());
            Err(Failure::new(ExitCode::NotTrusted, message).with_hint("use another --dir, or leave out --root"))
        };
    }
    let trust = TrustState::enrolled(root, 0).to_bytes();
    store.commit(DeviceState { trust, ..state }).map_err(DeviceError::from)?;
    Ok(())
}

/// Reads a root that a person vouches for.
pub(super) fn read_root(path: &Path) -> Result<Root, Failure> {
    let bytes =
        runtime_disk::read_bounded(path, limits::ROOT_BYTES_MAX).map_err(|error| failed_as(&error, ExitCode::Usage))?;
    Root::pin(&bytes).map_err(|refusal| {
        Failure::new(ExitCode::NotTrusted, format!("{}: failed to {refusal}", path.display()))
            .with_hint("the root is root.json of the fleet's trust folder")
    })
}
