//! `fleet keys new`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use cloud_sync_protocol::FleetId;
use runtime_console::{Failure, PassphraseArgs};
use runtime_trust::keyfile::Protection;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Context, failed, now};
use crate::keyring::{DEPLOY, KeyFile, RELEASE, ROOT};
use crate::keys::{self, NewFleet, ROOT_LIFETIME_S};
use crate::settings::FLEET_DEFAULT;

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// Make the keys of a fleet: root, release, deploy, and the CA of its devices
///
/// All key files are encrypted with one passphrase, and none is ever overwritten. Afterwards move keys/root.key to
/// a safe place: it is only needed to change who signs. With --role and --out a single key is made instead, for a
/// person or machine that holds it elsewhere; --trust adds its public half to a new fleet.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleet keys new --fleet kiosks --passphrase-file secret.txt\n\n\
    Two people must sign releases:\n  \
    fleet keys new --role release --out ann.key\n  \
    fleet keys new --fleet kiosks --trust release=ann.key --threshold release=2")]
pub(super) struct Arguments {
    /// The name of the fleet; it is part of every topic
    #[arg(long, value_name = "NAME", default_value = FLEET_DEFAULT)]
    fleet: FleetId,
    /// Another key that counts for a role (release or deploy), held elsewhere; may be repeated
    #[arg(long, value_name = "ROLE=FILE", value_parser = parse_trust)]
    trust: Vec<(Role, PathBuf)>,
    /// How many keys of a role (release or deploy) must sign; may be repeated
    #[arg(long, value_name = "ROLE=N", value_parser = parse_threshold)]
    threshold: Vec<(Role, u32)>,
    /// How many days the root of trust is good
    #[arg(long, value_name = "DAYS", default_value_t = ROOT_LIFETIME_S / SECONDS_PER_DAY, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    root_days: u64,
    /// Make a single key of this role instead of a fleet
    #[arg(long, value_enum, requires = "out", conflicts_with_all = ["trust", "threshold", "root_days"])]
    role: Option<AnyRole>,
    /// Where the single key goes
    #[arg(long, value_name = "FILE", requires = "role")]
    out: Option<PathBuf>,
    /// Write key files that anybody who reads them can use
    #[arg(long, help_heading = "Keys")]
    insecure_unencrypted: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// A role whose keys may be held elsewhere and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Release,
    Deploy,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Release => RELEASE,
            Role::Deploy => DEPLOY,
        }
    }
}

/// A role that a single key can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum AnyRole {
    Root,
    Release,
    Deploy,
}

fn parse_role(text: &str) -> Result<Role, String> {
    match text {
        RELEASE => Ok(Role::Release),
        DEPLOY => Ok(Role::Deploy),
        other => Err(format!("{other:?} is no role here; use release or deploy")),
    }
}

fn parse_trust(text: &str) -> Result<(Role, PathBuf), String> {
    let (role, file) = text.split_once('=').ok_or("expected ROLE=FILE, for example release=ann.key")?;
    Ok((parse_role(role)?, PathBuf::from(file)))
}

fn parse_threshold(text: &str) -> Result<(Role, u32), String> {
    let (role, count) = text.split_once('=').ok_or("expected ROLE=N, for example release=2")?;
    let count = count.parse().ok().filter(|count| *count > 0).ok_or(format!("{count:?} is no number from 1 on"))?;
    Ok((parse_role(role)?, count))
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    fleet: FleetId,
    root: PathBuf,
    root_expires_unix: u64,
    keys: PathBuf,
}

#[derive(Serialize)]
struct SingleReport {
    schema: u32,
    role: &'static str,
    file: PathBuf,
    key_id: String,
}

pub(super) fn run(context: &Context, arguments: Arguments) -> Result<(), Failure> {
    let passphrase = match arguments.insecure_unencrypted {
        true => Zeroizing::default(),
        false => Zeroizing::new(new_passphrase(&arguments.passphrase)?),
    };
    let protection = match arguments.insecure_unencrypted {
        true => Protection::InsecureUnencrypted,
        false => Protection::Passphrase(&passphrase),
    };
    if arguments.insecure_unencrypted {
        context.console.warn("these key files are not encrypted: whoever reads them is the fleet");
    }
    if let (Some(role), Some(out)) = (arguments.role, arguments.out) {
        return single(context, role, out, protection);
    }
    let mut trusted = Vec::new();
    for (role, path) in &arguments.trust {
        let file = KeyFile::read(path)
            .and_then(|file| file.expect_role(role.name()))
            .map_err(|error| failed(crate::FleetError::from(error)))?;
        trusted.push((role.name(), keys::public_of(&file).map_err(failed)?));
    }
    let thresholds: BTreeMap<&'static str, u32> =
        arguments.threshold.iter().map(|(role, count)| (role.name(), *count)).collect();
    let root_lifetime_s = arguments.root_days * SECONDS_PER_DAY;
    let new = NewFleet { fleet: arguments.fleet, trusted, thresholds, root_lifetime_s };
    let root = keys::create(&context.folder, &new, protection, now()).map_err(failed)?;
    let report = Report {
        schema: 1,
        fleet: new.fleet.clone(),
        root: context.folder.root(),
        root_expires_unix: root.expires(),
        keys: context.folder.keys(),
    };
    let human = format!(
        "fleet {}: keys in {}, root of trust in {}\n\
         Move {} to a safe place now: it is only needed to change who signs.",
        new.fleet,
        report.keys.display(),
        report.root.display(),
        context.folder.key(ROOT).display(),
    );
    context.console.data(&report, &human);
    Ok(())
}

fn new_passphrase(args: &PassphraseArgs) -> Result<Vec<u8>, Failure> {
    let passphrase = args.read("new keys", true)?;
    if passphrase.is_empty() {
        return Err(Failure::usage("the passphrase of the new keys is empty")
            .with_hint("give one, or say --insecure-unencrypted when anybody who reads the files may use them"));
    }
    Ok(passphrase)
}

fn single(context: &Context, role: AnyRole, out: PathBuf, protection: Protection<'_>) -> Result<(), Failure> {
    let role = match role {
        AnyRole::Root => ROOT,
        AnyRole::Release => RELEASE,
        AnyRole::Deploy => DEPLOY,
    };
    let public = keys::create_single(&out, role, protection).map_err(failed)?;
    let human = format!("{role} key {} in {}", public.id(), out.display());
    context.console.data(&SingleReport { schema: 1, role, file: out, key_id: public.id().to_string() }, &human);
    Ok(())
}
