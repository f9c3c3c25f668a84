//! What each file of the metadata must be, in the order of the TUF specification's client workflow.

use super::{At, Expiry, Refresh};
use crate::document::{Document, Expected};
use crate::limits::ROOT_ROTATIONS_MAX;
use crate::listing::{SNAPSHOT, Snapshot, TIMESTAMP, Timestamp, named_file};
use crate::refusal::{Reason, Refusal, Step};
use crate::state::{not_delegated, verify_named};
use crate::targets::{NamedTargets, TARGETS, TopTargets, expected_named};
use crate::{Role, Root};

impl Refresh {
    fn require_unexpired(&self, document: &Document) -> Result<(), Refusal> {
        match self.expiry {
            Expiry::Enforced => document.require_unexpired(self.state.clock(self.system_now)),
            Expiry::IgnoredForSideload => Ok(()),
        }
    }

    fn require_root_unexpired(&self, root: &Root) -> Result<(), Refusal> {
        match self.expiry {
            Expiry::Enforced => root.require_unexpired(self.state.clock(self.system_now)),
            Expiry::IgnoredForSideload => Ok(()),
        }
    }

    pub(super) fn feed_root(&mut self, rotations: u32, bytes: Option<&[u8]>) -> Result<At, Refusal> {
        let Some(bytes) = bytes else {
            // 5.3.9: no newer root: N is the latest.
            // 5.3.10: the latest root must not be expired (those on the way may be).
            self.require_root_unexpired(&self.state.root)?;
            return Ok(At::Timestamp);
        };
        // 5.3.3: bounded, so that an attacker cannot feed roots for ever.
        if rotations >= ROOT_ROTATIONS_MAX {
            return Err(Refusal::new(
                Step::Root,
                Reason::TooManyRotations,
                format!(
                    "trust root.json: {ROOT_ROTATIONS_MAX} roots in a row, and more to come; enrol the device again"
                ),
            ));
        }
        // 5.3.4, 5.3.5: signed by both, version N+1.
        let newer = self.state.root.successor(bytes)?;
        // 5.3.6, 5.3.7: N+1 is the trusted root now. 5.3.11: what replaced keys have said is dropped.
        self.state.replace_root(newer);
        Ok(At::Root { rotations: rotations + 1 })
    }

    pub(super) fn feed_timestamp(&mut self, bytes: &[u8]) -> Result<At, Refusal> {
        let newer = Timestamp::read(bytes)?;
        // 5.4.2: signed as the trusted root demands.
        let role = self.state.root.role(Role::Timestamp);
        newer.document.verify("deploy's timestamp keys", role)?;
        if let Some(trusted) = &self.state.timestamp {
            // 5.4.3.1: not older than the trusted timestamp.
            newer.document.require_version_at_least(trusted.document.version)?;
            // 5.4.3.2: nor may the snapshot that it names be.
            require_listed_at_least(&TIMESTAMP, "snapshot.json", newer.snapshot.version, trusted.snapshot.version)?;
            // 5.4.3.1: the same version again is not an update; what was trusted stays, if it still is.
            if newer.document.version == trusted.document.version && trusted.document.verify("", role).is_ok() {
                self.require_unexpired(&trusted.document)?;
                return Ok(self.after_timestamp());
            }
        }
        // 5.4.4: not expired.
        self.require_unexpired(&newer.document)?;
        // Time seen: the rest of this refresh decides by it, too.
        self.state.see_time(newer.issued);
        // 5.4.5: it is the trusted timestamp now.
        self.state.timestamp = Some(newer);
        Ok(self.after_timestamp())
    }

    /// Skips the snapshot when the trusted one is the one that the timestamp names.
    fn after_timestamp(&self) -> At {
        let role = self.state.root.role(Role::Snapshot);
        match (&self.state.timestamp, &self.state.snapshot) {
            (Some(timestamp), Some(snapshot))
                if timestamp.snapshot.describes(&snapshot.document)
                    && snapshot.document.verify("", role).is_ok()
                    && self.require_unexpired(&snapshot.document).is_ok() =>
            {
                self.after_snapshot()
            }
            _ => At::Snapshot,
        }
    }

    pub(super) fn feed_snapshot(&mut self, bytes: &[u8]) -> Result<At, Refusal> {
        let timestamp = self.state.timestamp.as_ref().ok_or_else(|| self.unavailable())?;
        let listed = &timestamp.snapshot;
        // 5.5.1, 5.5.2: no longer than listed, and the bytes that the timestamp names.
        listed.check_bytes(&SNAPSHOT, bytes)?;
        let newer = Snapshot::read(bytes)?;
        // 5.5.3: signed as the trusted root demands.
        let role = self.state.root.role(Role::Snapshot);
        newer.document.verify("deploy's snapshot keys", role)?;
        // 5.5.4: the version that the timestamp names: no mixing of two moments.
        listed.check_version(&SNAPSHOT, newer.document.version)?;
        // 5.5.5: everything listed before is still listed, and nothing went back.
        if let Some(trusted) = &self.state.snapshot {
            newer.document.require_version_at_least(trusted.document.version)?;
            for (file, seen) in &trusted.files {
                let found = newer.files.get(file).ok_or_else(|| {
                    SNAPSHOT.refuse(
                        Reason::ListingRollback,
                        format!("it no longer lists {file}, which was listed before; publish a snapshot that does"),
                    )
                })?;
                require_listed_at_least(&SNAPSHOT, file, found.version, seen.version)?;
            }
        }
        // 5.5.6: not expired.
        self.require_unexpired(&newer.document)?;
        // 5.5.7: it is the trusted snapshot now.
        self.state.snapshot = Some(newer);
        Ok(self.after_snapshot())
    }

    fn after_snapshot(&self) -> At {
        let role = self.state.root.role(Role::Targets);
        match (&self.state.snapshot, &self.state.targets) {
            (Some(snapshot), Some(targets))
                if snapshot.targets().describes(&targets.document)
                    && targets.document.verify("", role).is_ok()
                    && self.require_unexpired(&targets.document).is_ok() =>
            {
                self.next_name(0)
            }
            _ => At::Targets,
        }
    }

    pub(super) fn feed_targets(&mut self, bytes: &[u8]) -> Result<At, Refusal> {
        let snapshot = self.state.snapshot.as_ref().ok_or_else(|| self.unavailable())?;
        let listed = snapshot.targets();
        // 5.6.1, 5.6.2: the bytes that the snapshot names.
        listed.check_bytes(&TARGETS, bytes)?;
        let newer = TopTargets::read(bytes)?;
        // 5.6.3: signed as the trusted root demands.
        let role = self.state.root.role(Role::Targets);
        newer.document.verify("release keys", role)?;
        // 5.6.4: the version that the snapshot names.
        listed.check_version(&TARGETS, newer.document.version)?;
        if let Some(trusted) = &self.state.targets {
            // Not in TUF: a new deploy key cannot bring back what release has replaced.
            newer.document.require_version_at_least(trusted.document.version)?;
            // As 5.3.11 for delegated keys: what a replaced key said of its name is dropped.
            let kept = |name: &String| match (trusted.delegations.get(name), newer.delegations.get(name)) {
                (Some(older), Some(newer)) => !older.lost_a_key(newer),
                (_, newer) => newer.is_some(),
            };
            self.state.named.retain(|name, _| kept(name));
        }
        // 5.6.5: not expired.
        self.require_unexpired(&newer.document)?;
        // 5.6.6: they are the trusted targets now.
        self.state.targets = Some(newer);
        Ok(self.next_name(0))
    }

    /// 5.6.7: the first name from `index` on whose targets have to be fetched.
    fn next_name(&self, index: usize) -> At {
        for (index, name) in self.names.iter().enumerate().skip(index) {
            let listed = self.state.snapshot.as_ref().and_then(|snapshot| snapshot.named(name));
            // Not pushed yet: step 5 refuses its manifests, the others go on.
            let Some(listed) = listed else { continue };
            let at_hand = self.state.named.get(name).is_some_and(|named| {
                listed.describes(&named.document)
                    && verify_named(self.state.targets.as_ref(), name, named).is_ok()
                    && self.require_unexpired(&named.document).is_ok()
            });
            if !at_hand {
                return At::Named(index);
            }
        }
        At::Done
    }

    pub(super) fn feed_named(&mut self, index: usize, bytes: &[u8]) -> Result<At, Refusal> {
        let name = self.names[index].clone();
        let file = named_file(&name);
        let expected = expected_named(&file);
        let snapshot = self.state.snapshot.as_ref();
        let listed = snapshot.and_then(|snapshot| snapshot.named(&name)).ok_or_else(|| self.unavailable())?;
        // 5.6.7: a delegated file goes through 5.6.1 to 5.6.6 ...
        listed.check_bytes(&expected, bytes)?;
        let newer = NamedTargets::read(&name, bytes)?;
        // ... signed as the delegation demands, which covers this name alone.
        let targets = self.state.targets.as_ref();
        if targets.is_none_or(|targets| !targets.delegations.contains_key(&name)) {
            return Err(not_delegated(&name));
        }
        verify_named(targets, &name, &newer)?;
        listed.check_version(&expected, newer.document.version)?;
        if let Some(trusted) = self.state.named.get(&name) {
            newer.document.require_version_at_least(trusted.document.version)?;
        }
        self.require_unexpired(&newer.document)?;
        self.state.named.insert(name, newer);
        Ok(self.next_name(index + 1))
    }
}

fn require_listed_at_least(expected: &Expected<'_>, file: &str, found: u64, seen: u64) -> Result<(), Refusal> {
    if found >= seen {
        return Ok(());
    }
    Err(expected.refuse(
        Reason::VersionRollback,
        format!(
            "it lists {file} with version {found}, version {seen} was already seen; somebody is \
         replaying an old file, or the publisher lost its newest one"
        ),
    ))
}
