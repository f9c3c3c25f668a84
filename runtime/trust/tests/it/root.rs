//! Step 2: the root, pinned once and then followed from version to version.

use runtime_trust::limits::ROOT_ROTATIONS_MAX;
use runtime_trust::{FileName, Refresh, Role, Root};

use crate::fleet::*;

/// A draft with a second root that hands the root role from key 1 to key 11.
fn rotated(signers: &[u8]) -> Draft {
    let mut draft = Draft::default();
    draft.roots.push(RootDraft::new(2).with(Role::Root, role(1, &[11])).signed_by(signers));
    draft
}

#[test]
fn root_not_signed_by_itself_is_not_pinned() {
    Root::pin(&RootDraft::new(1).bytes()).unwrap();
    let attack = RootDraft::new(1).signed_by(&[STRANGER]);
    assert_refused(Root::pin(&attack.bytes()), 2, "signature-threshold");
}

#[test]
fn root_is_followed_through_several_rotations() {
    let mut draft = rotated(&[ROOT, 11]);
    draft.roots.push(RootDraft::new(3).with(Role::Root, role(1, &[12])).signed_by(&[11, 12]));
    let state = draft.seen();
    assert_eq!(state.root().version(), 3);
    assert_eq!(state.root().role(Role::Root), &role(1, &[12]));
    assert_eq!(state.root().bytes(), draft.roots[2].bytes());
}

#[test]
fn root_signed_by_new_keys_only() {
    let (control, attack) = (rotated(&[ROOT, 11]), rotated(&[11]));
    assert_attack(&control.enrolled(), &control.files(), &attack.files(), 2, "signature-threshold");
}

#[test]
fn root_signed_by_old_keys_only() {
    let (control, attack) = (rotated(&[ROOT, 11]), rotated(&[ROOT]));
    assert_attack(&control.enrolled(), &control.files(), &attack.files(), 2, "signature-threshold");
}

#[test]
fn root_under_the_old_threshold() {
    let with_two = |signers: &[u8]| {
        let mut draft = Draft::default();
        draft.roots[0] = RootDraft::new(1).with(Role::Root, role(2, &[1, 11])).signed_by(&[1, 11]);
        draft.roots.push(RootDraft::new(2).signed_by(signers));
        draft
    };
    let (control, attack) = (with_two(&[1, 11]), with_two(&[1]));
    assert_attack(&control.enrolled(), &control.files(), &attack.files(), 2, "signature-threshold");
}

#[test]
fn root_version_skipped() {
    let control = rotated(&[ROOT, 11]);
    let mut attack = control.files();
    let mut third = control.roots[1].clone();
    third.version = 3;
    attack.insert(FileName::Root(2), third.bytes());
    assert_attack(&control.enrolled(), &control.files(), &attack, 2, "wrong-root-version");
}

#[test]
fn root_version_rollback() {
    let control = rotated(&[ROOT, 11]);
    let mut attack = control.files();
    // The old root is signed well by itself, but it is no successor.
    attack.insert(FileName::Root(2), control.roots[0].bytes());
    assert_attack(&control.enrolled(), &control.files(), &attack, 2, "wrong-root-version");
}

#[test]
fn expired_root_freeze() {
    let expiring = |expires: u64| {
        let mut draft = rotated(&[ROOT, 11]);
        // A root on the way may be expired; the last one may not.
        draft.roots[0].expires = NOW - DAY;
        draft.roots[1].expires = expires;
        draft
    };
    let (control, attack) = (expiring(NOW + 1), expiring(NOW));
    assert_attack(&control.enrolled(), &control.files(), &attack.files(), 2, "expired");
}

#[test]
fn another_kind_of_metadata_as_root() {
    let control = rotated(&[ROOT, 11]);
    let mut attack = control.files();
    attack.insert(FileName::Root(2), control.files()[&FileName::Targets].clone());
    assert_attack(&control.enrolled(), &control.files(), &attack, 2, "wrong-type");
}

#[test]
fn endless_roots() {
    let mut state = Draft::default().enrolled();
    let mut refresh = Refresh::start(&state, NOW, &[]);
    for version in 2..u64::from(ROOT_ROTATIONS_MAX) + 2 {
        refresh.feed(Some(&RootDraft::new(version).bytes())).unwrap();
    }
    let last = refresh.clone();
    let mut endless = refresh;
    let version = u64::from(ROOT_ROTATIONS_MAX) + 2;
    assert_refused(endless.feed(Some(&RootDraft::new(version).bytes())), 2, "too-many-rotations");
    state = drive(last, &Draft::default().files()).unwrap();
    assert_eq!(state.root().version(), version - 1);
}

#[test]
fn a_refused_root_leaves_the_old_one() {
    let attack = rotated(&[11]);
    let state = attack.enrolled();
    let before = state.to_bytes();
    assert_refused(refresh(&state, &attack.files()), 2, "signature-threshold");
    assert_eq!(state.to_bytes(), before);
}

/// A stolen deploy key sets everything it can as high as it can.
fn fast_forwarded() -> Draft {
    let mut draft = Draft { timestamp_version: u64::MAX, snapshot_version: u64::MAX, ..Draft::default() };
    draft.roots[0].expires = NOW + 10 * DAY;
    draft.timestamp_expires = NOW + 5000 * DAY;
    draft.issued = NOW + 5000 * DAY;
    draft
}

#[test]
fn fast_forward_is_undone_by_a_new_deploy_key() {
    let stolen = fast_forwarded();
    // The device trusted it while the clock was good; the time it was told is bounded by the root's expiry.
    let mut state = stolen.seen();
    let mut frozen = deployment();
    frozen.sequence = u64::MAX;
    frozen.issued = u64::MAX;
    state.accept_deployment(&frozen);
    assert_eq!(state.time_seen(), stolen.roots[0].expires);

    let recovered = |deploy: u8| {
        let mut draft = Draft { timestamp_version: 6, snapshot_version: 6, ..Draft::default() };
        draft.roots[0] = stolen.roots[0].clone();
        let root = RootDraft::new(2).with(Role::Timestamp, role(1, &[deploy])).with(Role::Snapshot, role(1, &[deploy]));
        draft.roots.push(root);
        (draft.timestamp_signers, draft.snapshot_signers) = (vec![deploy], vec![deploy]);
        draft
    };
    // The control of the recovery: a new root that leaves the deploy key alone forgets nothing.
    assert_refused(refresh(&state, &recovered(DEPLOY).files()), 3, "version-rollback");
    let state = refresh(&state, &recovered(13).files()).unwrap();
    assert_eq!(state.version(&FileName::Timestamp), Some(6));
    assert_eq!(state.sequence(CHANNEL), None);
    assert_eq!(state.time_seen(), Draft::default().issued);
}

/// The other keys of deploy stay: what the lost one has said must go all the same.
#[test]
fn fast_forward_is_undone_by_a_new_key_for_one_role() {
    let with_keys = |timestamp: u8, snapshot: u8, version: u64| {
        let mut draft = Draft { timestamp_version: version, snapshot_version: version, ..Draft::default() };
        draft.roots[0] = RootDraft::new(1).with(Role::Snapshot, role(1, &[4]));
        let root =
            RootDraft::new(2).with(Role::Timestamp, role(1, &[timestamp])).with(Role::Snapshot, role(1, &[snapshot]));
        draft.roots.push(root);
        (draft.timestamp_signers, draft.snapshot_signers) = (vec![timestamp], vec![snapshot]);
        draft
    };
    let mut stolen = with_keys(DEPLOY, 4, u64::MAX);
    stolen.roots.truncate(1);
    let state = stolen.seen();
    assert_refused(refresh(&state, &with_keys(DEPLOY, 4, 6).files()), 3, "version-rollback");
    for recovered in [with_keys(13, 4, 6), with_keys(DEPLOY, 14, 6)] {
        let state = refresh(&state, &recovered.files()).unwrap();
        assert_eq!(state.version(&FileName::Timestamp), Some(6));
        assert_eq!(state.version(&FileName::Snapshot), Some(6));
    }
}

/// Root 1 wants one signature for each role, root 2 wants two; the files carry these.
fn raised(timestamp: &[u8], snapshot: &[u8], targets: &[u8]) -> Draft {
    let mut draft = Draft::default();
    let mut root = RootDraft::new(2);
    for (each, keys) in [(Role::Timestamp, [DEPLOY, 4]), (Role::Snapshot, [DEPLOY, 4]), (Role::Targets, [RELEASE, 5])] {
        root = root.with(each, role(2, &keys));
    }
    draft.roots.push(root);
    draft.timestamp_signers = timestamp.to_vec();
    draft.snapshot_signers = snapshot.to_vec();
    draft.targets_signers = targets.to_vec();
    draft
}

#[test]
fn file_at_hand_with_fewer_signatures_than_a_new_root_demands() {
    let (deploy, release) = ([DEPLOY, 4], [RELEASE, 5]);
    let control = raised(&deploy, &deploy, &release);
    for attack in [
        raised(&[DEPLOY], &deploy, &release),
        raised(&deploy, &[DEPLOY], &release),
        raised(&deploy, &deploy, &[RELEASE]),
    ] {
        let mut before = attack.clone();
        before.roots.truncate(1);
        // To a device that has seen none of it, and to one that has accepted the same bytes under the old root.
        assert_attack(&attack.enrolled(), &control.files(), &attack.files(), 3, "signature-threshold");
        assert_refused(refresh(&before.seen(), &attack.files()), 3, "signature-threshold");
    }
    // The same versions with more signatures are taken.
    let state = refresh(&Draft::default().seen(), &control.files()).unwrap();
    for file in [FileName::Timestamp, FileName::Snapshot, FileName::Targets, FileName::Named(NAME.to_owned())] {
        assert_eq!(state.version(&file), Some(5), "{file}");
    }
}

#[test]
fn file_at_hand_with_fewer_signatures_than_a_new_delegation_demands() {
    let raised = |signers: &[u8]| {
        let mut draft = Draft { timestamp_version: 6, snapshot_version: 6, targets_version: 6, ..Draft::default() };
        draft.delegations.insert(NAME.to_owned(), role(2, &[RELEASE, 5]));
        draft.named_signers = signers.to_vec();
        draft
    };
    let state = Draft::default().seen();
    assert_attack(&state, &raised(&[RELEASE, 5]).files(), &raised(&[RELEASE]).files(), 3, "signature-threshold");
}

#[test]
fn fast_forward_is_undone_by_a_new_release_key() {
    let mut stolen = Draft { targets_version: u64::MAX, ..Draft::default() };
    stolen.named().version = u64::MAX;
    stolen.named().floor = u64::MAX;
    let state = stolen.seen();
    let recovered = |release: u8| {
        let mut draft = Draft { timestamp_version: 6, snapshot_version: 6, ..Draft::default() };
        draft.roots.push(RootDraft::new(2).with(Role::Targets, role(1, &[release])));
        draft.delegations.insert(NAME.to_owned(), role(1, &[release]));
        (draft.targets_signers, draft.named_signers) = (vec![release], vec![release]);
        draft
    };
    assert_refused(refresh(&state, &recovered(RELEASE).files()), 3, "version-rollback");
    let state = refresh(&state, &recovered(12).files()).unwrap();
    assert_eq!(state.version(&FileName::Targets), Some(5));
    assert_eq!(state.floor(NAME), 3);
}

#[test]
fn a_key_added_to_a_role_forgets_nothing() {
    let mut state = Draft::default().seen();
    state.accept_deployment(&deployment());
    let mut draft = Draft::default().next();
    draft.roots.push(RootDraft::new(2).with(Role::Timestamp, role(1, &[DEPLOY, 13])));
    let newer = refresh(&state, &draft.files()).unwrap();
    assert_eq!(newer.sequence(CHANNEL), Some(10));
    let mut old = draft.clone();
    old.timestamp_version = 4;
    old.timestamp_signers = vec![13];
    assert_attack(&state, &draft.files(), &old.files(), 3, "version-rollback");
}
