//! `fleet keys show`.

use clap::Args;
use cloud_sync_protocol::FleetId;
use runtime_console::{Failure, table};
use runtime_trust::Role;
use serde::Serialize;

use super::{Context, failed, now, shown};
use crate::error::FleetError;
use crate::fleet::Outside;
use crate::keyring::{self, DEVICE_CA};
use crate::keys;

/// Show the key files, and what the root of trust demands of whom
///
/// Needs no passphrase.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleet keys show --json")]
pub(super) struct Arguments {}

#[derive(Serialize)]
struct Report {
    schema: u32,
    fleet: FleetId,
    root_version: u64,
    root_expires_unix: u64,
    roles: Vec<RoleRow>,
    keys: Vec<KeyRow>,
}

#[derive(Serialize)]
struct RoleRow {
    role: &'static str,
    threshold: u32,
    key_ids: Vec<String>,
}

#[derive(Serialize)]
struct KeyRow {
    file: String,
    role: String,
    key_id: Option<String>,
    encrypted: bool,
    trusted: bool,
}

/// The role of a key file in the words of TUF: deploy's keys are both timestamp's and snapshot's.
const ROLES: [(&str, Role); 4] =
    [("root", Role::Root), ("release", Role::Targets), ("deploy", Role::Timestamp), ("deploy", Role::Snapshot)];

pub(super) fn run(context: &Context, Arguments {}: Arguments) -> Result<(), Failure> {
    let Outside { settings, root } = Outside::read(&context.folder).map_err(failed)?;
    let files = keyring::list(&context.folder.keys()).map_err(|error| failed(FleetError::from(error)))?;
    let mut keys = Vec::new();
    for file in &files {
        let facts = file.facts();
        let public = match facts.role == DEVICE_CA {
            true => None,
            false => Some(keys::public_of(file).map_err(failed)?),
        };
        let id = public.map(|public| public.id());
        let counts = |(role, of): &(&str, Role)| {
            *role == facts.role && id.as_ref().is_some_and(|id| root.role(*of).keys.contains_key(id))
        };
        keys.push(KeyRow {
            file: file.path().display().to_string(),
            role: facts.role.clone(),
            key_id: id.as_ref().map(ToString::to_string),
            encrypted: facts.encrypted,
            trusted: ROLES.iter().any(counts),
        });
    }
    let roles: Vec<RoleRow> = Role::ALL
        .into_iter()
        .map(|role| RoleRow {
            role: role.name(),
            threshold: root.role(role).threshold,
            key_ids: root.role(role).keys.keys().map(ToString::to_string).collect(),
        })
        .collect();
    let report = Report {
        schema: 1,
        fleet: settings.fleet,
        root_version: root.version(),
        root_expires_unix: root.expires(),
        roles,
        keys,
    };
    context.console.data(&report, &human(&report));
    Ok(())
}

fn human(report: &Report) -> String {
    let short = |id: &str| id.chars().take(12).collect::<String>();
    let mut text = format!(
        "fleet {}, root of trust version {}, good for {}\n\n",
        report.fleet,
        report.root_version,
        shown::left(report.root_expires_unix, now()),
    );
    let roles: Vec<Vec<String>> = report
        .roles
        .iter()
        .map(|row| {
            let ids: Vec<String> = row.key_ids.iter().map(|id| short(id)).collect();
            vec![row.role.to_owned(), format!("{} of {}", row.threshold, ids.len()), ids.join(" ")]
        })
        .collect();
    text.push_str(&table(&["role", "signatures", "keys"], &roles));
    text.push('\n');
    let keys: Vec<Vec<String>> = report
        .keys
        .iter()
        .map(|row| {
            let id = row.key_id.as_deref().map(short).unwrap_or_default();
            let state = if row.encrypted { "encrypted" } else { "NOT ENCRYPTED" };
            vec![row.file.clone(), row.role.clone(), id, state.to_owned()]
        })
        .collect();
    text.push_str(&table(&["file", "role", "key", "state"], &keys));
    text
}
