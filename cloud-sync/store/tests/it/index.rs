//! The chunk index may be damaged or lost: it costs bytes, never an error.

use std::path::Path;

use cloud_sync_store::Store;

use crate::fixture::{V1, V2, state};

/// Bytes that an update to version 2 has to fetch.
fn fetched(store: &Store) -> u64 {
    let mut candidate = V2.begin(store).unwrap();
    V2.index(&mut candidate);
    let fetched = candidate.missing_bytes();
    candidate.fill_from(&V2.artifact).unwrap();
    V2.check(&candidate.finish().unwrap()).unwrap();
    fetched
}

fn with_version_1(folder: &Path) {
    let store = Store::open(folder).unwrap();
    let one = V1.install(&store).unwrap().slot_ref();
    store.commit(state(Some(&one), Some(&one), None)).unwrap();
}

#[test]
fn a_lost_index_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    with_version_1(folder.path());
    assert!(folder.path().join("chunks").is_dir());
    std::fs::remove_dir_all(folder.path().join("chunks")).unwrap();
    assert_eq!(fetched(&Store::open(folder.path()).unwrap()), 100_000);
}

#[test]
fn an_index_that_is_no_database_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    with_version_1(folder.path());
    std::fs::remove_dir_all(folder.path().join("chunks")).unwrap();
    std::fs::write(folder.path().join("chunks"), "a file where a folder should be").unwrap();
    // Not a folder: it cannot be removed as one, so the index is kept in memory; the update still copies.
    assert_eq!(fetched(&Store::open(folder.path()).unwrap()), 100_000);
}

#[test]
fn a_store_that_only_serves_opens_no_database() {
    let folder = tempfile::tempdir().unwrap();
    with_version_1(folder.path());
    std::fs::remove_dir_all(folder.path().join("chunks")).unwrap();
    let store = Store::open(folder.path()).unwrap();
    let active = store.state().models["digits"].active.clone().unwrap();
    V1.check(&store.slot(&active).unwrap()).unwrap();
    store.collect_garbage().unwrap();
    assert!(!folder.path().join("chunks").exists());
}

/// Bytes of the database are overwritten at many places. An update then copies or fetches, and never fails.
#[test]
fn a_damaged_database_costs_bytes_and_never_an_error() {
    let prepared = tempfile::tempdir().unwrap();
    with_version_1(prepared.path());
    let chunks = prepared.path().join("chunks");
    let mut files: Vec<_> = walk(&chunks);
    files.sort();
    assert!(!files.is_empty());
    for round in 0..24_usize {
        let folder = tempfile::tempdir().unwrap();
        copy(prepared.path(), folder.path());
        for file in &files {
            let target = folder.path().join(file.strip_prefix(prepared.path()).unwrap());
            let mut bytes = std::fs::read(&target).unwrap();
            // Only as far as something was written: the rest of a segment is zeros.
            let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            if used > 0 {
                let at = used * round / 24;
                bytes[at] ^= 1 << (round % 8);
                std::fs::write(&target, bytes).unwrap();
            }
        }
        let fetched = fetched(&Store::open(folder.path()).unwrap());
        assert!((100_000..=V2.model.len() as u64 + 100).contains(&fetched), "round {round}: {fetched}");
    }
}

pub fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

pub fn copy(from: &Path, to: &Path) {
    for file in walk(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, &target).unwrap();
    }
}
