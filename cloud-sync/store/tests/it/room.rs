//! A full disk: the error says how much is missing, and what was there stays.

use cloud_sync_store::{ErrorClass, StoreError};
use runtime_disk::MemoryDisk;

use crate::fixture::{MODEL, V1, V2, open, state};

#[test]
fn room_is_taken_before_the_first_byte() {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    let one = V1.install(&store).unwrap().slot_ref();
    store.commit(state(Some(&one), Some(&one), None)).unwrap();
    disk.fill_up(100_000);
    let error = V2.begin(&store).unwrap_err();
    let StoreError::NoRoom { missing_bytes } = error else { panic!("{error}") };
    assert_eq!(error.class(), ErrorClass::NoRoomOrInUse);
    assert_eq!(store.collect_garbage().unwrap().slots, 0, "nothing was left behind");
    V1.check(&store.slot(&one).unwrap()).unwrap();
    assert_eq!(store.state().models[MODEL].active, Some(one.clone()));
    // One byte less than was said to be missing is not enough; what was said is.
    disk.fill_up(100_000 + missing_bytes - 1);
    assert!(matches!(V2.begin(&store), Err(StoreError::NoRoom { missing_bytes: 1 })));
    disk.fill_up(100_000 + missing_bytes);
    V2.check(&V2.install(&store).unwrap()).unwrap();
}

#[test]
fn what_was_reserved_is_not_taken_by_others() {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    let mut candidate = V1.begin(&store).unwrap();
    // The disk fills up while the artifact is fetched; small files still have their room.
    disk.fill_up(64 * 1024);
    candidate.fill_from(&V1.artifact).unwrap();
    V1.check(&candidate.finish().unwrap()).unwrap();
}

#[test]
fn a_disk_that_fills_up_to_the_last_byte_costs_only_the_candidate() {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    let one = V1.install(&store).unwrap().slot_ref();
    store.commit(state(Some(&one), Some(&one), None)).unwrap();
    let mut candidate = V2.begin(&store).unwrap();
    disk.fill_up(0);
    let error = candidate.fill_from(&V2.artifact).unwrap_err();
    assert!(matches!(error, StoreError::NoRoom { .. }), "{error}");
    drop(candidate);
    let error = store.commit(state(Some(&one), None, None)).unwrap_err();
    assert!(matches!(error, StoreError::NoRoom { .. }), "{error}");
    V1.check(&store.slot(&one).unwrap()).unwrap();
    disk.free_up();
    V2.check(&V2.install(&store).unwrap()).unwrap();
}

#[test]
fn what_is_already_there_needs_no_room_again() {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    drop(V1.begin(&store).unwrap());
    // Room for what is small, not for the files.
    disk.fill_up(290_000);
    V1.check(&V1.install(&store).unwrap()).unwrap();
}
