//! The state file and the folder's lock.

use cloud_sync_store::{DeviceState, ErrorClass, ModelState, REFUSED_MAX, Refused, SlotRef, Store, StoreError};
use runtime_disk::MemoryDisk;
use runtime_trust::Digest;

use crate::fixture::{MODEL, V1, V2, open, state};

#[test]
fn a_new_folder_has_an_empty_state_and_a_commit_survives() {
    let folder = tempfile::tempdir().unwrap();
    let device = folder.path().join("a/b");
    let store = Store::open(&device).unwrap();
    assert_eq!(store.folder(), device);
    assert_eq!(store.state(), DeviceState::default());
    let committed = state(None, None, None);
    store.commit(committed.clone()).unwrap();
    assert_eq!(store.state(), committed);
    drop(store);
    assert_eq!(Store::open(&device).unwrap().state(), committed);
}

#[test]
fn a_second_opener_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NoRoomOrInUse);
    assert_eq!(
        error.to_string(),
        format!(
            "open the device folder {}: it is in use by process {}; stop that process or choose another folder",
            folder.path().display(),
            std::process::id()
        )
    );
    // A candidate keeps the folder, too.
    let candidate = V1.begin(&store).unwrap();
    drop(store);
    assert!(matches!(Store::open(folder.path()), Err(StoreError::InUse { .. })));
    drop(candidate);
    Store::open(folder.path()).unwrap();
}

#[test]
fn a_damaged_or_newer_state_is_an_error_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    Store::open(folder.path()).unwrap().commit(state(None, None, None)).unwrap();
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [flipped, good[..20].to_vec(), Vec::new(), vec![0; 5 << 20]] {
        std::fs::write(&path, &damaged).unwrap();
        let error = Store::open(folder.path()).unwrap_err();
        assert_eq!((error.reason(), error.class()), ("damaged-store", ErrorClass::Damaged), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), damaged, "evidence is not written over");
    }
    std::fs::write(&path, &good).unwrap();
    assert_eq!(Store::open(folder.path()).unwrap().state(), state(None, None, None));
}

#[test]
fn only_whole_slots_become_active_or_last_good() {
    let store = open(&MemoryDisk::new()).unwrap();
    let candidate = V1.begin(&store).unwrap();
    let one = candidate.slot_ref();
    for wrong in [state(Some(&one), None, None), state(None, Some(&one), None)] {
        let error = store.commit(wrong).unwrap_err();
        assert!(matches!(error, StoreError::NotWhole { found: "unfinished", .. }), "{error}");
    }
    assert_eq!(store.state(), DeviceState::default());
    store.commit(state(None, None, Some(&one))).unwrap();
    drop(candidate);
    V1.install(&store).unwrap();
    store.commit(state(Some(&one), None, None)).unwrap();
    let elsewhere = SlotRef { folder: "../../etc".to_owned(), ..one.clone() };
    assert!(matches!(store.commit(state(Some(&elsewhere), None, None)), Err(StoreError::NotWhole { .. })));
    assert!(matches!(store.slot(&elsewhere), Err(StoreError::NotWhole { .. })));
    let mistaken = SlotRef { digest: Digest::of(b"other"), ..one };
    assert!(matches!(store.slot(&mistaken), Err(StoreError::Damaged { .. })));
}

#[test]
fn old_refusals_and_large_states_are_bounded() {
    let store = open(&MemoryDisk::new()).unwrap();
    let refused = |number: u8| Refused {
        digest: Digest::of(&[number]),
        sequence: Some(u64::from(number)),
        step: 9,
        reason: "golden-mismatch".to_owned(),
        message: String::new(),
    };
    let model = ModelState { refused: (0..100).map(refused).collect(), ..ModelState::default() };
    store.commit(DeviceState { trust: Vec::new(), models: [(MODEL.to_owned(), model)].into() }).unwrap();
    let kept = store.state().models[MODEL].refused.clone();
    assert_eq!(kept.len(), REFUSED_MAX);
    assert_eq!(kept.last(), Some(&refused(99)));
    let large = DeviceState { trust: vec![0; 5 << 20], ..DeviceState::default() };
    assert!(matches!(store.commit(large), Err(StoreError::StateTooLarge { .. })));
}

#[test]
fn leftovers_of_a_crash_are_swept_up() {
    let folder = tempfile::tempdir().unwrap();
    let leftover = folder.path().join(".state.1-0.cask-tmp");
    std::fs::write(&leftover, "half a state").unwrap();
    Store::open(folder.path()).unwrap();
    assert!(!leftover.exists());
}

/// The last step of a commit fails: the new state may be on the disk all the same, and what it names must stay.
#[test]
fn what_a_failed_commit_named_is_not_garbage() {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    let (one, two) = (V1.install(&store).unwrap().slot_ref(), V2.install(&store).unwrap().slot_ref());
    let before = disk.operations();
    store.commit(state(Some(&one), None, None)).unwrap();
    let operations = disk.operations() - before;
    disk.fail_after(operations - 1);
    store.commit(state(Some(&two), None, None)).unwrap_err();
    assert_eq!(store.state(), state(Some(&one), None, None));
    assert_eq!(store.collect_garbage().unwrap().slots, 0);
    drop(store);
    let store = open(&disk).unwrap();
    assert_eq!(store.state(), state(Some(&two), None, None), "the rename was done before the failure");
    V2.check(&store.slot(&two).unwrap()).unwrap();
    // Nothing is in doubt any more.
    store.commit(state(Some(&two), None, None)).unwrap();
    assert_eq!(store.collect_garbage().unwrap().slots, 1);
}
