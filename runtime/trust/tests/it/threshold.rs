//! Who counts as a signer: the one function that counts, met through the files that it guards.

use runtime_trust::author::add_signature;
use runtime_trust::{FileName, Role, Root};
use serde_json::{Value, json};

use crate::fleet::*;

/// Deploy's timestamp role is two of keys 3 and 4.
fn two_of_two(signers: &[u8]) -> Draft {
    let mut draft = Draft::default();
    draft.roots[0] = RootDraft::new(1).with(Role::Timestamp, role(2, &[DEPLOY, 4]));
    draft.timestamp_signers = signers.to_vec();
    draft
}

fn edit(files: &Files, file: FileName, change: impl Fn(&mut Value)) -> Files {
    let mut files = files.clone();
    let mut value: Value = serde_json::from_slice(&files[&file]).unwrap();
    change(&mut value);
    files.insert(file, serde_json::to_vec(&value).unwrap());
    files
}

#[test]
fn signature_by_unknown_key() {
    let control = Draft::default();
    let attack = Draft { timestamp_signers: vec![STRANGER], ..control.clone() };
    assert_attack(&control.enrolled(), &control.files(), &attack.files(), 3, "signature-threshold");
}

#[test]
fn signature_by_the_key_of_another_role() {
    let control = Draft::default();
    for (attack, step) in [
        (Draft { timestamp_signers: vec![RELEASE], ..control.clone() }, 3),
        (Draft { snapshot_signers: vec![ROOT], ..control.clone() }, 3),
        (Draft { targets_signers: vec![DEPLOY], ..control.clone() }, 3),
        (Draft { named_signers: vec![DEPLOY], ..control.clone() }, 3),
    ] {
        assert_attack(&control.enrolled(), &control.files(), &attack.files(), step, "signature-threshold");
    }
}

#[test]
fn under_the_threshold() {
    let (control, attack) = (two_of_two(&[DEPLOY, 4]), two_of_two(&[DEPLOY]));
    assert_attack(&control.enrolled(), &control.files(), &attack.files(), 3, "signature-threshold");
}

#[test]
fn same_key_counted_twice() {
    let control = two_of_two(&[DEPLOY, 4]).files();
    let attack = edit(&two_of_two(&[DEPLOY]).files(), FileName::Timestamp, |file| {
        let signature = file["signatures"][0].clone();
        file["signatures"].as_array_mut().unwrap().push(signature);
    });
    assert_attack(&two_of_two(&[DEPLOY]).enrolled(), &control, &attack, 3, "signature-threshold");
}

/// One key under two names: the second key object has one more field, hence another digest.
fn aliased_root(second: u8) -> Vec<u8> {
    let mut root: Value = serde_json::from_slice(&RootDraft::new(1).signed_by(&[]).bytes()).unwrap();
    let public = hex::encode(key(second).public().to_bytes());
    let object = json!({"keytype": "ed25519", "keyval": {"public": public}, "note": "x", "scheme": "ed25519"});
    let canonical = serde_json::to_vec(&object).unwrap();
    let id = runtime_trust::Digest::of(&canonical).to_string();
    root["signed"]["keys"][&id] = object;
    let keyids = root["signed"]["roles"]["timestamp"]["keyids"].as_array_mut().unwrap();
    keyids.push(id.into());
    root["signed"]["roles"]["timestamp"]["threshold"] = 2.into();
    add_signature(&serde_json::to_vec(&root).unwrap(), &key(ROOT)).unwrap()
}

#[test]
fn same_key_under_two_names() {
    // With another key, the same form is a fine two of two.
    Root::pin(&aliased_root(4)).unwrap();
    assert_refused(Root::pin(&aliased_root(DEPLOY)), 2, "unreachable-threshold");
}

#[test]
fn a_key_called_by_another_digest() {
    // No role names the key, so nothing but the check of names can object.
    let with_name = |id: String| {
        let mut root: Value = serde_json::from_slice(&RootDraft::new(1).signed_by(&[]).bytes()).unwrap();
        root["signed"]["keys"][id] = serde_json::from_str(key(STRANGER).public().object()).unwrap();
        Root::pin(&add_signature(&serde_json::to_vec(&root).unwrap(), &key(ROOT)).unwrap())
    };
    with_name(key(STRANGER).id().to_string()).unwrap();
    assert_refused(with_name(key(4).id().to_string()), 2, "malformed");
    assert_refused(with_name(key(STRANGER).id().to_string().to_uppercase()), 2, "malformed");
    assert_refused(with_name("deploy".to_owned()), 2, "malformed");
}

#[test]
fn a_role_names_a_key_that_is_not_there_or_twice() {
    let with_keyids = |keyids: Value| {
        let mut root: Value = serde_json::from_slice(&RootDraft::new(1).signed_by(&[]).bytes()).unwrap();
        root["signed"]["roles"]["timestamp"]["keyids"] = keyids;
        Root::pin(&add_signature(&serde_json::to_vec(&root).unwrap(), &key(ROOT)).unwrap())
    };
    let (deploy, stranger) = (key(DEPLOY).id().to_string(), key(STRANGER).id().to_string());
    with_keyids(json!([deploy])).unwrap();
    assert_refused(with_keyids(json!([deploy, stranger])), 2, "malformed");
    assert_refused(with_keyids(json!([deploy, deploy])), 2, "malformed");
}

#[test]
fn a_key_of_another_scheme_is_not_counted() {
    let with_scheme = |scheme: &str, threshold: u32| {
        let mut root: Value = serde_json::from_slice(&RootDraft::new(1).signed_by(&[]).bytes()).unwrap();
        let object = json!({
            "keytype": scheme, "keyval": {"public": hex::encode(key(4).public().to_bytes())}, "scheme": scheme,
        });
        let id = runtime_trust::Digest::of(&serde_json::to_vec(&object).unwrap()).to_string();
        root["signed"]["keys"][&id] = object;
        root["signed"]["roles"]["targets"]["keyids"].as_array_mut().unwrap().push(id.into());
        root["signed"]["roles"]["targets"]["threshold"] = threshold.into();
        add_signature(&serde_json::to_vec(&root).unwrap(), &key(ROOT)).unwrap()
    };
    // It may stand there, for programs that know it ...
    let root = Root::pin(&with_scheme("sphincs", 1)).unwrap();
    assert_eq!(root.role(Role::Targets), &role(1, &[RELEASE]));
    // ... but it helps nobody over a threshold.
    Root::pin(&with_scheme("ed25519", 2)).unwrap();
    assert_refused(Root::pin(&with_scheme("sphincs", 2)), 2, "unreachable-threshold");
}

#[test]
fn a_weak_key() {
    // The neutral element: everything would be its signature.
    let mut weak = [0; 32];
    weak[0] = 1;
    assert!(runtime_trust::PublicKey::ed25519(weak).unwrap_err().to_string().contains("small order"));
    let other_spelling = runtime_trust::PublicKey::ed25519([0xff; 32]).unwrap_err();
    assert!(other_spelling.to_string().contains("canonical spelling"), "{other_spelling}");
    let no_point = (0..=u8::MAX).filter_map(|first| runtime_trust::PublicKey::ed25519([first; 32]).err());
    assert!(no_point.map(|error| error.to_string()).any(|text| text.contains("no point")));
}

#[test]
fn threshold_zero() {
    let with_threshold = |threshold: u32| {
        let mut root: Value = serde_json::from_slice(&RootDraft::new(1).signed_by(&[]).bytes()).unwrap();
        root["signed"]["roles"]["timestamp"]["threshold"] = threshold.into();
        Root::pin(&add_signature(&serde_json::to_vec(&root).unwrap(), &key(ROOT)).unwrap())
    };
    with_threshold(1).unwrap();
    assert_refused(with_threshold(0), 2, "unreachable-threshold");
    let envelope = signed(runtime_trust::PayloadType::Manifest, MANIFEST, &[RELEASE]);
    let envelope = runtime_trust::Envelope::parse(&envelope).unwrap();
    envelope.verify(runtime_trust::PayloadType::Manifest, &role(1, &[RELEASE])).unwrap();
    let nobody = role(0, &[RELEASE]);
    assert_refused(envelope.verify(runtime_trust::PayloadType::Manifest, &nobody), 5, "signature-threshold");
}

#[test]
fn signed_part_changed_after_signing() {
    let control = Draft::default();
    let attack = edit(&control.files(), FileName::Timestamp, |file| file["signed"]["version"] = 6.into());
    assert_attack(&control.enrolled(), &control.files(), &attack, 3, "signature-threshold");
}

#[test]
fn a_signature_with_a_flipped_bit() {
    let control = Draft::default();
    let attack = edit(&control.files(), FileName::Timestamp, |file| {
        let signature = file["signatures"][0]["sig"].as_str().unwrap();
        let last = if signature.ends_with('0') { "1" } else { "0" };
        file["signatures"][0]["sig"] = format!("{}{last}", &signature[..signature.len() - 1]).into();
    });
    assert_attack(&control.enrolled(), &control.files(), &attack, 3, "signature-threshold");
}

#[test]
fn more_signatures_than_are_looked_at() {
    let many = |count: usize| {
        edit(&Draft::default().files(), FileName::Timestamp, |file| {
            let signature = file["signatures"][0].clone();
            file["signatures"] = vec![signature; count].into();
        })
    };
    let max = runtime_trust::limits::SIGNATURES_MAX;
    assert_attack(&Draft::default().enrolled(), &many(max), &many(max + 1), 3, "malformed");
}

#[test]
fn spaces_and_unknown_fields_change_no_signature() {
    let files = edit(&Draft::default().files(), FileName::Timestamp, |file| file["unknown"] = json!([1]));
    refresh(&Draft::default().enrolled(), &files).unwrap();
    let mut files = Draft::default().files();
    let pretty: Value = serde_json::from_slice(&files[&FileName::Timestamp]).unwrap();
    files.insert(FileName::Timestamp, serde_json::to_vec_pretty(&pretty).unwrap());
    refresh(&Draft::default().enrolled(), &files).unwrap();
}
