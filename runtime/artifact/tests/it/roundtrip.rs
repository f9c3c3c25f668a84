//! What goes in comes out, whatever it is.

use std::collections::BTreeSet;

use proptest::prelude::*;
use runtime_artifact::{ArtifactError, PackError, Packer, check_stored, decode_chunk, open, parse_index_part};
use runtime_disk::write_atomic;
use runtime_trust::Digest;

use crate::fixture::{cask, draft, golden, model, release, root, sign, verify};

/// Bytes with runs and noise, as files have.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let run = (any::<u8>(), 1_usize..40_000).prop_map(|(byte, length)| vec![byte; length]);
    let noise = proptest::collection::vec(any::<u8>(), 1..3000);
    proptest::collection::vec(prop_oneof![run, noise], 1..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_goes_in_comes_out(
        model in bytes(),
        other in bytes(),
        borders in proptest::collection::vec(any::<u64>(), 0..6),
        shared in any::<bool>(),
    ) {
        let borders: Vec<u64> = borders.iter().map(|border| border % (model.len() as u64 + 1)).collect();
        let golden = golden().encode().unwrap();
        let second = if shared { &model } else { &other };
        let mut packer = Packer::new(draft(&["a", "b"])).unwrap();
        packer.add_file("b", "model", second, if shared { &borders } else { &[] }).unwrap();
        packer.add_file("a", "model", &model, &borders).unwrap();
        for variant in ["a", "b"] {
            packer.add_file(variant, "golden", &golden, &[]).unwrap();
        }
        let artifact = verify(&sign(&packer.unsigned().unwrap(), &[&release()])).unwrap();
        for (variant, role, plain) in
            [("a", "model", &model), ("b", "model", second), ("a", "golden", &golden), ("b", "golden", &golden)]
        {
            prop_assert_eq!(&artifact.read_file(variant, role, plain.len() as u64).unwrap(), plain);
            // The way of a device: index parts and chunks by digest.
            let entry = &artifact.manifest().variant(variant).unwrap().files[role];
            let mut rebuilt = Vec::new();
            for (number, part) in entry.index.iter().enumerate() {
                let bytes = artifact.index_part(variant, role, number).unwrap();
                check_stored(&bytes, part.digest, part.bytes).unwrap();
                for row in parse_index_part(&bytes).unwrap() {
                    rebuilt.extend(decode_chunk(&row, &artifact.read_chunk(&row).unwrap()).unwrap());
                }
            }
            prop_assert_eq!(&rebuilt, plain);
        }
    }
}

#[test]
fn files_that_are_equal_are_stored_once() {
    let pack = |variants: &[&str]| {
        let mut packer = Packer::new(draft(variants)).unwrap();
        for variant in variants {
            packer.add_file(variant, "model", &[1, 2, 3].repeat(50_000), &[]).unwrap();
            packer.add_file(variant, "golden", &golden().encode().unwrap(), &[]).unwrap();
        }
        let unsigned = packer.unsigned().unwrap();
        let manifest_bytes = unsigned.manifest_bytes().len();
        let bytes = sign(&unsigned, &[&release()]);
        assert_eq!(verify(&bytes).unwrap().read_file(variants[0], "model", 1 << 20).unwrap().len(), 150_000);
        bytes.len() - manifest_bytes.div_ceil(3) * 4
    };
    assert_eq!(pack(&["a", "b", "c"]), pack(&["a"]));
}

#[test]
fn every_object_is_visited_once() {
    let artifact = verify(&cask()).unwrap();
    let mut seen = BTreeSet::new();
    artifact
        .for_each_object::<ArtifactError>(|digest, bytes| {
            assert_eq!(Digest::of(bytes), digest);
            assert!(seen.insert(digest));
            Ok(())
        })
        .unwrap();
    assert_eq!(seen.len() as u64, artifact.object_count());
    for role in ["model", "golden"] {
        for row in artifact.index("int8", role).unwrap().rows {
            assert!(seen.contains(&row.stored_digest));
        }
        for part in &artifact.manifest().variant("int8").unwrap().files[role].index {
            assert!(seen.contains(&part.digest));
        }
    }
}

#[test]
fn a_file_is_extracted_and_a_limit_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model.onnx");
    std::fs::write(&out, "something older").unwrap();
    let artifact = verify(&cask()).unwrap();
    artifact.extract("int8", "model", &out).unwrap();
    assert_eq!(std::fs::read(&out).unwrap(), model());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    let error = artifact.read_file("int8", "model", model().len() as u64 - 1).unwrap_err();
    assert_eq!(error.reason(), "too-large");
}

#[test]
fn what_is_not_there_is_named() {
    let artifact = verify(&cask()).unwrap();
    let row = artifact.index("int8", "model").unwrap().rows[0];
    let stranger = runtime_artifact::ChunkRow { stored_digest: Digest::of(b"stranger"), ..row };
    assert_eq!(artifact.read_chunk(&stranger).unwrap_err().reason(), "no-such-file");
    assert_eq!(artifact.index_part("int8", "model", 1).unwrap_err().reason(), "no-such-file");
    assert_eq!(
        artifact.read_file("f32", "model", 9).unwrap_err().to_string(),
        "accept the request: found file \"model\" of variant \"f32\", expected golden of int8, model of int8; \
         choose a variant and a role that the manifest lists"
    );
}

#[test]
fn a_file_that_changes_after_it_was_verified_gives_errors_and_never_other_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("digits.cask");
    let good = cask();
    write_atomic(&path, &good).unwrap();
    let artifact = open(&path).unwrap().verify(root()).unwrap();
    let rows = artifact.index("int8", "model").unwrap().rows;
    // In place, as an attacker with the disk would: the open file sees it.
    let mut changed = good.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    std::fs::write(&path, &changed).unwrap();
    assert_eq!(artifact.read_file("int8", "model", 1000).unwrap_err().reason(), "chunk-digest-mismatch");
    assert_eq!(artifact.read_chunk(rows.last().unwrap()).unwrap_err().reason(), "chunk-digest-mismatch");
    assert!(artifact.extract("int8", "model", &folder.path().join("out")).is_err());
    assert!(!folder.path().join("out").exists());
    std::fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert_eq!(artifact.read_file("int8", "model", 1000).unwrap_err().reason(), "truncated");
}

#[test]
fn packing_refuses_what_a_reader_would_refuse() {
    let packer = || Packer::new(draft(&["int8"])).unwrap();
    assert!(matches!(packer().add_file("f32", "model", b"x", &[]), Err(PackError::UnknownVariant { .. })));
    assert!(matches!(packer().add_file("int8", "model", b"", &[]), Err(PackError::EmptyFile { .. })));
    assert!(matches!(packer().add_file("int8", "model", b"x", &[2]), Err(PackError::BorderOutside { found: 2, .. })));
    let mut twice = packer();
    twice.add_file("int8", "model", b"x", &[]).unwrap();
    assert!(matches!(twice.add_file("int8", "model", b"x", &[]), Err(PackError::DuplicateFile { .. })));
    assert!(matches!(twice.unsigned(), Err(PackError::Refused(error)) if error.reason() == "bad-value"));
    let mut named = draft(&["int8"]);
    named.name = "../digits".to_owned();
    let mut packer = Packer::new(named).unwrap();
    packer.add_file("int8", "model", b"x", &[]).unwrap();
    packer.add_file("int8", "golden", b"x", &[]).unwrap();
    assert!(matches!(packer.unsigned(), Err(PackError::Refused(error)) if error.reason() == "bad-name"));
    let mut long = draft(&["int8"]);
    long.contract.labels = vec!["x".repeat(41 << 10)];
    let mut packer = Packer::new(long).unwrap();
    packer.add_file("int8", "model", b"x", &[]).unwrap();
    packer.add_file("int8", "golden", b"x", &[]).unwrap();
    assert!(matches!(packer.unsigned(), Err(PackError::ManifestTooLarge { .. })));
}
