//! Files of every past format are read for ever; a newer one is refused by its number.
//!
//! `tests/golden/format-1.cask` was written by [`write`]. It is never written again when the packer changes: the
//! test is that old bytes are still read.

use std::path::{Path, PathBuf};

use runtime_artifact::{ErrorClass, GoldenSet, open};
use runtime_trust::{Digest, Root};

use crate::fixture::{cask, golden, model, root_bytes};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Makes the golden files when `CASK_WRITE_GOLDEN` names an empty or missing folder. Deterministic: fixed keys,
/// fixed content, one thread.
#[test]
fn write() {
    assert_eq!(cask(), cask(), "packing the same draft twice gives the same bytes");
    if let Some(folder) = std::env::var_os("CASK_WRITE_GOLDEN") {
        let folder = PathBuf::from(folder);
        runtime_disk::create_folder(&folder).unwrap();
        for (name, bytes) in [("format-1.cask", cask()), ("format-1.root.json", root_bytes(1))] {
            assert!(!folder.join(name).exists(), "a golden file is never written over");
            runtime_disk::write_atomic(&folder.join(name), &bytes).unwrap();
        }
    }
}

#[test]
fn format_1_is_read() {
    let root = Root::pin(&std::fs::read(path("format-1.root.json")).unwrap()).unwrap();
    let file = path("format-1.cask");
    let artifact = open(&file).unwrap().verify(&root).unwrap();
    let manifest = artifact.manifest();
    assert_eq!((manifest.name.as_str(), manifest.number), ("digits", 1));
    assert_eq!(manifest.version.to_string(), "1.0.0");
    assert_eq!(artifact.read_file("int8", "model", 1000).unwrap(), model());
    let set = GoldenSet::decode(&artifact.read_file("int8", "golden", 1000).unwrap()).unwrap();
    assert_eq!(set, golden());
    assert_eq!(artifact.index("int8", "model").unwrap().plain_bytes(), model().len() as u64);
    // The name of the artifact never changes either.
    let expected = "f3f26a715c20e32ad8a4346e950244487acf83249b47ccf598dc59aafc4ffb1c".parse::<Digest>();
    assert_eq!(Ok(artifact.digest()), expected);
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("newer.cask");
    let mut bytes = std::fs::read(path("format-1.cask")).unwrap();
    bytes[8] = 2;
    std::fs::write(&file, &bytes).unwrap();
    let error = open(&file).unwrap_err();
    assert_eq!(
        error.to_string(),
        "accept the header: found format 2, expected format 1; use a newer version of this program"
    );
    assert_eq!((error.reason(), error.class()), ("unknown-format", ErrorClass::Unsupported));
}
