//! Step 5: the manifest of a network install.

use runtime_trust::{CheckedManifest, Digest, FileName, ManifestFacts, PayloadType, Refusal, Role, TrustState};

use crate::fleet::*;

const OTHER: &[u8] = br#"{"name":"digits","number":8}"#;

fn check(state: &TrustState, manifest: &[u8], signer: u8) -> Result<CheckedManifest, Refusal> {
    let envelope = signed(PayloadType::Manifest, manifest, &[signer]);
    state.check_manifest(&envelope, &Digest::of(MANIFEST), NAME, NOW)
}

fn facts() -> ManifestFacts {
    ManifestFacts { name: NAME.to_owned(), number: 7, ..ManifestFacts::default() }
}

#[test]
fn a_good_manifest_is_trusted() {
    let state = Draft::default().seen();
    let checked = check(&state, MANIFEST, RELEASE).unwrap();
    assert_eq!(checked.bytes, MANIFEST);
    assert_eq!(checked.digest, Digest::of(MANIFEST));
    assert_eq!(checked.allowed, Some(allowed(MANIFEST, 7)));
    state.check_facts(&checked, &facts()).unwrap();
}

#[test]
fn manifest_exchanged_for_another_good_one() {
    let mut draft = Draft::default();
    draft.named().allowed.push(allowed(OTHER, 8));
    let state = draft.seen();
    check(&state, MANIFEST, RELEASE).unwrap();
    assert_refused(check(&state, OTHER, RELEASE), 5, "digest-mismatch");
}

#[test]
fn manifest_signed_by_unknown_key() {
    let state = Draft::default().seen();
    check(&state, MANIFEST, RELEASE).unwrap();
    for signer in [STRANGER, DEPLOY] {
        assert_refused(check(&state, MANIFEST, signer), 5, "signature-threshold");
    }
}

#[test]
fn manifest_signed_by_a_key_for_another_name() {
    let delegated = |name: &str| {
        let mut draft = Draft::default();
        draft.delegations.insert("faces".to_owned(), role(1, &[RELEASE]));
        draft.delegations.insert(name.to_owned(), role(1, &[21]));
        draft.named_signers = vec![if name == NAME { 21 } else { RELEASE }];
        draft.seen()
    };
    check(&delegated(NAME), MANIFEST, 21).unwrap();
    assert_refused(check(&delegated("faces"), MANIFEST, 21), 5, "signature-threshold");
}

#[test]
fn manifest_that_release_does_not_allow() {
    let control = Draft::default();
    let mut attack = control.clone();
    attack.named().allowed = vec![allowed(OTHER, 8)];
    check(&control.seen(), MANIFEST, RELEASE).unwrap();
    assert_refused(check(&attack.seen(), MANIFEST, RELEASE), 5, "not-allowed");
}

#[test]
fn manifest_of_an_artifact_that_was_never_pushed() {
    let state = Draft::default().seen();
    let envelope = signed(PayloadType::Manifest, MANIFEST, &[RELEASE]);
    state.check_manifest(&envelope, &Digest::of(MANIFEST), NAME, NOW).unwrap();
    assert_refused(state.check_manifest(&envelope, &Digest::of(MANIFEST), "faces", NOW), 5, "not-allowed");
}

#[test]
fn manifest_of_another_length() {
    let control = Draft::default();
    let mut attack = control.clone();
    attack.named().allowed[0].bytes += 1;
    check(&control.seen(), MANIFEST, RELEASE).unwrap();
    assert_refused(check(&attack.seen(), MANIFEST, RELEASE), 5, "length-mismatch");
}

#[test]
fn denied_manifest() {
    let mut control = Draft::default();
    control.named().denied.insert(Digest::of(OTHER));
    let mut attack = control.clone();
    attack.named().denied.insert(Digest::of(MANIFEST));
    check(&control.seen(), MANIFEST, RELEASE).unwrap();
    assert_refused(check(&attack.seen(), MANIFEST, RELEASE), 5, "denied");
    assert!(attack.seen().is_denied(NAME, &Digest::of(MANIFEST)));
    // It was denied between the two halves of the step.
    let checked = check(&control.seen(), MANIFEST, RELEASE).unwrap();
    assert_refused(attack.seen().check_facts(&checked, &facts()), 5, "denied");
}

#[test]
fn manifest_under_the_floor() {
    let mut control = Draft::default();
    control.named().floor = 7;
    let mut attack = control.clone();
    attack.named().floor = 8;
    check(&control.seen(), MANIFEST, RELEASE).unwrap();
    assert_refused(check(&attack.seen(), MANIFEST, RELEASE), 5, "under-floor");
    let checked = check(&control.seen(), MANIFEST, RELEASE).unwrap();
    assert_refused(attack.seen().check_facts(&checked, &facts()), 5, "under-floor");
}

/// An older, still allowed manifest is a rollback, and fine: the floor is release's word, not "last installed".
#[test]
fn rollback_to_an_older_manifest_above_the_floor() {
    let mut draft = Draft::default();
    draft.named().allowed.push(allowed(OTHER, 8));
    let state = draft.seen();
    let envelope = signed(PayloadType::Manifest, OTHER, &[RELEASE]);
    state.check_manifest(&envelope, &Digest::of(OTHER), NAME, NOW).unwrap();
    check(&state, MANIFEST, RELEASE).unwrap();
}

#[test]
fn facts_that_do_not_fit() {
    let state = Draft::default().seen();
    let checked = check(&state, MANIFEST, RELEASE).unwrap();
    state.check_facts(&checked, &facts()).unwrap();
    for (attack, reason) in [
        (ManifestFacts { name: "faces".to_owned(), ..facts() }, "wrong-name"),
        (ManifestFacts { number: 8, ..facts() }, "number-mismatch"),
        (ManifestFacts { unsupported: Some("format 2".to_owned()), ..facts() }, "unsupported-format"),
        (ManifestFacts { unmet: vec!["avx2".to_owned()], ..facts() }, "unfit"),
    ] {
        assert_refused(state.check_facts(&checked, &attack), 5, reason);
    }
}

type Expire = fn(&mut Draft, u64);

#[test]
fn metadata_that_expired_since_the_refresh() {
    let envelope = signed(PayloadType::Manifest, MANIFEST, &[RELEASE]);
    let soon = NOW + 1;
    let first_to_expire: [(&str, Expire, u8); 5] = [
        ("root", |draft, soon| draft.roots[0].expires = soon, 2),
        ("timestamp", |draft, soon| draft.timestamp_expires = soon, 3),
        ("snapshot", |draft, soon| draft.snapshot_expires = soon, 3),
        ("targets", |draft, soon| draft.targets_expires = soon, 3),
        ("digits", |draft, soon| draft.named().expires = soon, 3),
    ];
    for (file, expire, step) in first_to_expire {
        let mut draft = Draft::default();
        expire(&mut draft, soon);
        let state = draft.seen();
        let at = |now| state.check_manifest(&envelope, &Digest::of(MANIFEST), NAME, now);
        at(soon - 1).unwrap();
        let refusal = at(soon).unwrap_err();
        assert!(refusal.to_string().contains(&format!("{file}.json")), "{refusal}");
        assert_refused(at(soon), step, "expired");
    }
}

#[test]
fn network_install_before_any_refresh() {
    let draft = Draft::default();
    check(&draft.seen(), MANIFEST, RELEASE).unwrap();
    assert_refused(check(&draft.enrolled(), MANIFEST, RELEASE), 3, "not-current");
}

/// What one artifact's targets said does not outlive a snapshot that names newer ones.
#[test]
fn manifest_by_targets_that_were_replaced() {
    let draft = Draft::default();
    let seen = draft.seen();
    let newer = draft.next().files();
    // The refresh asks for another artifact only.
    let without = drive(runtime_trust::Refresh::start(&seen, NOW, &[]), &newer).unwrap();
    assert_eq!(without.version(&FileName::Named(NAME.to_owned())), Some(5));
    assert_refused(check(&without, MANIFEST, RELEASE), 3, "not-current");
    check(&refresh(&seen, &newer).unwrap(), MANIFEST, RELEASE).unwrap();
}

#[test]
fn release_key_that_root_has_replaced() {
    let draft = Draft::default();
    let state = draft.seen();
    check(&state, MANIFEST, RELEASE).unwrap();
    let mut newer = draft.next();
    newer.roots.push(RootDraft::new(2).with(Role::Targets, role(1, &[12])));
    newer.delegations.insert(NAME.to_owned(), role(1, &[12]));
    (newer.targets_signers, newer.named_signers) = (vec![12], vec![12]);
    let state = refresh(&state, &newer.files()).unwrap();
    check(&state, MANIFEST, 12).unwrap();
    assert_refused(check(&state, MANIFEST, RELEASE), 5, "signature-threshold");
}
