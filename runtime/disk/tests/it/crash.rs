//! A crash at any operation leaves the old file or the new one, whole.

use std::path::Path;

use proptest::prelude::*;
use runtime_disk::{Access, Disk, DiskError, EntryKind, MemoryDisk};

const FILE: &str = "folder/file";
const BYTES_MAX: u64 = 1 << 20;
const ENTRIES_MAX: usize = 64;

/// A disk whose `folder/file` durably holds `old` (nothing for `None`).
fn disk_with(old: Option<&[u8]>) -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_folder(Path::new("folder")).unwrap();
    if let Some(old) = old {
        disk.write_atomic(Path::new(FILE), old).unwrap();
    }
    disk
}

fn content(disk: &MemoryDisk) -> Option<Vec<u8>> {
    match disk.read_bounded(Path::new(FILE), BYTES_MAX) {
        Ok(bytes) => Some(bytes),
        Err(DiskError::NotFound { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Changing operations of one undisturbed `write`.
fn operations_of(old: Option<&[u8]>, write: impl Fn(&MemoryDisk) -> Result<(), DiskError>) -> u64 {
    let disk = disk_with(old);
    let before = disk.operations();
    write(&disk).unwrap();
    disk.operations() - before
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..200)
}

proptest! {
    #[test]
    fn write_atomic_leaves_old_or_new_whole(
        old in proptest::option::of(bytes()),
        new in bytes(),
        seed in any::<u64>(),
    ) {
        let write = |disk: &MemoryDisk| disk.write_atomic(Path::new(FILE), &new);
        let operations = operations_of(old.as_deref(), write);
        prop_assert!(operations >= 5, "create, write, sync, rename, sync: found {operations}");
        for cut in 0..=operations {
            let disk = disk_with(old.as_deref());
            disk.cut_power_after(cut);
            let result = write(&disk);
            disk.crash_torn(seed.wrapping_add(cut));
            let found = content(&disk);
            if result.is_ok() {
                prop_assert_eq!(found.as_ref(), Some(&new), "acknowledged, then lost at {}", cut);
            } else {
                prop_assert!(found == old || found.as_ref() == Some(&new), "cut {}: {:?}", cut, found);
            }
            // The next write succeeds in spite of whatever the crash left, and the sweep removes just that.
            write(&disk).unwrap();
            disk.remove_leftovers(Path::new("folder"), ENTRIES_MAX).unwrap();
            let left = disk.list(Path::new("folder"), ENTRIES_MAX).unwrap();
            prop_assert_eq!(left.len(), 1);
            prop_assert_eq!(content(&disk), Some(new.clone()));
        }
    }

    #[test]
    fn a_failing_operation_leaves_old_or_new_whole(old in proptest::option::of(bytes()), new in bytes()) {
        let write = |disk: &MemoryDisk| disk.write_private(Path::new(FILE), &new);
        for at in 0..operations_of(old.as_deref(), write) {
            let disk = disk_with(old.as_deref());
            disk.fail_after(at);
            write(&disk).unwrap_err();
            let found = content(&disk);
            prop_assert!(found == old || found.as_ref() == Some(&new), "failure {}: {:?}", at, found);
            let left = disk.list(Path::new("folder"), ENTRIES_MAX).unwrap();
            prop_assert_eq!(left.len(), usize::from(found.is_some()), "no temporary file stays");
        }
    }

    #[test]
    fn rename_durable_never_loses_the_file(new in bytes(), seed in any::<u64>(), same_folder in any::<bool>()) {
        let to = if same_folder { "folder/other" } else { "elsewhere/other" };
        let prepared = || {
            let disk = disk_with(Some(&new));
            disk.create_folder(Path::new("elsewhere")).unwrap();
            disk
        };
        for cut in 0..4 {
            let disk = prepared();
            disk.cut_power_after(cut);
            let result = disk.rename_durable(Path::new(FILE), Path::new(to));
            disk.crash_torn(seed.wrapping_add(cut));
            let arrived = disk.read_bounded(Path::new(to), BYTES_MAX).ok();
            prop_assert!(arrived.is_some() || content(&disk).is_some(), "lost at {}", cut);
            for found in [arrived.clone(), content(&disk)].into_iter().flatten() {
                prop_assert_eq!(&found, &new);
            }
            if result.is_ok() {
                prop_assert_eq!(arrived, Some(new.clone()));
                prop_assert_eq!(content(&disk), None);
            }
        }
    }
}

/// Writes like `write_atomic` with one step left out.
fn write_without(disk: &MemoryDisk, new: &[u8], left_out: &str) -> Result<(), DiskError> {
    let temporary = Path::new("folder/temporary");
    let file = disk.create_new(temporary, Access::Shared)?;
    file.write_at(0, new)?;
    if left_out != "sync" {
        file.sync()?;
    }
    disk.rename(temporary, Path::new(FILE))?;
    if left_out != "sync_folder" {
        disk.sync_folder(Path::new("folder"))?;
    }
    Ok(())
}

/// The control of the properties above: the double does punish each step left out.
#[test]
fn the_double_catches_a_missing_sync() {
    let new = vec![7; 100];
    for left_out in ["sync", "sync_folder", "nothing"] {
        let damaged = (0..50_u64).any(|seed| {
            let disk = disk_with(Some(b"old"));
            write_without(&disk, &new, left_out).unwrap();
            disk.crash_torn(seed);
            content(&disk).as_ref() != Some(&new)
        });
        assert_eq!(damaged, left_out != "nothing", "{left_out} left out");
    }
}

#[test]
fn a_crash_forgets_what_was_not_synced() {
    let disk = disk_with(Some(b"old"));
    let file = disk.open_write(Path::new(FILE)).unwrap();
    file.write_at(0, b"new").unwrap();
    assert_eq!(content(&disk).unwrap(), b"new");
    disk.crash();
    assert_eq!(content(&disk).unwrap(), b"old");
    let error = file.write_at(0, b"new").unwrap_err();
    assert!(error.to_string().contains("the power is off"), "{error}");
}

#[test]
fn a_folder_created_survives_with_its_parents() {
    for cut in 0..=6 {
        let disk = MemoryDisk::new();
        disk.cut_power_after(cut);
        let result = disk.create_folder(Path::new("a/b/c"));
        disk.crash();
        if result.is_ok() {
            assert!(disk.exists(Path::new("a/b/c")).unwrap(), "cut {cut}");
            assert_eq!(disk.list(Path::new("a"), 9).unwrap()[0].kind, EntryKind::Folder);
        }
        disk.create_folder(Path::new("a/b/c")).unwrap();
    }
}

#[test]
fn appended_records_survive_their_sync() {
    let disk = disk_with(None);
    let mut journal = disk.open_append(Path::new(FILE)).unwrap();
    journal.append(b"one").unwrap();
    journal.sync().unwrap();
    journal.append(b"two").unwrap();
    disk.crash();
    assert_eq!(content(&disk).unwrap(), b"one");
    let mut journal = disk.open_append(Path::new(FILE)).unwrap();
    assert_eq!(journal.bytes(), 3);
    journal.append(b"two").unwrap();
    journal.sync().unwrap();
    disk.crash();
    assert_eq!(content(&disk).unwrap(), b"onetwo");
}
