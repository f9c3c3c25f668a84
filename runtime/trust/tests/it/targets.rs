//! Step 3: what release says, and who may say it of which artifact.

use runtime_trust::author::{self, NamedDraft};
use runtime_trust::{Digest, FileName, Role};

use crate::fleet::*;

/// A key that may speak for `digits` alone.
const DIGITS_ONLY: u8 = 21;

fn limited(signers: &[u8]) -> Draft {
    let mut draft = Draft::default();
    draft.delegations.insert(NAME.to_owned(), role(1, &[DIGITS_ONLY]));
    draft.named_signers = signers.to_vec();
    draft
}

#[test]
fn targets_hash_mismatch() {
    let draft = Draft::default();
    let control = draft.files();
    let mut attack = control.clone();
    // Signed well by release, as long as the listed one, of the listed version.
    let other = Draft { targets_expires: draft.targets_expires - 1, ..draft.clone() };
    attack.insert(FileName::Targets, other.files()[&FileName::Targets].clone());
    assert_eq!(attack[&FileName::Targets].len(), control[&FileName::Targets].len());
    assert_attack(&draft.enrolled(), &control, &attack, 3, "digest-mismatch");
}

#[test]
fn named_targets_hash_mismatch() {
    let draft = Draft::default();
    let control = draft.files();
    let mut attack = control.clone();
    let mut other = draft.clone();
    other.named().floor = 2;
    let file = FileName::Named(NAME.to_owned());
    attack.insert(file.clone(), other.files()[&file].clone());
    assert_eq!(attack[&file].len(), control[&file].len());
    assert_attack(&draft.enrolled(), &control, &attack, 3, "digest-mismatch");
}

#[test]
fn expired_targets_freeze() {
    let control = Draft { targets_expires: NOW + 1, ..Draft::default() };
    let attack = Draft { targets_expires: NOW, ..Draft::default() };
    assert_attack(&control.enrolled(), &control.files(), &attack.files(), 3, "expired");
    let mut attack = Draft::default();
    attack.named().expires = NOW;
    assert_attack(&control.enrolled(), &control.files(), &attack.files(), 3, "expired");
}

/// A new deploy key, whose snapshot begins anew, brings back what release has replaced.
#[test]
fn targets_version_rollback_by_a_new_deploy_key() {
    let state = Draft::default().next().seen();
    let with_new_key = |targets: u64, named: u64| {
        let mut draft = Draft { targets_version: targets, ..Draft::default() };
        draft.roots.push(RootDraft::new(2).with(Role::Snapshot, role(1, &[31])));
        draft.snapshot_signers = vec![31];
        draft.named().version = named;
        draft
    };
    let control = with_new_key(6, 6);
    assert_attack(&state, &control.files(), &with_new_key(5, 6).files(), 3, "version-rollback");
    assert_attack(&state, &control.files(), &with_new_key(6, 5).files(), 3, "version-rollback");
}

#[test]
fn named_targets_by_another_key() {
    let (control, attack) = (limited(&[DIGITS_ONLY]), limited(&[STRANGER]));
    assert_attack(&control.enrolled(), &control.files(), &attack.files(), 3, "signature-threshold");
}

#[test]
fn named_targets_without_a_delegation() {
    let control = Draft::default();
    let mut attack = control.clone();
    attack.delegations.clear();
    assert_attack(&control.enrolled(), &control.files(), &attack.files(), 3, "not-delegated");
}

#[test]
fn a_delegation_of_other_paths_is_none() {
    let draft = Draft::default();
    let with_paths = |paths: &str| {
        let mut files = draft.root_files();
        let mut value: serde_json::Value = serde_json::from_slice(&draft.files()[&FileName::Targets]).unwrap();
        value["signed"]["delegations"]["roles"][0]["paths"] = serde_json::json!([paths]);
        let targets = author::add_signature(&serde_json::to_vec(&value).unwrap(), &key(RELEASE)).unwrap();
        let snapshot = draft.snapshot_over(&targets, &draft.named_files());
        files.insert(FileName::Timestamp, draft.timestamp_over(&snapshot));
        files.insert(FileName::Snapshot, snapshot);
        files.insert(FileName::Targets, targets);
        files.insert(FileName::Named(NAME.to_owned()), draft.named_files()[NAME].clone());
        files
    };
    assert_attack(&draft.enrolled(), &with_paths("digits/*"), &with_paths("faces/*"), 3, "not-delegated");
}

/// The key for `digits` also lists a manifest of `faces` in its file: nobody asked it.
#[test]
fn name_limited_key_speaks_for_another_name() {
    let mut draft = limited(&[DIGITS_ONLY]);
    draft.delegations.insert("faces".to_owned(), role(1, &[RELEASE]));
    let draft = draft;
    let named = draft.named_files();
    let mut value: serde_json::Value = serde_json::from_slice(&named[NAME]).unwrap();
    let digest = Digest::of(b"faces");
    let entry = serde_json::json!({
        "length": 5, "hashes": {"sha256": digest}, "custom": {"number": 9, "version": "9.0.0"},
    });
    value["signed"]["targets"][format!("faces/{digest}")] = entry;
    value["signatures"] = serde_json::json!([]);
    let both = author::add_signature(&serde_json::to_vec(&value).unwrap(), &key(DIGITS_ONLY)).unwrap();
    let targets = draft.files()[&FileName::Targets].clone();
    let named = [(NAME.to_owned(), both.clone())].into();
    let snapshot = draft.snapshot_over(&targets, &named);
    let mut files = draft.root_files();
    files.insert(FileName::Timestamp, draft.timestamp_over(&snapshot));
    files.insert(FileName::Snapshot, snapshot);
    files.insert(FileName::Targets, targets);
    files.insert(FileName::Named(NAME.to_owned()), both);
    let state = refresh(&draft.enrolled(), &files).unwrap();
    assert_eq!(state.allowed(NAME), [allowed(MANIFEST, 7)]);
    assert_eq!(state.allowed("faces"), []);
}

/// A denial counts for the name whose keys signed it, and for no other.
#[test]
fn name_limited_key_denies_another_names_model() {
    let mut draft = limited(&[DIGITS_ONLY]);
    let faces = Digest::of(b"a manifest of faces");
    draft.named().denied.insert(faces);
    draft.named().denied.insert(Digest::of(b"old digits"));
    let state = draft.seen();
    assert!(state.is_denied(NAME, &Digest::of(b"old digits")));
    assert!(!state.is_denied("faces", &faces));
    assert_eq!(state.denied().filter(|(name, _)| *name == NAME).count(), 2);
}

#[test]
fn a_new_delegated_key_drops_what_the_old_one_said() {
    let mut stolen = limited(&[DIGITS_ONLY]);
    stolen.named().version = u64::MAX;
    stolen.named().floor = u64::MAX;
    let state = stolen.seen();
    let recovered = |digits: u8| {
        // Deploy has to begin its snapshot anew, too: the version of the file stands in there.
        let mut draft = Draft { targets_version: 6, ..Draft::default() };
        draft.roots.push(RootDraft::new(2).with(Role::Snapshot, role(1, &[31])));
        draft.snapshot_signers = vec![31];
        draft.delegations.insert(NAME.to_owned(), role(1, &[digits]));
        draft.named_signers = vec![digits];
        draft
    };
    assert_refused(refresh(&state, &recovered(DIGITS_ONLY).files()), 3, "version-rollback");
    let state = refresh(&state, &recovered(22).files()).unwrap();
    assert_eq!(state.floor(NAME), 3);
}

#[test]
fn malformed_entries() {
    let draft = Draft::default();
    let good: serde_json::Value = serde_json::from_slice(&draft.named_files()[NAME]).unwrap();
    let path = format!("{NAME}/{}", Digest::of(MANIFEST));
    let files_with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = good.clone();
        change(&mut value["signed"]);
        let bytes = author::add_signature(&serde_json::to_vec(&value).unwrap(), &key(RELEASE)).unwrap();
        // Listed by version alone, so that the listing cannot object.
        let targets = draft.files()[&FileName::Targets].clone();
        let snapshot = draft.snapshot_over(&targets, &draft.named_files());
        let mut value: serde_json::Value = serde_json::from_slice(&snapshot).unwrap();
        value["signed"]["meta"]["digits.json"] = serde_json::json!({"version": 5});
        let snapshot = author::add_signature(&serde_json::to_vec(&value).unwrap(), &key(DEPLOY)).unwrap();
        let mut files = draft.root_files();
        files.insert(FileName::Timestamp, draft.timestamp_over(&snapshot));
        files.insert(FileName::Snapshot, snapshot);
        files.insert(FileName::Targets, targets);
        files.insert(FileName::Named(NAME.to_owned()), bytes);
        files
    };
    let control = files_with(&|signed| signed["note"] = 1.into());
    let attacks: [&dyn Fn(&mut serde_json::Value); 8] = [
        &|signed| signed["targets"][&path]["length"] = 50_000.into(),
        &|signed| signed["targets"][&path]["length"] = (-1).into(),
        &|signed| signed["targets"][&path]["hashes"]["sha256"] = Digest::of(b"").to_string().into(),
        &|signed| signed["targets"][&path]["custom"] = serde_json::Value::Null,
        &|signed| signed["targets"][&path]["custom"]["version"] = "1.0 \u{1b}[31m".into(),
        &|signed| signed["targets"]["digits/latest"] = signed["targets"][&path].clone(),
        &|signed| signed["cask"]["floor"] = "7".into(),
        &|signed| signed["cask"]["denied"] = serde_json::json!(["00"]),
    ];
    for attack in attacks {
        assert_attack(&draft.enrolled(), &control, &files_with(attack), 3, "malformed");
    }
}

#[test]
fn artifacts_that_nobody_asks_for_make_room() {
    let mut state = Draft::default().enrolled();
    let names = runtime_trust::limits::NAMES_MAX + 2;
    for number in 0..names {
        let name = format!("n{number:02}");
        let named = NamedDraft { name: name.clone(), ..Draft::default().named[NAME].clone() };
        let mut draft = Draft::default();
        // Every name stays delegated and listed; the device asks for one at a time.
        for other in 0..names {
            let other = format!("n{other:02}");
            draft.delegations.insert(other.clone(), role(1, &[RELEASE]));
            draft.named.insert(other.clone(), NamedDraft { name: other, ..named.clone() });
        }
        let wanted = [name.clone()];
        state = drive(runtime_trust::Refresh::start(&state, NOW, &wanted), &draft.files()).unwrap();
        assert!(state.names().any(|known| known == name), "{name}");
    }
    assert_eq!(state.names().count(), runtime_trust::limits::NAMES_MAX);
}

/// An artifact that is not asked for, whose file a new delegation no longer vouches for: it is dropped, and what is
/// stored can be read again.
#[test]
fn named_targets_at_hand_that_lost_their_delegation() {
    let state = Draft::default().seen();
    let with_threshold = |threshold: u32| {
        let mut draft = Draft::default().next();
        draft.delegations.insert(NAME.to_owned(), role(threshold, &[RELEASE, 5]));
        drive(runtime_trust::Refresh::start(&state, NOW, &[]), &draft.files()).unwrap()
    };
    let (control, attack) = (with_threshold(1), with_threshold(2));
    assert_eq!(control.floor(NAME), 3);
    assert_eq!(attack.version(&FileName::Named(NAME.to_owned())), None);
    for state in [control, attack] {
        assert_eq!(runtime_trust::TrustState::parse(&state.to_bytes()), Ok(state));
    }
}
