//! Metadata that python-tuf has written (`golden/python-tuf/make.py`), read by this crate.

use runtime_trust::{Digest, FileName, Root, TrustState};

use crate::fleet::*;

fn files() -> Files {
    [
        (FileName::Root(2), &include_bytes!("golden/python-tuf/2.root.json")[..]),
        (FileName::Timestamp, include_bytes!("golden/python-tuf/timestamp.json")),
        (FileName::Snapshot, include_bytes!("golden/python-tuf/snapshot.json")),
        (FileName::Targets, include_bytes!("golden/python-tuf/targets.json")),
        (FileName::Named(NAME.to_owned()), include_bytes!("golden/python-tuf/digits.json")),
    ]
    .map(|(file, bytes)| (file, bytes.to_vec()))
    .into()
}

fn enrolled() -> TrustState {
    TrustState::enrolled(Root::pin(include_bytes!("golden/python-tuf/1.root.json")).unwrap(), NOW)
}

#[test]
fn metadata_by_python_tuf_is_trusted() {
    let state = refresh(&enrolled(), &files()).unwrap();
    assert_eq!(state.root().version(), 2);
    assert_eq!(state.version(&FileName::Timestamp), Some(9));
    assert_eq!(state.floor(NAME), 5);
    assert!(state.is_denied(NAME, &Digest::of(b"denied")));
    let mut expected = allowed(MANIFEST, 7);
    expected.version = "1.2.3".to_owned();
    assert_eq!(state.allowed(NAME), [expected]);
    assert_eq!(TrustState::parse(&state.to_bytes()), Ok(state));
}

#[test]
fn metadata_by_python_tuf_with_a_changed_unknown_field() {
    let mut attack = files();
    let root = String::from_utf8(attack[&FileName::Root(2)].clone()).unwrap();
    let changed = root.replace("quoted", "cited");
    assert_ne!(root, changed);
    attack.insert(FileName::Root(2), changed.into_bytes());
    assert_attack(&enrolled(), &files(), &attack, 2, "signature-threshold");
}
