//! `fleet artifact update`.

use std::collections::BTreeSet;

use clap::Args;
use runtime_console::{Failure, PassphraseArgs};

use super::release::{KeyArgs, release};
use super::session::Session;
use super::target::Target;
use super::{Context, failed};
use crate::admin::Request;
use crate::decide::{ReleaseChange, VersionChoice};
use crate::fleet::Outside;
use crate::report::ArtifactDetails;

/// Renew, retire, deny or set the floor of an artifact's versions
///
/// Signs the targets of its name anew without a new artifact.
///
/// A denied version stops answering on every device that hears of it, also when it is the last one that a device
/// has. That cannot be taken back.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  fleet artifact update digits                    # renew the expiry\n  \
    fleet artifact update digits@1.0.3 --deny       # must not run anywhere any more\n  \
    fleet artifact update digits --floor 4 --retire-below 10")]
pub(super) struct Arguments {
    /// NAME; with --deny NAME@VERSION, NAME@NUMBER or NAME@DIGEST
    target: Target,
    /// Deny the named version
    #[arg(long)]
    deny: bool,
    /// Take versions with a lower number off the list of allowed ones
    #[arg(long, value_name = "NUMBER")]
    retire_below: Option<u64>,
    /// Never allow a lower number again
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
    let Target { name, version } = arguments.target;
    if arguments.deny && version == VersionChoice::Newest {
        return Err(Failure::usage(format!("deny {name}: no version is named"))
            .with_hint(format!("name it: {name}@VERSION --deny")));
    }
    if !arguments.deny && version != VersionChoice::Newest {
        return Err(Failure::usage(format!("update {name}: a version is named, but nothing to do with it"))
            .with_hint("--deny denies it"));
    }
    let outside = Outside::read(&context.folder).map_err(failed)?;
    let mut session = Session::open(&context.folder, &arguments.passphrase).await?;
    let mut deny = BTreeSet::new();
    if arguments.deny {
        let details: ArtifactDetails = session.call(Request::ArtifactShow { name: name.clone(), version }).await?;
        deny.insert(details.row.digest);
    }
    let change = ReleaseChange {
        artifact: None,
        retire_below: arguments.retire_below,
        floor: arguments.floor,
        deny,
        version_min: arguments.metadata_version,
    };
    let pushed = release(context, &mut session, &outside, name, change, &arguments.keys, &arguments.passphrase).await?;
    let human = format!("targets of {}: version {}", pushed.name, pushed.targets_version);
    context.console.data(&pushed, &human);
    Ok(())
}
