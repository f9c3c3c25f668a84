//! Step 3: timestamp and snapshot.

use runtime_trust::author::add_signature;
use runtime_trust::{FileName, Refresh, TrustState};
use serde_json::Value;

use crate::fleet::*;

/// `change` is applied to the signed part of a file, which is signed again by `signer`.
fn resigned(bytes: &[u8], signer: u8, change: impl Fn(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(bytes).unwrap();
    change(&mut value["signed"]);
    value["signatures"] = Value::Array(Vec::new());
    add_signature(&serde_json::to_vec(&value).unwrap(), &key(signer)).unwrap()
}

/// The files with a timestamp that gives only versions, no length and no digest, as TUF allows.
fn without_digest(files: &Files) -> Files {
    let mut files = files.clone();
    let timestamp = resigned(&files[&FileName::Timestamp], DEPLOY, |signed| {
        let meta = signed["meta"]["snapshot.json"].as_object_mut().unwrap();
        meta.remove("length");
        meta.remove("hashes");
    });
    files.insert(FileName::Timestamp, timestamp);
    files
}

#[test]
fn a_refresh_takes_the_newest() {
    let draft = Draft::default();
    let state = draft.seen();
    assert_eq!(state.version(&FileName::Timestamp), Some(5));
    assert_eq!(state.time_seen(), draft.issued);
    assert_eq!(state.floor(NAME), 3);
    assert_eq!(state.allowed(NAME), [allowed(MANIFEST, 7)]);
    assert_eq!(state.names().collect::<Vec<_>>(), [NAME]);
    let state = refresh(&state, &draft.next().files()).unwrap();
    assert_eq!(state.version(&FileName::Named(NAME.to_owned())), Some(6));
}

#[test]
fn what_is_at_hand_is_not_fetched_again() {
    let draft = Draft::default();
    let mut refresh = Refresh::start(&draft.seen(), NOW, &[NAME.to_owned()]);
    let mut asked = Vec::new();
    while let Some(wanted) = refresh.wanted() {
        refresh.feed(draft.files().get(&wanted.file).map(Vec::as_slice)).unwrap();
        asked.push(wanted.file);
    }
    assert_eq!(asked, [FileName::Root(2), FileName::Timestamp]);
    assert_eq!(refresh.finish().unwrap(), draft.seen());
}

#[test]
fn timestamp_version_rollback() {
    let state = Draft::default().seen();
    let control = Draft { timestamp_version: 5, ..Draft::default().next() };
    let attack = Draft { timestamp_version: 4, ..Draft::default().next() };
    assert_attack(&state, &control.files(), &attack.files(), 3, "version-rollback");
}

/// The refusal names the listing: the file that it lists is not even fetched.
fn refused_by(state: &TrustState, attack: &Draft, file: &str) {
    let refusal = refresh(state, &attack.files()).unwrap_err();
    assert!(refusal.to_string().starts_with(&format!("trust {file}: ")), "{refusal}");
}

#[test]
fn timestamp_names_an_older_snapshot() {
    let state = Draft::default().seen();
    let control = Draft::default().next();
    let attack = Draft { snapshot_version: 4, ..control.clone() };
    assert_attack(&state, &control.files(), &attack.files(), 3, "version-rollback");
    refused_by(&state, &attack, "timestamp.json");
}

#[test]
fn expired_timestamp_freeze() {
    let control = Draft { timestamp_expires: NOW + 1, ..Draft::default() };
    let attack = Draft { timestamp_expires: NOW, ..Draft::default() };
    assert_attack(&control.enrolled(), &control.files(), &attack.files(), 3, "expired");
}

#[test]
fn expired_timestamp_freeze_of_a_device_that_knows_it() {
    // The first to expire, so that nothing else objects.
    let draft = Draft { timestamp_expires: NOW + DAY, ..Draft::default() };
    let state = draft.seen();
    let at = |now| drive(Refresh::start(&state, now, &[NAME.to_owned()]), &draft.files());
    at(draft.timestamp_expires - 1).unwrap();
    assert_refused(at(draft.timestamp_expires), 3, "expired");
}

#[test]
fn clock_at_1970_is_not_believed() {
    let draft = Draft::default();
    let mut expired = draft.next();
    expired.timestamp_expires = draft.issued;
    expired.issued = draft.issued - DAY;
    let mut good = expired.clone();
    good.timestamp_expires = draft.issued + 1;
    let at_1970 = |files: &Files| drive(Refresh::start(&draft.seen(), 0, &[NAME.to_owned()]), files);
    at_1970(&good.files()).unwrap();
    assert_refused(at_1970(&expired.files()), 3, "expired");
}

#[test]
fn a_timestamp_tells_the_time_for_the_rest_of_its_refresh() {
    let control = Draft { snapshot_expires: NOW - DAY + 1, ..Draft::default() };
    let attack = Draft { snapshot_expires: NOW - DAY, ..Draft::default() };
    let at_1970 = |draft: &Draft| drive(Refresh::start(&draft.enrolled(), 0, &[NAME.to_owned()]), &draft.files());
    at_1970(&control).unwrap();
    assert_refused(at_1970(&attack), 3, "expired");
}

#[test]
fn expired_snapshot_freeze() {
    let control = Draft { snapshot_expires: NOW + 1, ..Draft::default() };
    let attack = Draft { snapshot_expires: NOW, ..Draft::default() };
    assert_attack(&control.enrolled(), &control.files(), &attack.files(), 3, "expired");
}

#[test]
fn snapshot_hash_mismatch() {
    let control = Draft::default().files();
    let mut attack = control.clone();
    // Signed well, as long as the listed one, of the listed version.
    let other = resigned(&control[&FileName::Snapshot], DEPLOY, |signed| {
        signed["expires"] = signed["expires"].as_str().unwrap().replace('0', "1").into();
    });
    assert_eq!(other.len(), control[&FileName::Snapshot].len());
    attack.insert(FileName::Snapshot, other);
    assert_attack(&Draft::default().enrolled(), &control, &attack, 3, "digest-mismatch");
}

#[test]
fn snapshot_length_mismatch() {
    let control = Draft::default().files();
    let mut attack = control.clone();
    attack.get_mut(&FileName::Snapshot).unwrap().push(b' ');
    assert_attack(&Draft::default().enrolled(), &control, &attack, 3, "length-mismatch");
}

#[test]
fn mix_and_match_snapshot() {
    // A timestamp that gives no digest: only the version ties the two together.
    let control = without_digest(&Draft::default().files());
    let mut attack = control.clone();
    let other_moment = Draft { snapshot_version: 6, ..Draft::default() };
    attack.insert(FileName::Snapshot, other_moment.files()[&FileName::Snapshot].clone());
    assert_attack(&Draft::default().enrolled(), &control, &attack, 3, "version-mismatch");
}

#[test]
fn snapshot_no_longer_lists_a_file() {
    let mut seen = Draft::default();
    let other = seen.named[NAME].clone();
    seen.named.insert("faces".to_owned(), author_of(other, "faces"));
    seen.delegations.insert("faces".to_owned(), role(1, &[RELEASE]));
    let control = seen.next();
    let mut attack = control.clone();
    attack.named.remove("faces");
    assert_attack(&seen.seen(), &control.files(), &attack.files(), 3, "listing-rollback");
}

fn author_of(mut draft: runtime_trust::author::NamedDraft, name: &str) -> runtime_trust::author::NamedDraft {
    draft.name = name.to_owned();
    draft
}

#[test]
fn snapshot_lists_older_targets() {
    let state = Draft::default().seen();
    let control = Draft::default().next();
    let attack = Draft { targets_version: 4, ..control.clone() };
    assert_attack(&state, &control.files(), &attack.files(), 3, "version-rollback");
    refused_by(&state, &attack, "snapshot.json");
    let mut attack = control.clone();
    attack.named().version = 4;
    assert_attack(&state, &control.files(), &attack.files(), 3, "version-rollback");
    refused_by(&state, &attack, "snapshot.json");
}

#[test]
fn a_missing_file_stops_the_refresh() {
    let control = Draft::default().files();
    for file in [FileName::Timestamp, FileName::Snapshot, FileName::Targets, FileName::Named(NAME.to_owned())] {
        let mut attack = control.clone();
        attack.remove(&file);
        assert_attack(&Draft::default().enrolled(), &control, &attack, 3, "unavailable");
    }
}

#[test]
fn an_unfinished_refresh_gives_no_state() {
    let draft = Draft::default();
    let mut refresh = Refresh::start(&draft.enrolled(), NOW, &[NAME.to_owned()]);
    assert_refused(refresh.clone().finish(), 3, "unavailable");
    refresh.feed(None).unwrap();
    refresh.feed(Some(&draft.files()[&FileName::Timestamp])).unwrap();
    assert_refused(refresh.clone().finish(), 3, "unavailable");
    // A refused refresh stays refused, whatever it is fed afterwards.
    assert_refused(refresh.feed(Some(b"{}")), 3, "length-mismatch");
    assert_eq!(refresh.wanted(), None);
    assert_refused(refresh.feed(Some(&draft.files()[&FileName::Snapshot])), 3, "length-mismatch");
    assert_refused(refresh.finish(), 3, "length-mismatch");
}

#[test]
fn a_finished_refresh_takes_nothing_more() {
    let draft = Draft::default();
    let mut refresh = Refresh::start(&draft.enrolled(), NOW, &[NAME.to_owned()]);
    while let Some(wanted) = refresh.wanted() {
        refresh.feed(draft.files().get(&wanted.file).map(Vec::as_slice)).unwrap();
    }
    let refusal = refresh.feed(Some(b"{}")).unwrap_err();
    assert_eq!(refusal.reason(), "out-of-order");
}

#[test]
fn names_that_no_artifact_has() {
    let start = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        drive(Refresh::start(&Draft::default().enrolled(), NOW, &names), &Draft::default().files())
    };
    start(&[NAME, NAME]).unwrap();
    start(&["not-pushed-yet"]).unwrap();
    for name in ["../etc", "targets", "Digits", ""] {
        assert_refused(start(&[NAME, name]), 1, "wrong-name");
    }
    let many: Vec<String> = (0..=runtime_trust::limits::NAMES_MAX).map(|number| format!("n{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    start(&many[1..]).unwrap();
    assert_refused(start(&many), 1, "too-many");
}

#[test]
fn a_newer_specification() {
    let control = Draft::default().files();
    let with_version = |version: &str| {
        let mut files = control.clone();
        let file = FileName::Timestamp;
        files.insert(file.clone(), resigned(&control[&file], DEPLOY, |signed| signed["spec_version"] = version.into()));
        files
    };
    assert_attack(
        &Draft::default().enrolled(),
        &with_version("1.99.0"),
        &with_version("2.0.0"),
        3,
        "unsupported-version",
    );
}

#[test]
fn malformed_fields() {
    let control = Draft::default().files();
    let state: TrustState = Draft::default().enrolled();
    for (field, value) in [
        ("version", Value::from(0)),
        ("version", Value::from("5")),
        ("version", Value::from(-5)),
        ("expires", Value::from("2100-01-01")),
        ("expires", Value::from(4_102_444_800_u64)),
        ("meta", Value::from(Vec::<u8>::new())),
        ("meta", serde_json::json!({})),
        ("meta", serde_json::json!({"snapshot.json": {"version": 0}})),
        ("meta", serde_json::json!({"snapshot.json": {"version": 5, "hashes": {"md5": "00"}}})),
        ("cask", serde_json::json!({"issued": NOW + 1_000_000_000})),
        ("cask", serde_json::json!({"issued": "now"})),
    ] {
        let mut attack = control.clone();
        let file = FileName::Timestamp;
        attack.insert(file.clone(), resigned(&control[&file], DEPLOY, |signed| signed[field] = value.clone()));
        assert_attack(&state, &control, &attack, 3, "malformed");
    }
}
