//! The stored trust state: its bytes, and that it never goes back.

use proptest::prelude::*;
use runtime_trust::{Deployment, FileName, Refresh, Role, StateError, TrustState};

use crate::fleet::*;

/// Written by version 1; readers take it for as long as they read version 1.
const GOLDEN: &[u8] = include_bytes!("golden/state-1.bin");

fn full_state() -> TrustState {
    let mut draft = Draft::default();
    draft.named().denied.insert(runtime_trust::Digest::of(b"denied"));
    let mut state = draft.seen();
    state.accept_deployment(&deployment());
    state.accept_deployment(&Deployment { channel: "beta".to_owned(), sequence: 1 << 33, ..deployment() });
    state
}

#[test]
fn stored_bytes_of_version_1() {
    let state = full_state();
    assert!(state.to_bytes() == GOLDEN, "the stored form changed: it needs a new version");
    assert_eq!(TrustState::parse(GOLDEN).unwrap(), state);
    let enrolled = Draft::default().enrolled();
    assert_eq!(TrustState::parse(&enrolled.to_bytes()).unwrap(), enrolled);
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let mut newer = GOLDEN.to_vec();
    newer[8] = 2;
    assert_eq!(TrustState::parse(&newer), Err(StateError::Newer { found: 2 }));
    assert!(TrustState::parse(&newer).unwrap_err().to_string().contains("version 2"));
    newer[8] = 0;
    assert!(matches!(TrustState::parse(&newer), Err(StateError::Damaged { .. })));
}

#[test]
fn every_flipped_byte_and_every_cut_is_noticed() {
    for index in 0..GOLDEN.len() {
        let mut damaged = GOLDEN.to_vec();
        damaged[index] ^= 1;
        assert!(TrustState::parse(&damaged).is_err(), "byte {index}");
        assert!(TrustState::parse(&GOLDEN[..index]).is_err(), "cut at {index}");
    }
    let longer = [GOLDEN, b"\0"].concat();
    assert!(matches!(TrustState::parse(&longer), Err(StateError::Damaged { .. })));
}

/// Rewrites a state's bytes with a right digest at the end.
fn forged(change: impl FnOnce(&mut Vec<u8>)) -> Result<TrustState, StateError> {
    let mut bytes = GOLDEN[..GOLDEN.len() - 32].to_vec();
    change(&mut bytes);
    let digest = runtime_trust::Digest::of(&bytes);
    bytes.extend(digest.as_bytes());
    TrustState::parse(&bytes)
}

#[test]
fn a_state_written_by_hand_must_be_signed() {
    forged(|_| {}).unwrap();
    let at = |needle: &[u8], bytes: &[u8]| {
        bytes.windows(needle.len()).position(|window| window == needle).expect("it is in there")
    };
    // The same length, another content: nobody ever signed it.
    for (old, new) in [
        (r#""floor":3"#, r#""floor":0"#),
        (r#""paths":["digits/*"]"#, r#""paths":["other//*"]"#),
        (r#""targets.json":{"version":5"#, r#""targets.json":{"version":4"#),
        (r#""snapshot.json":{"version":5"#, r#""snapshot.json":{"version":4"#),
        (r#""consistent_snapshot":false"#, r#""consistent_snapshot":true "#),
    ] {
        let result = forged(|bytes| {
            let index = at(old.as_bytes(), bytes);
            bytes[index..index + old.len()].copy_from_slice(new.as_bytes());
        });
        let Err(StateError::NotTrusted(refusal)) = result else {
            panic!("{new}: {result:?}");
        };
        assert_eq!(refusal.reason(), "signature-threshold", "{new}");
    }
    for (what, change) in [
        ("a reserved byte", Box::new(|bytes: &mut Vec<u8>| bytes[12] = 1) as Box<dyn FnOnce(&mut Vec<u8>)>),
        ("the magic", Box::new(|bytes| bytes[0] = b'X')),
        ("time seen before the enrolment", Box::new(|bytes| bytes[24..32].fill(0))),
        ("bytes behind it", Box::new(|bytes| bytes.push(0))),
        ("a length past the end", Box::new(|bytes| bytes[32..36].fill(0xff))),
        (
            "channels out of order",
            Box::new(move |bytes| {
                let index = at(b"beta", bytes);
                bytes[index..index + 4].copy_from_slice(b"zeta");
            }),
        ),
    ] {
        assert!(matches!(forged(change), Err(StateError::Damaged { .. })), "{what}");
    }
}

/// The part of a stored state that holds `file`, by its length before it.
fn part(state: &TrustState, file: &[u8]) -> Vec<u8> {
    assert!(state.to_bytes().windows(file.len()).any(|window| window == file));
    [&u32::try_from(file.len()).unwrap().to_le_bytes(), file].concat()
}

/// A timestamp of one moment stored beside the snapshot of another, both signed.
#[test]
fn mix_and_match_in_a_state_written_by_hand() {
    let (older, newer) = (Draft::default(), Draft::default().next());
    let check = |state: &TrustState| {
        let envelope = signed(runtime_trust::PayloadType::Manifest, MANIFEST, &[RELEASE]);
        state.check_manifest(&envelope, &runtime_trust::Digest::of(MANIFEST), NAME, NOW)
    };
    check(&older.seen()).unwrap();
    for file in [FileName::Timestamp, FileName::Snapshot, FileName::Targets, FileName::Named(NAME.to_owned())] {
        let (old, new) = (part(&older.seen(), &older.files()[&file]), part(&newer.seen(), &newer.files()[&file]));
        let bytes = older.seen().to_bytes();
        let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
        let mut mixed = [&bytes[..at], &new, &bytes[at + old.len()..bytes.len() - 32]].concat();
        let digest = runtime_trust::Digest::of(&mixed);
        mixed.extend(digest.as_bytes());
        let mixed = TrustState::parse(&mixed).unwrap();
        assert_eq!(mixed.version(&file), Some(6));
        assert_refused(check(&mixed), 3, "not-current");
    }
}

#[derive(Clone, Debug)]
struct Event {
    versions: [u64; 4],
    rotate: Option<Role>,
    issued: u64,
    expired: bool,
    sequence: u64,
    system_now: u64,
    reload: bool,
}

fn event() -> impl Strategy<Value = Event> {
    (
        prop::array::uniform4(1..6_u64),
        prop::option::weighted(0.15, prop::sample::select(vec![Role::Timestamp, Role::Snapshot, Role::Targets])),
        NOW - 10 * DAY..NOW,
        prop::bool::weighted(0.1),
        0..20_u64,
        prop::sample::select(vec![0, NOW - 5 * DAY, NOW]),
        any::<bool>(),
    )
        .prop_map(|(versions, rotate, issued, expired, sequence, system_now, reload)| Event {
            versions,
            rotate,
            issued,
            expired,
            sequence,
            system_now,
            reload,
        })
}

/// The fleet's side: the keys that root names now, as numbers.
#[derive(Clone)]
struct Keys {
    roots: Vec<RootDraft>,
    of: std::collections::BTreeMap<Role, u8>,
}

impl Keys {
    fn rotate(&mut self, changed: Role) {
        let version = self.roots.len() as u64 + 1;
        *self.of.get_mut(&changed).unwrap() += 1;
        let mut root = RootDraft::new(version);
        for (each, number) in &self.of {
            root = root.with(*each, role(1, &[*number]));
        }
        self.roots.push(root);
    }

    fn draft(&self, event: &Event) -> Draft {
        let [timestamp_version, snapshot_version, targets_version, named_version] = event.versions;
        let mut draft = Draft {
            roots: self.roots.clone(),
            timestamp_version,
            snapshot_version,
            targets_version,
            issued: event.issued,
            timestamp_signers: vec![self.of[&Role::Timestamp]],
            snapshot_signers: vec![self.of[&Role::Snapshot]],
            targets_signers: vec![self.of[&Role::Targets]],
            named_signers: vec![self.of[&Role::Targets]],
            ..Draft::default()
        };
        if event.expired {
            draft.timestamp_expires = event.issued;
        }
        draft.delegations.insert(NAME.to_owned(), role(1, &draft.named_signers));
        draft.named().version = named_version;
        draft
    }
}

/// Nothing that a key said is forgotten while root names that key.
fn assert_not_back(before: &TrustState, after: &TrustState) {
    assert!(after.root().version() >= before.root().version());
    let kept = |role| before.root().role(role) == after.root().role(role);
    let (timestamp, snapshot, targets) = (kept(Role::Timestamp), kept(Role::Snapshot), kept(Role::Targets));
    if timestamp {
        assert!(after.time_seen() >= before.time_seen());
        assert!(after.sequence(CHANNEL) >= before.sequence(CHANNEL));
    }
    for (file, kept) in [
        (FileName::Timestamp, timestamp && snapshot),
        (FileName::Snapshot, timestamp && snapshot && targets),
        (FileName::Targets, targets),
        (FileName::Named(NAME.to_owned()), targets),
    ] {
        if kept {
            assert!(after.version(&file) >= before.version(&file), "{file}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_trust_state_never_goes_back(events in prop::collection::vec(event(), 1..12)) {
        let mut keys = Keys {
            roots: vec![RootDraft::new(1)
                .with(Role::Timestamp, role(1, &[100]))
                .with(Role::Snapshot, role(1, &[130]))
                .with(Role::Targets, role(1, &[160]))],
            of: [(Role::Timestamp, 100), (Role::Snapshot, 130), (Role::Targets, 160)].into(),
        };
        let mut state = Draft { roots: keys.roots.clone(), ..Draft::default() }.enrolled();
        for event in events {
            if let Some(role) = event.rotate {
                keys.rotate(role);
            }
            let before = state.clone();
            let refresh = Refresh::start(&state, event.system_now, &[NAME.to_owned()]);
            if let Ok(newer) = drive(refresh, &keys.draft(&event).files()) {
                state = newer;
            }
            assert_not_back(&before, &state);
            let before = state.clone();
            let wanted = Deployment { sequence: event.sequence, issued: event.issued, ..deployment() };
            let signer = keys.of[&Role::Timestamp];
            let envelope = signed(runtime_trust::PayloadType::Deployment, &wanted.to_bytes(), &[signer]);
            if let Ok(accepted) = state.check_deployment(&envelope, FLEET, CHANNEL, state.clock(event.system_now)) {
                prop_assert!(before.sequence(CHANNEL).is_none_or(|last| accepted.sequence > last));
                state.accept_deployment(&accepted);
            }
            assert_not_back(&before, &state);
            if event.reload {
                let stored = TrustState::parse(&state.to_bytes()).unwrap();
                prop_assert_eq!(&stored, &state);
            }
        }
    }
}
