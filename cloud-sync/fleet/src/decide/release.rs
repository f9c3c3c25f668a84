//! Plans for the targets of one name: what is allowed, denied, and under the floor.

use std::collections::BTreeSet;

use cloud_sync_protocol::ModelName;
use runtime_trust::Digest;
use serde::{Deserialize, Serialize};

use super::Refused;
use crate::event::ArtifactRecord;
use crate::state::{Artifact, NamedArtifacts, State};

/// Artifact names of one fleet: as many as the top-level targets hold in 48 KiB.
pub const NAMES_MAX: usize = 150;

/// What shall change about the targets of one name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseChange {
    /// An artifact that becomes allowed.
    pub artifact: Option<ArtifactRecord>,
    /// Numbers below this are no longer listed.
    pub retire_below: Option<u64>,
    /// The new floor.
    pub floor: Option<u64>,
    /// Manifests that must not run anywhere any more.
    pub deny: BTreeSet<Digest>,
    /// New trust files have at least this version: for a fleet restored from an old backup.
    pub version_min: u64,
}

/// What will be signed for one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleasePlan {
    /// The name.
    pub name: ModelName,
    /// The artifacts that the new targets allow, lowest number first.
    pub allowed: Vec<ArtifactRecord>,
    /// Numbers that they no longer allow.
    pub retired: Vec<u64>,
    /// The floor.
    pub floor: u64,
    /// The denied manifests.
    pub denied: Vec<Digest>,
    /// The version of the name's targets.
    pub version: u64,
    /// The top-level targets, which are signed again with every name's.
    pub top_level: TopLevelPlan,
}

/// The top-level targets: which names there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopLevelPlan {
    /// Their version.
    pub version: u64,
    /// All names.
    pub names: Vec<ModelName>,
}

/// Plans new targets of `name`. The top level is signed again, too, whenever a person signs: it delegates to a new
/// name then, and never ends before what it delegates to.
pub fn release(state: &State, name: &ModelName, change: &ReleaseChange) -> Result<ReleasePlan, Refused> {
    let empty = NamedArtifacts::default();
    let named = state.artifacts(name).unwrap_or(&empty);
    let mut names: BTreeSet<ModelName> = state.names().cloned().collect();
    names.insert(name.clone());
    if names.len() > NAMES_MAX {
        return Err(Refused::TooMany { what: "an artifact name", found: names.len() - 1, max: NAMES_MAX });
    }
    if change.artifact.is_none() && named.versions.is_empty() {
        return Err(Refused::UnknownName { name: name.clone() });
    }
    let floor = change.floor.unwrap_or(named.floor);
    if floor < named.floor {
        return Err(Refused::FloorFalls { name: name.clone(), found: floor, floor: named.floor });
    }
    let mut all = named.clone();
    if let Some(artifact) = &change.artifact {
        check_number(name, artifact, named, floor)?;
        let entry = Artifact { record: artifact.clone(), retired: false, pushed: 0 };
        all.versions.insert(artifact.number, entry);
    }
    let retired: Vec<u64> = match change.retire_below {
        None => Vec::new(),
        Some(below) => all.versions.range(..below).filter(|(_, one)| !one.retired).map(|(number, _)| *number).collect(),
    };
    all.denied.extend(change.deny.iter().copied());
    all.floor = floor;
    check_deployed(state, name, &all, &retired)?;
    let allowed = all
        .versions
        .values()
        .filter(|one| !one.retired && one.record.number >= floor && !retired.contains(&one.record.number))
        .map(|one| one.record.clone())
        .collect();
    let version_after = |before: Option<u64>| (before.unwrap_or(0) + 1).max(change.version_min);
    let trust = state.trust();
    Ok(ReleasePlan {
        name: name.clone(),
        allowed,
        retired,
        floor,
        denied: all.denied.into_iter().collect(),
        version: version_after(trust.and_then(|trust| trust.names.get(name)).map(|file| file.version)),
        top_level: TopLevelPlan {
            version: version_after(trust.map(|trust| trust.targets.version)),
            names: names.into_iter().collect(),
        },
    })
}

fn check_number(
    name: &ModelName,
    artifact: &ArtifactRecord,
    named: &NamedArtifacts,
    floor: u64,
) -> Result<(), Refused> {
    let number = artifact.number;
    let wrong = |reason: String| Err(Refused::Number { name: name.clone(), number, reason });
    if number < floor {
        return wrong(format!("the floor is {floor}"));
    }
    match named.versions.get(&number) {
        Some(same) if same.record.digest == artifact.digest => return Ok(()),
        Some(other) => return wrong(format!("the number belongs to version {}", other.record.version)),
        None => {}
    }
    if let Some(other) = named.versions.values().find(|one| one.record.version == artifact.version) {
        return wrong(format!("version {} exists as number {}", artifact.version, other.record.number));
    }
    match named.versions.last_key_value() {
        Some((highest, _)) if number < *highest => wrong(format!("numbers grow, and the highest is {highest}")),
        _ => Ok(()),
    }
}

/// A person has to move a channel away before its version stops being allowed; denying is for emergencies and
/// needs no such order.
fn check_deployed(state: &State, name: &ModelName, after: &NamedArtifacts, retired: &[u64]) -> Result<(), Refused> {
    for channel in state.channels() {
        let Some(digest) = state.deployment(channel).and_then(|deployment| deployment.models.get(name)) else {
            continue;
        };
        let gone = |one: &&Artifact| {
            let number = one.record.number;
            one.record.digest == *digest && (number < after.floor || retired.contains(&number))
        };
        if let Some(artifact) = after.versions.values().find(gone) {
            let number = artifact.record.number;
            return Err(Refused::StillDeployed { name: name.clone(), number, channel: channel.clone() });
        }
    }
    Ok(())
}
