//! Step 1: size caps, before anything is parsed.

use runtime_trust::limits::{
    DEPLOYMENT_BYTES_MAX, ENVELOPE_BYTES_MAX, MANIFEST_BYTES_MAX, ROOT_BYTES_MAX, TIMESTAMP_BYTES_MAX,
};
use runtime_trust::{Envelope, FileName, PayloadType, Refresh, Root};

use crate::fleet::*;

/// JSON may end in spaces; they count.
fn padded(bytes: &[u8], length: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(usize::try_from(length).unwrap(), b' ');
    bytes
}

#[test]
fn too_large_root() {
    let root = RootDraft::new(1).bytes();
    Root::pin(&padded(&root, ROOT_BYTES_MAX)).unwrap();
    assert_refused(Root::pin(&padded(&root, ROOT_BYTES_MAX + 1)), 1, "too-large");
}

#[test]
fn too_large_timestamp() {
    let draft = Draft::default();
    let with_length = |length: u64| {
        let mut files = draft.files();
        let timestamp = padded(&files[&FileName::Timestamp], length);
        files.insert(FileName::Timestamp, timestamp);
        files
    };
    assert_attack(
        &draft.enrolled(),
        &with_length(TIMESTAMP_BYTES_MAX),
        &with_length(TIMESTAMP_BYTES_MAX + 1),
        1,
        "too-large",
    );
}

/// Whatever is asked for, one byte above the limit that was asked with is refused.
#[test]
fn too_large_for_each_file_that_is_asked_for() {
    let files = Draft::default().files();
    let mut refresh = Refresh::start(&Draft::default().enrolled(), NOW, &[NAME.to_owned()]);
    let mut asked = 0;
    while let Some(wanted) = refresh.wanted() {
        assert!(wanted.bytes_max <= 60 * 1024, "{wanted:?} fits into one message");
        let too_large = vec![b' '; usize::try_from(wanted.bytes_max).unwrap() + 1];
        assert_refused(refresh.clone().feed(Some(&too_large)), 1, "too-large");
        refresh.feed(files.get(&wanted.file).map(Vec::as_slice)).unwrap();
        asked += 1;
    }
    assert_eq!(asked, 5);
}

#[test]
fn too_large_envelope() {
    let manifest = |length: u64| vec![b'm'; usize::try_from(length).unwrap()];
    let largest = signed(PayloadType::Manifest, &manifest(MANIFEST_BYTES_MAX), &(1..=30).collect::<Vec<_>>());
    assert!(largest.len() as u64 <= ENVELOPE_BYTES_MAX, "a full manifest fits with 30 signatures");
    Envelope::parse(&largest).unwrap();
    let attack = signed(PayloadType::Manifest, &manifest(ENVELOPE_BYTES_MAX), &[RELEASE]);
    assert_refused(Envelope::parse(&attack), 1, "too-large");
    let state = Draft::default().enrolled();
    assert_refused(state.check_sideload(&attack, NAME), 1, "too-large");
}

#[test]
fn too_large_manifest() {
    let state = Draft::default().enrolled();
    let of_length = |length: u64| {
        let manifest = vec![b'm'; usize::try_from(length).unwrap()];
        state.check_sideload(&signed(PayloadType::Manifest, &manifest, &[RELEASE]), NAME)
    };
    of_length(MANIFEST_BYTES_MAX).unwrap();
    assert_refused(of_length(MANIFEST_BYTES_MAX + 1), 1, "too-large");
}

#[test]
fn too_large_deployment() {
    let state = Draft::default().enrolled();
    let of_length = |length: u64| {
        let payload = padded(&deployment().to_bytes(), length);
        state.check_deployment(&signed(PayloadType::Deployment, &payload, &[DEPLOY]), FLEET, CHANNEL, NOW)
    };
    of_length(DEPLOYMENT_BYTES_MAX).unwrap();
    assert_refused(of_length(DEPLOYMENT_BYTES_MAX + 1), 1, "too-large");
}
