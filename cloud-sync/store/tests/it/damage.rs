//! Bits that flip on the disk after a slot was whole.

use cloud_sync_store::{ErrorClass, Store, StoreError};

use crate::fixture::V1;

fn flip(path: &std::path::Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_never_reaches_an_engine_and_is_repaired_by_fetching_one_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let slot = V1.install(&store).unwrap();
    let path = slot.file("int8", "model").unwrap();
    flip(&path, 150_000);
    let error = slot.read_file("int8", "model", 1 << 20).unwrap_err();
    assert_eq!((error.reason(), error.class()), ("damaged-store", ErrorClass::Damaged));
    assert!(error.to_string().contains("install the artifact again"), "{error}");
    let mut candidate = V1.begin(&store).unwrap();
    assert_eq!(candidate.missing().len(), 1, "only the chunk with the flipped bit");
    assert!(matches!(store.slot(&slot.slot_ref()), Err(StoreError::NotWhole { found: "unfinished", .. })));
    candidate.fill_from(&V1.artifact).unwrap();
    V1.check(&candidate.finish().unwrap()).unwrap();
}

#[test]
fn a_missing_short_or_long_file_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let slot = V1.install(&store).unwrap();
    let path = slot.file("int8", "model").unwrap();
    let good = std::fs::read(&path).unwrap();
    let damages: [&dyn Fn(); 3] =
        [&|| std::fs::remove_file(&path).unwrap(), &|| std::fs::write(&path, &good[..1000]).unwrap(), &|| {
            std::fs::write(&path, [good.as_slice(), b"more"].concat()).unwrap()
        }];
    for damage in damages {
        damage();
        assert_eq!(slot.read_file("int8", "model", 1 << 20).unwrap_err().class(), ErrorClass::Damaged);
        V1.check(&V1.install(&store).unwrap()).unwrap();
    }
}

#[test]
fn damage_beside_the_files_is_told_and_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let reference = V1.install(&store).unwrap().slot_ref();
    let slot = folder.path().join("slots").join(&reference.folder);
    for name in ["envelope", "whole"] {
        flip(&slot.join(name), 5);
        let error = store.slot(&reference).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Damaged, "{name}: {error}");
        // The envelope is written again and the mark is made anew; files that are good are kept.
        std::fs::remove_file(slot.join("whole")).unwrap();
        let mut candidate = V1.begin(&store).unwrap();
        candidate.fill_from(&V1.artifact).unwrap();
        V1.check(&candidate.finish().unwrap()).unwrap();
    }
    let part = std::fs::read_dir(&slot)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("index-"))
        .unwrap();
    flip(&part, 30);
    flip(&store.slot(&reference).unwrap().file("int8", "model").unwrap(), 1);
    let mut candidate = V1.begin(&store).unwrap();
    assert_eq!(candidate.missing_index().len(), 1, "the damaged part is fetched again");
    candidate.fill_from(&V1.artifact).unwrap();
    V1.check(&candidate.finish().unwrap()).unwrap();
}
