//! Step 5 for an artifact that came by hand, with and without metadata beside it.

use runtime_trust::{Digest, FileName, ManifestFacts, PayloadType, Refresh, Refusal, TrustState};

use crate::fleet::*;

fn sideload(state: &TrustState, number: u64) -> Result<(), Refusal> {
    let checked = state.check_sideload(&signed(PayloadType::Manifest, MANIFEST, &[RELEASE]), NAME)?;
    assert_eq!((checked.bytes.as_slice(), checked.digest), (MANIFEST, Digest::of(MANIFEST)));
    let facts = ManifestFacts { name: NAME.to_owned(), number, ..ManifestFacts::default() };
    state.check_facts(&checked, &facts)
}

#[test]
fn a_sideload_needs_only_root() {
    sideload(&Draft::default().enrolled(), 7).unwrap();
}

#[test]
fn sideload_signed_by_unknown_key() {
    let state = Draft::default().enrolled();
    let check = |signer| state.check_sideload(&signed(PayloadType::Manifest, MANIFEST, &[signer]), NAME);
    check(RELEASE).unwrap();
    assert_refused(check(STRANGER), 5, "signature-threshold");
    assert_refused(check(DEPLOY), 5, "signature-threshold");
}

#[test]
fn sideload_by_a_name_limited_key() {
    let mut draft = Draft::default();
    draft.delegations.insert(NAME.to_owned(), role(1, &[21]));
    draft.named_signers = vec![21];
    let envelope = signed(PayloadType::Manifest, MANIFEST, &[21]);
    draft.seen().check_sideload(&envelope, NAME).unwrap();
    assert_refused(draft.seen().check_sideload(&envelope, "faces"), 5, "signature-threshold");
    assert_refused(draft.enrolled().check_sideload(&envelope, NAME), 5, "signature-threshold");
}

#[test]
fn sideload_denied_last_time_seen() {
    let control = Draft::default();
    let mut attack = control.clone();
    attack.named().denied.insert(Digest::of(MANIFEST));
    sideload(&control.seen(), 7).unwrap();
    assert_refused(sideload(&attack.seen(), 7), 5, "denied");
}

#[test]
fn sideload_under_the_floor_last_seen() {
    let state = Draft::default().seen();
    sideload(&state, 3).unwrap();
    assert_refused(sideload(&state, 2), 5, "under-floor");
}

#[test]
fn sideload_of_a_name_no_artifact_has() {
    let state = Draft::default().enrolled();
    let envelope = signed(PayloadType::Manifest, MANIFEST, &[RELEASE]);
    state.check_sideload(&envelope, NAME).unwrap();
    assert_refused(state.check_sideload(&envelope, "../digits"), 5, "wrong-name");
}

#[test]
fn expiry_never_blocks_a_sideload() {
    let mut draft = Draft::default();
    draft.roots[0].expires = NOW - 200 * DAY;
    draft.timestamp_expires = NOW - DAY;
    draft.snapshot_expires = NOW - DAY;
    draft.named().floor = 7;
    let state = draft.enrolled();
    assert_refused(refresh(&state, &draft.files()), 2, "expired");
    let beside = drive(Refresh::start_ignoring_expiry(&state, &[NAME.to_owned()]), &draft.files()).unwrap();
    sideload(&beside, 7).unwrap();
    assert_refused(sideload(&beside, 6), 5, "under-floor");
}

#[test]
fn metadata_beside_a_sideload_cannot_go_back() {
    let seen = Draft::default().next().seen();
    let beside = |files: &Files| drive(Refresh::start_ignoring_expiry(&seen, &[NAME.to_owned()]), files);
    beside(&Draft::default().next().next().files()).unwrap();
    let old = Draft::default().files();
    assert_refused(beside(&old), 3, "version-rollback");
    assert_eq!(seen.version(&FileName::Timestamp), Some(6));
}
