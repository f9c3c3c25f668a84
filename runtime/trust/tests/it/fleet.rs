//! A whole fleet's metadata as plain data: a test changes one field and publishes it.

use std::collections::{BTreeMap, BTreeSet};

use runtime_trust::author::{self, NamedDraft};
use runtime_trust::{
    AllowedManifest, DeployedModel, Deployment, Digest, Envelope, FileName, PayloadType, Refresh, Refusal, Role,
    RoleKeys, Root, SigningKey, TrustState,
};

/// The artifact that the tests deploy.
pub(crate) const NAME: &str = "digits";
pub(crate) const FLEET: &str = "kiosks";
pub(crate) const CHANNEL: &str = "stable";
/// When everything happens, in seconds since 1970.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const DAY: u64 = 86_400;
pub(crate) const MANIFEST: &[u8] = br#"{"name":"digits","number":7}"#;

/// Key number `number`; the same in every run.
pub(crate) fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

pub(crate) const ROOT: u8 = 1;
pub(crate) const RELEASE: u8 = 2;
pub(crate) const DEPLOY: u8 = 3;
/// A key that nobody names.
pub(crate) const STRANGER: u8 = 99;

/// `threshold` of the keys with these numbers.
pub(crate) fn role(threshold: u32, keys: &[u8]) -> RoleKeys {
    RoleKeys::new(threshold, keys.iter().map(|number| key(*number).public()))
}

/// One root, and who signs it.
#[derive(Clone)]
pub(crate) struct RootDraft {
    pub(crate) version: u64,
    pub(crate) expires: u64,
    pub(crate) roles: BTreeMap<Role, RoleKeys>,
    pub(crate) signers: Vec<u8>,
}

impl RootDraft {
    pub(crate) fn new(version: u64) -> Self {
        Self {
            version,
            expires: NOW + 1000 * DAY,
            roles: BTreeMap::from([
                (Role::Root, role(1, &[ROOT])),
                (Role::Targets, role(1, &[RELEASE])),
                (Role::Snapshot, role(1, &[DEPLOY])),
                (Role::Timestamp, role(1, &[DEPLOY])),
            ]),
            signers: vec![ROOT],
        }
    }

    pub(crate) fn with(mut self, changed: Role, keys: RoleKeys) -> Self {
        self.roles.insert(changed, keys);
        self
    }

    pub(crate) fn signed_by(mut self, signers: &[u8]) -> Self {
        self.signers = signers.to_vec();
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        with_keys(&self.signers, |keys| author::build_root(self.version, self.expires, &self.roles, keys))
    }
}

/// Everything that a fleet publishes.
#[derive(Clone)]
pub(crate) struct Draft {
    /// From version 1 on.
    pub(crate) roots: Vec<RootDraft>,
    pub(crate) timestamp_version: u64,
    pub(crate) timestamp_expires: u64,
    pub(crate) timestamp_signers: Vec<u8>,
    pub(crate) issued: u64,
    pub(crate) snapshot_version: u64,
    pub(crate) snapshot_expires: u64,
    pub(crate) snapshot_signers: Vec<u8>,
    pub(crate) targets_version: u64,
    pub(crate) targets_expires: u64,
    pub(crate) targets_signers: Vec<u8>,
    pub(crate) delegations: BTreeMap<String, RoleKeys>,
    pub(crate) named: BTreeMap<String, NamedDraft>,
    pub(crate) named_signers: Vec<u8>,
}

impl Default for Draft {
    fn default() -> Self {
        let expires = NOW + 100 * DAY;
        let named = NamedDraft {
            name: NAME.to_owned(),
            version: 5,
            expires,
            allowed: vec![allowed(MANIFEST, 7)],
            floor: 3,
            denied: BTreeSet::new(),
        };
        Self {
            roots: vec![RootDraft::new(1)],
            timestamp_version: 5,
            timestamp_expires: expires,
            timestamp_signers: vec![DEPLOY],
            issued: NOW - DAY,
            snapshot_version: 5,
            snapshot_expires: expires,
            snapshot_signers: vec![DEPLOY],
            targets_version: 5,
            targets_expires: expires,
            targets_signers: vec![RELEASE],
            delegations: BTreeMap::from([(NAME.to_owned(), role(1, &[RELEASE]))]),
            named: BTreeMap::from([(NAME.to_owned(), named)]),
            named_signers: vec![RELEASE],
        }
    }
}

/// What release says of a manifest.
pub(crate) fn allowed(manifest: &[u8], number: u64) -> AllowedManifest {
    AllowedManifest {
        digest: Digest::of(manifest),
        bytes: manifest.len() as u64,
        number,
        version: format!("{number}.0.0"),
    }
}

pub(crate) type Files = BTreeMap<FileName, Vec<u8>>;

impl Draft {
    /// The same a release later: every version one higher.
    pub(crate) fn next(&self) -> Self {
        let mut next = self.clone();
        next.timestamp_version += 1;
        next.snapshot_version += 1;
        next.targets_version += 1;
        for named in next.named.values_mut() {
            named.version += 1;
        }
        next
    }

    pub(crate) fn named(&mut self) -> &mut NamedDraft {
        self.named.get_mut(NAME).expect("every draft has it")
    }

    /// The files, each listed by the one above it.
    pub(crate) fn files(&self) -> Files {
        let named = self.named_files();
        let targets = with_keys(&self.targets_signers, |keys| {
            author::build_targets(self.targets_version, self.targets_expires, &self.delegations, keys)
        });
        let snapshot = self.snapshot_over(&targets, &named);
        let timestamp = self.timestamp_over(&snapshot);
        let mut files = self.root_files();
        files.insert(FileName::Timestamp, timestamp);
        files.insert(FileName::Snapshot, snapshot);
        files.insert(FileName::Targets, targets);
        files.extend(named.into_iter().map(|(name, bytes)| (FileName::Named(name), bytes)));
        files
    }

    pub(crate) fn root_files(&self) -> Files {
        self.roots.iter().map(|root| (FileName::Root(root.version), root.bytes())).collect()
    }

    pub(crate) fn named_files(&self) -> BTreeMap<String, Vec<u8>> {
        let build =
            |draft: &NamedDraft| with_keys(&self.named_signers, |keys| author::build_named_targets(draft, keys));
        self.named.iter().map(|(name, draft)| (name.clone(), build(draft))).collect()
    }

    pub(crate) fn snapshot_over(&self, targets: &[u8], named: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
        with_keys(&self.snapshot_signers, |keys| {
            author::build_snapshot(self.snapshot_version, self.snapshot_expires, targets, named, keys)
        })
    }

    pub(crate) fn timestamp_over(&self, snapshot: &[u8]) -> Vec<u8> {
        with_keys(&self.timestamp_signers, |keys| {
            let (version, expires) = (self.timestamp_version, self.timestamp_expires);
            author::build_timestamp(version, expires, self.issued, snapshot, keys)
        })
    }

    /// A device that enrolled with the first root a year ago.
    pub(crate) fn enrolled(&self) -> TrustState {
        let root = Root::pin(&self.roots[0].bytes()).expect("the first root signs itself");
        TrustState::enrolled(root, NOW - 365 * DAY)
    }

    /// A device that has seen all of this.
    pub(crate) fn seen(&self) -> TrustState {
        refresh(&self.enrolled(), &self.files()).expect("a good draft is trusted")
    }
}

fn with_keys<E: std::fmt::Display>(numbers: &[u8], build: impl Fn(&[&SigningKey]) -> Result<Vec<u8>, E>) -> Vec<u8> {
    let keys: Vec<SigningKey> = numbers.iter().map(|number| key(*number)).collect();
    build(&keys.iter().collect::<Vec<_>>()).unwrap_or_else(|error| panic!("failed to {error}"))
}

/// Feeds a refresh from `files`.
pub(crate) fn drive(mut refresh: Refresh, files: &Files) -> Result<TrustState, Refusal> {
    while let Some(wanted) = refresh.wanted() {
        refresh.feed(files.get(&wanted.file).map(Vec::as_slice))?;
    }
    refresh.finish()
}

pub(crate) fn refresh(state: &TrustState, files: &Files) -> Result<TrustState, Refusal> {
    drive(Refresh::start(state, NOW, &[NAME.to_owned()]), files)
}

/// Asserts that a refusal is the one expected, and tells in words what was found and what to do.
#[track_caller]
pub(crate) fn assert_refused<T: std::fmt::Debug>(result: Result<T, Refusal>, step: u8, reason: &str) {
    let refusal = result.expect_err("the attack was trusted");
    assert_eq!((refusal.step(), refusal.reason()), (step, reason), "{refusal}");
    let text = refusal.to_string();
    assert!(text.contains("; "), "it says what to do next: {text}");
    assert!(text.starts_with(|first: char| first.is_lowercase()), "a fragment: {text}");
    assert!(!text.contains("  "), "no stray spaces: {text}");
}

/// The control is trusted and the attack is not: from the same state, with the same clock.
#[track_caller]
pub(crate) fn assert_attack(state: &TrustState, control: &Files, attack: &Files, step: u8, reason: &str) {
    assert_ne!(control, attack, "the attack changes nothing");
    if let Err(refusal) = refresh(state, control) {
        panic!("the control was refused: {refusal}");
    }
    assert_refused(refresh(state, attack), step, reason);
}

pub(crate) fn deployment() -> Deployment {
    Deployment {
        schema: 1,
        fleet: FLEET.to_owned(),
        channel: CHANNEL.to_owned(),
        sequence: 10,
        issued: NOW - 100,
        expires: NOW + DAY,
        models: vec![DeployedModel { name: NAME.to_owned(), digest: Digest::of(MANIFEST) }],
    }
}

pub(crate) fn signed(kind: PayloadType, payload: &[u8], signers: &[u8]) -> Vec<u8> {
    let keys: Vec<SigningKey> = signers.iter().map(|number| key(*number)).collect();
    Envelope::sign(kind, payload.to_vec(), &keys.iter().collect::<Vec<_>>()).to_bytes()
}
