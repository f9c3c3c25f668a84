//! What the author refuses to write, and what it reads back.

use std::collections::BTreeMap;

use runtime_trust::author::{self, AuthorError};
use runtime_trust::limits::TARGETS_BYTES_MAX;
use runtime_trust::{FileName, Role, Root, SigningKey};

use crate::fleet::*;

#[test]
fn targets_over_the_limit_are_refused_with_the_numbers() {
    let build = |entries: u64| {
        let mut draft = Draft::default().named[NAME].clone();
        draft.allowed = (0..entries).map(|number| allowed(&number.to_le_bytes(), number)).collect();
        author::build_named_targets(&draft, &[&key(RELEASE)])
    };
    assert!(build(100).unwrap().len() > 20_000);
    let error = build(300).unwrap_err();
    let AuthorError::TooLarge { file, found, max } = &error else {
        panic!("{error}");
    };
    assert_eq!((file.as_str(), *max), ("digits.json", TARGETS_BYTES_MAX));
    assert!(*found > TARGETS_BYTES_MAX);
    assert!(error.to_string().contains("retire"), "{error}");
}

type Change = &'static dyn Fn(&mut author::NamedDraft);

#[test]
fn impossible_content_is_refused() {
    let good = Draft::default();
    let named = |change: &dyn Fn(&mut author::NamedDraft)| {
        let mut draft = good.named[NAME].clone();
        change(&mut draft);
        author::build_named_targets(&draft, &[&key(RELEASE)])
    };
    named(&|_| {}).unwrap();
    let rows: [(Change, &str); 5] = [
        (&|draft| draft.name = "targets".to_owned(), "artifact's name"),
        (&|draft| draft.version = 0, "version is 0"),
        (&|draft| draft.expires = u64::MAX, "the year 9999"),
        (&|draft| draft.allowed.push(draft.allowed[0].clone()), "allowed twice"),
        (&|draft| draft.allowed[0].bytes = 1 << 60, "a manifest has at most"),
    ];
    for (change, text) in rows {
        let error = named(change).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    let unreachable = RootDraft::new(1).with(Role::Targets, role(3, &[RELEASE, 4]));
    let error = author::build_root(1, NOW, &unreachable.roles, &[&key(ROOT)]).unwrap_err();
    assert!(error.to_string().contains("wants 3 signatures, expected 1 to 2"), "{error}");
}

#[test]
fn signatures_are_added_until_the_threshold_is_met() {
    let draft = RootDraft::new(1).with(Role::Root, role(2, &[1, 11])).signed_by(&[1]);
    let waiting = draft.bytes();
    assert_refused(Root::pin(&waiting), 2, "signature-threshold");
    assert_eq!(author::version_and_expiry(&FileName::Root(1), &waiting), Ok((1, draft.expires)));
    let signed = author::add_signature(&waiting, &key(11)).unwrap();
    let root = Root::pin(&signed).unwrap();
    // Signing again changes nothing.
    assert_eq!(author::add_signature(&signed, &key(11)).unwrap(), signed);
    assert_eq!(root.role(Role::Root), &role(2, &[1, 11]));
    assert!(author::add_signature(b"{}", &key(1)).is_err());
    assert!(author::add_signature(b"[", &key(1)).is_err());
}

#[test]
fn what_was_written_is_read_back() {
    let draft = Draft::default();
    let files = draft.files();
    let expected: BTreeMap<FileName, u64> = [
        (FileName::Root(1), 1),
        (FileName::Timestamp, 5),
        (FileName::Snapshot, 5),
        (FileName::Targets, 5),
        (FileName::Named(NAME.to_owned()), 5),
    ]
    .into();
    let found: BTreeMap<FileName, u64> =
        files.iter().map(|(file, bytes)| (file.clone(), author::version_and_expiry(file, bytes).unwrap().0)).collect();
    assert_eq!(found, expected);
    let named = &files[&FileName::Named(NAME.to_owned())];
    assert_eq!(author::read_named_targets(NAME, named).unwrap(), draft.named[NAME]);
    assert_eq!(author::read_delegations(&files[&FileName::Targets]).unwrap(), draft.delegations);
}

#[test]
fn every_generated_key_is_another_one() {
    let (one, two) = (SigningKey::generate(), SigningKey::generate());
    assert_ne!(one.id(), two.id());
    assert_eq!(SigningKey::from_seed(&one.seed()).public(), one.public());
    let text = format!("{one:?}");
    assert!(!text.contains(&hex::encode(&one.seed()[..4])), "no seed in debug output: {text}");
}
