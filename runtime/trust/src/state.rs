//! Everything a device trusts so far, and what it has seen.
//!
//! Invariant: every document inside is signed as the root inside demands. There are three ways to a
//! `TrustState`: [`TrustState::enrolled`] from a pinned root, a finished [`Refresh`](crate::Refresh),
//! and [`TrustState::parse`], which verifies all signatures again. Versions, sequences and the time
//! seen never go back, except where a root takes the word from the keys that set them.

use std::collections::BTreeMap;

use crate::limits::{CHANNELS_MAX, NAMES_MAX};
use crate::listing::{Snapshot, Timestamp};
use crate::refusal::Refusal;
use crate::targets::{AllowedManifest, NamedTargets, TopTargets};
use crate::{Deployment, Digest, FileName, Role, Root};

/// What a device trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustState {
    pub(crate) root: Root,
    /// The time in the enrolment file, in seconds since 1970.
    pub(crate) time_enrolled: u64,
    /// The highest time that a trusted statement named, in seconds since 1970.
    pub(crate) time_seen: u64,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) targets: Option<TopTargets>,
    /// By artifact name.
    pub(crate) named: BTreeMap<String, NamedTargets>,
    /// The last accepted sequence by channel.
    pub(crate) sequences: BTreeMap<String, u64>,
}

impl TrustState {
    /// A device at its enrolment, which knows a root and a time (seconds since 1970).
    pub fn enrolled(root: Root, time: u64) -> Self {
        Self {
            root,
            time_enrolled: time,
            time_seen: time,
            timestamp: None,
            snapshot: None,
            targets: None,
            named: BTreeMap::new(),
            sequences: BTreeMap::new(),
        }
    }

    /// The root trusted now.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The version of a file as last seen; the root's is that of the trusted one, whichever is asked for.
    pub fn version(&self, file: &FileName) -> Option<u64> {
        let document = match file {
            FileName::Root(_) => return Some(self.root.version()),
            FileName::Timestamp => self.timestamp.as_ref().map(|file| &file.document),
            FileName::Snapshot => self.snapshot.as_ref().map(|file| &file.document),
            FileName::Targets => self.targets.as_ref().map(|file| &file.document),
            FileName::Named(name) => self.named.get(name).map(|file| &file.document),
        };
        document.map(|document| document.version)
    }

    /// The highest time that the enrolment or a trusted statement named, in seconds since 1970.
    pub fn time_seen(&self) -> u64 {
        self.time_seen
    }

    /// The time to decide by: a system clock that is behind what was seen is wrong.
    pub fn clock(&self, system_now: u64) -> u64 {
        system_now.max(self.time_seen)
    }

    /// The lowest number of `name` that release lets run, as last seen; 0 when nothing was seen.
    pub fn floor(&self, name: &str) -> u64 {
        self.named.get(name).map_or(0, |targets| targets.floor)
    }

    /// Whether release denies this manifest of `name`, as last seen. It must not run on any rung.
    pub fn is_denied(&self, name: &str, digest: &Digest) -> bool {
        self.named.get(name).is_some_and(|targets| targets.denied.contains(digest))
    }

    /// The deny-list as last seen, by artifact name.
    pub fn denied(&self) -> impl Iterator<Item = (&str, &Digest)> {
        self.named.iter().flat_map(|(name, targets)| targets.denied.iter().map(move |digest| (name.as_str(), digest)))
    }

    /// The manifests of `name` that release allows, as last seen, by growing number.
    pub fn allowed(&self, name: &str) -> Vec<AllowedManifest> {
        let mut allowed: Vec<_> =
            self.named.get(name).map(|targets| targets.allowed.values().cloned().collect()).unwrap_or_default();
        allowed.sort_by_key(|entry| (entry.number, entry.digest));
        allowed
    }

    /// The artifact names whose targets are known.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }

    /// The sequence of the last deployment of `channel` that was accepted.
    pub fn sequence(&self, channel: &str) -> Option<u64> {
        self.sequences.get(channel).copied()
    }

    /// Remembers a deployment that [`TrustState::check_deployment`] returned: raises the channel's
    /// sequence and the time seen. Store the state in the same durable step as the slot.
    pub fn accept_deployment(&mut self, deployment: &Deployment) {
        self.see_time(deployment.issued);
        let is_known = self.sequences.contains_key(&deployment.channel);
        if is_known || self.sequences.len() < CHANNELS_MAX {
            let last = self.sequences.entry(deployment.channel.clone()).or_default();
            *last = deployment.sequence.max(*last);
        }
    }

    /// Raises the time seen. Deploy's word on time counts up to root's expiry and no further: a stolen
    /// deploy key that names the year 9999 must not make every certificate and file look expired for ever.
    pub(crate) fn see_time(&mut self, time: u64) {
        self.time_seen = self.time_seen.max(time.min(self.root.expires()));
    }

    /// Replaces the root, and forgets what keys said that have lost their word.
    ///
    /// TUF 5.3.11: otherwise a stolen key could set versions so high that its successor is refused for ever.
    pub(crate) fn replace_root(&mut self, newer: Root) {
        let lost = |role| self.root.role(role).lost_a_key(newer.role(role));
        let (timestamp, snapshot, targets) = (lost(Role::Timestamp), lost(Role::Snapshot), lost(Role::Targets));
        if timestamp || snapshot {
            self.timestamp = None;
        }
        // Targets' versions stand in the snapshot, too.
        if timestamp || snapshot || targets {
            self.snapshot = None;
        }
        if timestamp {
            // Deployments are signed by the timestamp role.
            self.sequences.clear();
            self.time_seen = self.time_enrolled;
        }
        if targets {
            self.targets = None;
            self.named.clear();
        }
        self.root = newer;
    }

    /// Drops what the root and delegations inside no longer vouch for, and what does not fit;
    /// `wanted` names are the last to go.
    pub(crate) fn settle(&mut self, wanted: &[String]) {
        let root = &self.root;
        self.timestamp.take_if(|file| file.document.verify("", root.role(Role::Timestamp)).is_err());
        self.snapshot.take_if(|file| file.document.verify("", root.role(Role::Snapshot)).is_err());
        self.targets.take_if(|file| file.document.verify("", root.role(Role::Targets)).is_err());
        let targets = &self.targets;
        self.named.retain(|name, file| verify_named(targets.as_ref(), name, file).is_ok());
        while self.named.len() > NAMES_MAX {
            let spare = self.named.keys().find(|name| !wanted.contains(name)).cloned();
            let Some(spare) = spare else { break };
            self.named.remove(&spare);
        }
    }
}

/// Whether the delegation of `name` vouches for its targets file.
pub(crate) fn verify_named(targets: Option<&TopTargets>, name: &str, file: &NamedTargets) -> Result<(), Refusal> {
    let keys = targets.and_then(|targets| targets.delegations.get(name)).ok_or_else(|| not_delegated(name))?;
    file.document.verify("the keys that targets.json names for it", keys)
}

pub(crate) fn not_delegated(name: &str) -> Refusal {
    use crate::refusal::{Reason, Step};
    Refusal::new(
        Step::Metadata,
        Reason::NotDelegated,
        format!("trust {name}.json: targets.json does not delegate {name}/* to anybody; push the artifact first"),
    )
}
