//! The power is cut at every operation of an update, in several ways each.

use cloud_sync_store::{DeviceState, SlotRef, Store, StoreError};
use proptest::prelude::*;
use runtime_disk::MemoryDisk;

use crate::fixture::{MODEL, V1, V2, open, state};

/// Version 1 is active and last good.
fn prepared() -> (MemoryDisk, SlotRef) {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    let one = V1.install(&store).unwrap().slot_ref();
    store.commit(state(Some(&one), Some(&one), None)).unwrap();
    (disk, one)
}

/// The update to version 2 as a device does it. Every state that was committed is pushed to `committed`.
fn update(store: &Store, one: &SlotRef, committed: &mut Vec<DeviceState>) -> Result<(), StoreError> {
    let mut commit = |next: DeviceState| {
        // Pushed before: when the power goes inside the commit, either state may be there.
        committed.push(next.clone());
        store.commit(next)
    };
    let mut candidate = V2.begin(store)?;
    let two = candidate.slot_ref();
    commit(state(Some(one), Some(one), Some(&two)))?;
    candidate.fill_from(&V2.artifact)?;
    candidate.finish()?;
    commit(state(Some(&two), Some(one), None))?;
    store.collect_garbage()?;
    Ok(())
}

/// What must hold after any crash: the state is the last committed one or the one before, the slots that it relies on
/// are whole, and the update can be done from here.
fn check(disk: &MemoryDisk, one: &SlotRef, committed: &[DeviceState], acknowledged: bool) {
    let store = open(disk).expect("the store opens after a crash");
    let found = store.state();
    let last = committed.len() - 1;
    let allowed = if acknowledged { &committed[last..] } else { &committed[last.saturating_sub(1)..] };
    assert!(allowed.contains(&found), "found {found:?}, expected one of {allowed:?}");
    let model = &found.models[MODEL];
    V1.check(&store.slot(model.last_good.as_ref().unwrap()).unwrap()).unwrap();
    let active = store.slot(model.active.as_ref().unwrap()).unwrap();
    if model.active.as_ref() == Some(one) {
        V1.check(&active).unwrap()
    } else {
        V2.check(&active).unwrap()
    }
    update(&store, one, &mut Vec::new()).expect("the update goes on from what is there");
    let two = store.state().models[MODEL].active.clone().unwrap();
    V2.check(&store.slot(&two).unwrap()).unwrap();
    V1.check(&store.slot(one).unwrap()).unwrap();
    // Only the two slots are left.
    assert_eq!(store.collect_garbage().unwrap().slots, 0);
}

fn operations_of_an_update() -> u64 {
    let (disk, one) = prepared();
    let store = open(&disk).unwrap();
    let before = disk.operations();
    update(&store, &one, &mut Vec::new()).unwrap();
    disk.operations() - before
}

/// Cuts the power after `operations` of an update; the rest is forgotten as `torn` says. Then checks.
fn cut(operations: u64, torn: Option<u64>) {
    let (disk, one) = prepared();
    let store = open(&disk).unwrap();
    let mut committed = vec![store.state()];
    disk.cut_power_after(operations);
    let result = update(&store, &one, &mut committed);
    match torn {
        None => disk.crash(),
        Some(seed) => disk.crash_torn(seed),
    }
    drop(store);
    check(&disk, &one, &committed, result.is_ok());
}

#[test]
fn a_power_cut_at_any_operation_leaves_the_old_or_the_new() {
    let operations = operations_of_an_update();
    assert!(operations > 40, "an update has {operations} operations");
    for at in 0..=operations {
        cut(at, None);
        for seed in 0..2 {
            cut(at, Some(at * 1000 + seed));
        }
    }
}

#[test]
fn a_failing_operation_is_an_error_and_loses_nothing() {
    for at in 0..operations_of_an_update() {
        let (disk, one) = prepared();
        let store = open(&disk).unwrap();
        let mut committed = vec![store.state()];
        disk.fail_after(at);
        // One operation fails and the process goes on: the device tries again without a restart.
        let _ = update(&store, &one, &mut committed);
        let model = store.state().models[MODEL].clone();
        V1.check(&store.slot(&one).unwrap()).unwrap();
        assert!(model.active.is_some());
        update(&store, &one, &mut Vec::new()).unwrap_or_else(|error| panic!("operation {at}: {error}"));
        drop(store);
        let store = open(&disk).unwrap();
        let two = store.state().models[MODEL].active.clone().unwrap();
        V2.check(&store.slot(&two).unwrap()).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// The power goes several times in one update, each time torn in another way.
    #[test]
    fn several_power_cuts_lose_nothing(cuts in proptest::collection::vec((0_u64..80, any::<u64>()), 1..5)) {
        let (disk, one) = prepared();
        let mut committed = vec![open(&disk).unwrap().state()];
        let mut acknowledged = true;
        for (operations, seed) in cuts {
            let store = match open(&disk) {
                Ok(store) => store,
                Err(error) => panic!("the store does not open: {error}"),
            };
            prop_assert!(committed.contains(&store.state()));
            committed = vec![store.state()];
            disk.cut_power_after(operations);
            acknowledged = update(&store, &one, &mut committed).is_ok();
            disk.crash_torn(seed);
        }
        check(&disk, &one, &committed, acknowledged);
    }
}
