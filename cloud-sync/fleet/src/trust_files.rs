//! The trust files below the root: signing new ones, and playing the device with them before anybody sees them.
//!
//! Invariant: what [`rehearse`] refuses is never stored as current and never published.

use std::collections::BTreeMap;

use bytes::Bytes;
use cloud_sync_protocol::ModelName;
use runtime_trust::author::{self, AuthorError, NamedDraft};
use runtime_trust::{AllowedManifest, Digest, FileName, Refresh, Role, RoleKeys, Root, SigningKey, TrustState};
use serde::{Deserialize, Serialize};

use crate::decide::{ReleaseChange, ReleasePlan};
use crate::error::FleetError;
use crate::event::{TrustChange, TrustFile};
use crate::settings::Lifetimes;
use crate::state::TrustSet;

/// The targets that a person signed with the release key, on their way to whoever holds the deploy key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedRelease {
    /// The artifact's name.
    pub name: ModelName,
    /// What was to change.
    pub change: ReleaseChange,
    /// `<name>.json`.
    pub named_targets: String,
    /// `targets.json`.
    pub targets: String,
}

/// The exact bytes of the current trust files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CurrentFiles {
    /// `timestamp.json`; empty before the first push, like the others.
    pub timestamp: Bytes,
    /// `snapshot.json`.
    pub snapshot: Bytes,
    /// `targets.json`.
    pub targets: Bytes,
    /// `<name>.json` by name.
    pub names: BTreeMap<ModelName, Bytes>,
}

/// Signs the targets of a plan with release's keys.
pub fn sign_release(
    plan: &ReleasePlan,
    change: ReleaseChange,
    root: &Root,
    keys: &[SigningKey],
    lifetimes: Lifetimes,
    now: u64,
) -> Result<SignedRelease, FleetError> {
    let keys: Vec<&SigningKey> = keys.iter().collect();
    let expires = now.saturating_add(lifetimes.targets_s);
    let allowed: Vec<AllowedManifest> = plan
        .allowed
        .iter()
        .map(|record| AllowedManifest {
            digest: record.digest,
            bytes: record.manifest_bytes,
            number: record.number,
            version: record.version.clone(),
        })
        .collect();
    let draft = NamedDraft {
        name: plan.name.to_string(),
        version: plan.version,
        expires,
        allowed,
        floor: plan.floor,
        denied: plan.denied.iter().copied().collect(),
    };
    let named = author::build_named_targets(&draft, &keys).map_err(|error| named_error(plan, error))?;
    // Each name is delegated to release's own keys; keys limited to a name come with the fleet's own commands.
    let release = root.role(Role::Targets);
    let names = &plan.top_level.names;
    let delegations: BTreeMap<String, RoleKeys> =
        names.iter().map(|name| (name.to_string(), release.clone())).collect();
    let targets = author::build_targets(plan.top_level.version, expires, &delegations, &keys)
        .map_err(|error| listing_error("top-level targets", names.len(), error))?;
    let text = |bytes| String::from_utf8(bytes).expect("JSON is UTF-8");
    Ok(SignedRelease { name: plan.name.clone(), change, named_targets: text(named), targets: text(targets) })
}

fn named_error(plan: &ReleasePlan, error: AuthorError) -> FleetError {
    let AuthorError::TooLarge { found, max, .. } = error else { return author_error(error) };
    // A quarter of the oldest makes room for as many new ones.
    let versions = plan.allowed.len();
    let retire_below = plan.allowed.get(versions.div_ceil(4)).map_or(u64::MAX, |record| record.number);
    FleetError::TargetsTooLarge { name: plan.name.clone(), versions, found, max, retire_below }
}

fn listing_error(what: &'static str, names: usize, error: AuthorError) -> FleetError {
    match error {
        AuthorError::TooLarge { found, max, .. } => FleetError::TooManyNames { what, names, found, max },
        other => author_error(other),
    }
}

fn author_error(error: AuthorError) -> FleetError {
    FleetError::Usage { message: error.to_string(), hint: String::new() }
}

/// What the deploy key signs: which versions, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signing {
    /// Versions are at least this.
    pub version_min: u64,
    /// How long the files are good.
    pub lifetimes: Lifetimes,
    /// Now, in seconds since 1970.
    pub now: u64,
}

impl CurrentFiles {
    /// These files with new targets, and a snapshot and timestamp over them that `deploy` signs.
    pub fn with_release(
        &self,
        release: &SignedRelease,
        before: Option<&TrustSet>,
        deploy: &[SigningKey],
        signing: Signing,
    ) -> Result<CurrentFiles, FleetError> {
        let mut files = self.clone();
        files.targets = Bytes::from(release.targets.clone().into_bytes());
        files.names.insert(release.name.clone(), Bytes::from(release.named_targets.clone().into_bytes()));
        files.sign_snapshot(before, deploy, signing)?;
        Ok(files)
    }

    /// Signs the snapshot anew, and with it the timestamp.
    pub fn sign_snapshot(
        &mut self,
        before: Option<&TrustSet>,
        deploy: &[SigningKey],
        signing: Signing,
    ) -> Result<(), FleetError> {
        let keys: Vec<&SigningKey> = deploy.iter().collect();
        let named: BTreeMap<String, Vec<u8>> =
            self.names.iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec())).collect();
        let version = next_version(before.map(|set| set.snapshot.version), signing);
        let expires = signing.now.saturating_add(signing.lifetimes.snapshot_s);
        let snapshot = author::build_snapshot(version, expires, &self.targets, &named, &keys)
            .map_err(|error| listing_error("snapshot", named.len(), error))?;
        self.snapshot = snapshot.into();
        self.sign_timestamp(before, deploy, signing)
    }

    /// Signs the timestamp anew.
    pub fn sign_timestamp(
        &mut self,
        before: Option<&TrustSet>,
        deploy: &[SigningKey],
        signing: Signing,
    ) -> Result<(), FleetError> {
        let keys: Vec<&SigningKey> = deploy.iter().collect();
        let version = next_version(before.map(|set| set.timestamp.version), signing);
        let expires = signing.now.saturating_add(signing.lifetimes.timestamp_s);
        let timestamp =
            author::build_timestamp(version, expires, signing.now, &self.snapshot, &keys).map_err(author_error)?;
        self.timestamp = timestamp.into();
        Ok(())
    }

    /// What changed from `before` to these files, for the log.
    pub fn change_since(&self, before: &CurrentFiles) -> Result<TrustChange, FleetError> {
        let changed = |file: FileName, now: &Bytes, then: Option<&Bytes>| match then {
            Some(then) if then == now => Ok(None),
            _ => trust_file(&file, now).map(Some),
        };
        let mut names = BTreeMap::new();
        for (name, bytes) in &self.names {
            let file = FileName::Named(name.to_string());
            if let Some(file) = changed(file, bytes, before.names.get(name))? {
                names.insert(name.clone(), file);
            }
        }
        Ok(TrustChange {
            timestamp: trust_file(&FileName::Timestamp, &self.timestamp)?,
            snapshot: changed(FileName::Snapshot, &self.snapshot, Some(&before.snapshot))?,
            targets: changed(FileName::Targets, &self.targets, Some(&before.targets))?,
            names,
        })
    }

    /// Every file, for storing.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.names.values().chain([&self.targets, &self.snapshot, &self.timestamp])
    }
}

fn next_version(before: Option<u64>, signing: Signing) -> u64 {
    (before.unwrap_or(0) + 1).max(signing.version_min)
}

fn trust_file(file: &FileName, bytes: &Bytes) -> Result<TrustFile, FleetError> {
    let (version, expires) =
        author::version_and_expiry(file, bytes).map_err(FleetError::not_trusted(format!("read {file} back")))?;
    Ok(TrustFile { digest: Digest::of(bytes), bytes: bytes.len() as u64, version, expires })
}

/// Plays a device that has pinned `root` and refreshes `name`: everything that it would refuse is an error here.
pub fn rehearse(root: &Root, files: &CurrentFiles, name: &ModelName, now: u64) -> Result<TrustState, FleetError> {
    let fresh = TrustState::enrolled(root.clone(), now);
    let mut refresh = Refresh::start(&fresh, fresh.clock(now), &[name.to_string()]);
    while let Some(wanted) = refresh.wanted() {
        let bytes = match &wanted.file {
            FileName::Root(_) => None,
            FileName::Timestamp => Some(&files.timestamp),
            FileName::Snapshot => Some(&files.snapshot),
            FileName::Targets => Some(&files.targets),
            FileName::Named(_) => files.names.get(name),
        };
        let what = format!("sign {} so that devices take it", wanted.file);
        refresh.feed(bytes.map(|bytes| &bytes[..])).map_err(FleetError::not_trusted(what))?;
    }
    refresh.finish().map_err(FleetError::not_trusted("sign files that devices take"))
}

/// Compares what the signed targets say with what was planned.
pub fn compare_with_plan(trusted: &TrustState, plan: &ReleasePlan) -> Result<(), FleetError> {
    let name = plan.name.as_str();
    let other = |what| Err(FleetError::OtherThanPlanned { name: plan.name.clone(), what });
    let mut signed: Vec<(u64, Digest, u64)> =
        trusted.allowed(name).iter().map(|entry| (entry.number, entry.digest, entry.bytes)).collect();
    signed.sort_unstable();
    let planned: Vec<(u64, Digest, u64)> =
        plan.allowed.iter().map(|record| (record.number, record.digest, record.manifest_bytes)).collect();
    if signed != planned {
        return other("the allowed manifests");
    }
    if trusted.floor(name) != plan.floor {
        return other("the floor");
    }
    if !plan.denied.iter().all(|digest| trusted.is_denied(name, digest)) {
        return other("the deny-list");
    }
    Ok(())
}
