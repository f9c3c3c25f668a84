//! Envelopes: attached, exchanged, with thresholds.

use runtime_artifact::{PackError, open, open_bytes};
use runtime_disk::write_atomic;
use runtime_trust::{Envelope, Root, SigningKey};

use crate::fixture::{envelope, packed, release, root, root_bytes, second_release, sign};

#[test]
fn a_file_without_a_signature_opens_and_is_not_verified() {
    let bytes = sign(&packed(), &[]);
    let opened = open_bytes(bytes).unwrap();
    assert_eq!(opened.manifest_unverified().unwrap().name, "digits");
    assert_eq!(opened.verify(root()).unwrap_err().reason(), "signature-threshold");
}

#[test]
fn a_further_signature_reaches_the_threshold() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("digits.cask");
    let two_of_two = Root::pin(&root_bytes(2)).unwrap();
    write_atomic(&path, &sign(&packed(), &[&release()])).unwrap();
    assert_eq!(open(&path).unwrap().verify(&two_of_two).unwrap_err().reason(), "signature-threshold");

    let opened = open(&path).unwrap();
    let mut envelope = Envelope::parse(opened.envelope_bytes()).unwrap();
    envelope.add_signature(&second_release());
    // Into the very file that is open.
    opened.write_with_envelope(&envelope.to_bytes(), &path).unwrap();

    let artifact = open(&path).unwrap().verify(&two_of_two).unwrap();
    assert_eq!(artifact.digest(), packed().digest());
    assert_eq!(artifact.envelope_bytes(), envelope.to_bytes());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn the_envelope_of_another_manifest_is_not_attached() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("digits.cask");
    let other = envelope(b"{}", &[&release()]);
    assert!(matches!(packed().attach(&other), Err(PackError::OtherManifest { .. })));
    let opened = open_bytes(sign(&packed(), &[&release()])).unwrap();
    assert!(matches!(opened.write_with_envelope(&other, &path), Err(PackError::OtherManifest { .. })));
    assert!(!path.exists());
    let keys: Vec<SigningKey> = (0..32).map(|seed| SigningKey::from_seed(&[seed; 32])).collect();
    let many = envelope(&vec![b' '; 44 << 10], &keys.iter().collect::<Vec<_>>());
    assert!(matches!(packed().attach(&many), Err(PackError::EnvelopeTooLarge { .. })));
}

#[cfg(feature = "signing")]
#[test]
fn sealing_is_packing_and_signing() {
    let mut packer = runtime_artifact::Packer::new(crate::fixture::draft(&["int8"])).unwrap();
    packer.add_file("int8", "model", &crate::fixture::model(), &[100, 400]).unwrap();
    packer.add_file("int8", "golden", &crate::fixture::golden().encode().unwrap(), &[]).unwrap();
    assert_eq!(packer.seal(&[&release()]).unwrap(), crate::fixture::cask());
}
