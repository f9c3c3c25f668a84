//! `fleet artifact push`.

use std::path::PathBuf;

use clap::Args;
use runtime_console::{Failure, PassphraseArgs, human_bytes};

use super::release::{KeyArgs, release};
use super::session::Session;
use super::{Context, failed};
use crate::decide::ReleaseChange;
use crate::fleet::Outside;
use crate::push::Package;
use crate::report::Pushed;

/// Store a .cask file and allow it
///
/// Its name's targets are signed anew with the release key. Every byte of the file is checked first. Pushing the same file again stores what is missing and signs the targets
/// anew, which also renews their expiry.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleet artifact push digits.cask --retire-below 10")]
pub(super) struct Arguments {
    /// The artifact
    #[arg(value_name = "FILE.cask")]
    file: PathBuf,
    /// Take versions with a lower number off the list of allowed ones
    #[arg(long, value_name = "NUMBER")]
    retire_below: Option<u64>,
    /// Never allow a lower number again: devices refuse it even from a USB stick
    #[arg(long, value_name = "NUMBER")]
    floor: Option<u64>,
    /// Give new trust files at least this version: after the folder was restored from a backup
    #[arg(long, value_name = "VERSION", default_value_t = 0)]
    metadata_version: u64,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<(), Failure> {
    let outside = Outside::read(&context.folder).map_err(failed)?;
    let package = Package::open(&arguments.file, &outside.root)
        .map_err(|error| failed(error).with_context(arguments.file.display()))?;
    let name = package.name().clone();
    let progress = context.console.progress(package.object_count(), "storing");
    let objects = outside.objects(&context.folder).map_err(failed)?;
    let (artifact, chunks_new) = package.store(&objects, |_| progress.advance(1)).await.map_err(failed)?;
    drop(progress);
    let change = ReleaseChange {
        artifact: Some(artifact),
        retire_below: arguments.retire_below,
        floor: arguments.floor,
        version_min: arguments.metadata_version,
        ..ReleaseChange::default()
    };
    let mut session = Session::open(&context.folder, &arguments.passphrase).await?;
    let pushed = release(context, &mut session, &outside, name, change, &arguments.keys, &arguments.passphrase).await?;
    let pushed = Pushed { chunks_new, ..pushed };
    let mut human = format!(
        "{} {} (number {}): {} objects, {}, {chunks_new} of them new\ndigest {}",
        pushed.name,
        pushed.version,
        pushed.number,
        pushed.chunks,
        human_bytes(pushed.bytes),
        pushed.digest,
    );
    if !pushed.retired.is_empty() {
        human.push_str(&format!("\nretired: {:?}", pushed.retired));
    }
    context.console.data(&pushed, &human);
    Ok(())
}
