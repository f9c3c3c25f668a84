//! The double answers like the real disk: the same calls, on both, with the same results.

use std::path::Path;

use runtime_disk::{Disk, DiskError, EntryKind, MemoryDisk, RealDisk};

/// Runs `check` on both disks, each in an empty folder.
fn on_both(check: impl Fn(&dyn Disk, &Path)) {
    let folder = tempfile::tempdir().unwrap();
    check(&RealDisk, folder.path());
    let memory = MemoryDisk::new();
    memory.create_folder(Path::new("/root")).unwrap();
    check(&memory, Path::new("/root"));
}

#[test]
fn read_is_bounded() {
    on_both(|disk, folder| {
        let path = folder.join("file");
        disk.write_atomic(&path, b"12345").unwrap();
        assert_eq!(disk.read_bounded(&path, 5).unwrap(), b"12345");
        let error = disk.read_bounded(&path, 4).unwrap_err();
        assert!(matches!(error, DiskError::TooLarge { found: 5, max: 4, .. }), "{error}");
        assert_eq!(error.path(), path);
    });
}

#[test]
fn a_missing_file_is_told_by_its_path() {
    on_both(|disk, folder| {
        let path = folder.join("missing");
        for error in [
            disk.read_bounded(&path, 9).unwrap_err(),
            disk.open_read(&path).unwrap_err(),
            disk.open_write(&path).unwrap_err(),
            disk.file_bytes(&path).unwrap_err(),
            disk.remove_file(&path).unwrap_err(),
            disk.remove_folder(&path).unwrap_err(),
            disk.list(&path, 9).unwrap_err(),
            disk.rename(&path, &folder.join("other")).unwrap_err(),
            disk.write_atomic(&path.join("file"), b"").unwrap_err(),
        ] {
            assert!(error.is_not_found(), "{error}");
            assert!(error.to_string().contains("missing"), "{error}");
        }
        assert!(!disk.exists(&path).unwrap());
    });
}

#[test]
fn positioned_reads_and_writes() {
    on_both(|disk, folder| {
        let path = folder.join("file");
        let file = disk.create_file(&path).unwrap();
        file.write_at(4, b"def").unwrap();
        file.write_at(0, b"abc").unwrap();
        file.set_bytes(9).unwrap();
        file.sync().unwrap();
        assert_eq!(disk.read_bounded(&path, 9).unwrap(), b"abc\0def\0\0");
        let reader = disk.open_read(&path).unwrap();
        assert_eq!(reader.bytes(), 9);
        let mut part = [0; 3];
        reader.read_at(4, &mut part).unwrap();
        assert_eq!(&part, b"def");
        let error = reader.read_at(7, &mut part).unwrap_err();
        assert!(matches!(error, DiskError::TooShort { offset: 7, wanted: 3, found: 9, .. }), "{error}");
        reader.read_at(u64::MAX - 1, &mut part).unwrap_err();
        assert_eq!(disk.create_file(&path).unwrap().write_at(0, b"").ok(), Some(()));
        assert_eq!(disk.file_bytes(&path).unwrap(), 0, "create empties");
        let error = disk.create_new(&path, runtime_disk::Access::Private).unwrap_err();
        assert!(matches!(error, DiskError::AlreadyExists { .. }), "{error}");
    });
}

#[test]
fn folders_are_listed_sorted_and_bounded() {
    on_both(|disk, folder| {
        disk.create_folder(&folder.join("b/deep")).unwrap();
        disk.write_atomic(&folder.join("c"), b"").unwrap();
        disk.write_atomic(&folder.join("a"), b"").unwrap();
        let entries = disk.list(folder, 3).unwrap();
        let seen: Vec<_> = entries.iter().map(|entry| (entry.name.to_str().unwrap(), entry.kind)).collect();
        assert_eq!(seen, [("a", EntryKind::File), ("b", EntryKind::Folder), ("c", EntryKind::File)]);
        let error = disk.list(folder, 2).unwrap_err();
        assert!(matches!(error, DiskError::TooManyEntries { max: 2, .. }), "{error}");
        disk.remove_folder(&folder.join("b")).unwrap();
        assert!(!disk.exists(&folder.join("b")).unwrap());
        let in_the_way = disk.create_folder(&folder.join("a/x")).unwrap_err();
        assert!(!in_the_way.to_string().is_empty());
    });
}

#[test]
fn a_folder_has_one_owner() {
    on_both(|disk, folder| {
        let held = disk.lock(folder).unwrap();
        let error = disk.lock(folder).unwrap_err();
        let DiskError::InUse { path, pid } = &error else {
            panic!("{error}");
        };
        assert_eq!((path.as_path(), *pid), (folder, Some(std::process::id())));
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(held);
        drop(disk.lock(folder).unwrap());
    });
}

#[test]
fn rename_moves_whole_folders() {
    on_both(|disk, folder| {
        disk.create_folder(&folder.join("candidate")).unwrap();
        disk.write_atomic(&folder.join("candidate/model"), b"m").unwrap();
        disk.create_folder(&folder.join("slots")).unwrap();
        disk.rename_durable(&folder.join("candidate"), &folder.join("slots/one")).unwrap();
        assert_eq!(disk.read_bounded(&folder.join("slots/one/model"), 1).unwrap(), b"m");
        disk.write_atomic(&folder.join("file"), b"f").unwrap();
        disk.rename(&folder.join("file"), &folder.join("slots")).unwrap_err();
        assert_eq!(disk.read_bounded(&folder.join("file"), 1).unwrap(), b"f");
    });
}

#[test]
fn a_full_disk_says_how_much_is_missing() {
    let disk = MemoryDisk::new();
    disk.write_atomic(Path::new("file"), b"old").unwrap();
    disk.fill_up(10);
    assert_eq!(disk.free_bytes(Path::new("file")).unwrap(), 10);
    let error = disk.write_atomic(Path::new("file"), &[0; 64]).unwrap_err();
    assert!(matches!(error, DiskError::NoSpace { missing_bytes: 54, .. }), "{error}");
    assert_eq!(disk.read_bounded(Path::new("file"), 9).unwrap(), b"old");
    assert_eq!(disk.list(Path::new("/"), 9).unwrap().len(), 1, "the temporary file is gone");

    let file = disk.create_file(Path::new("slot")).unwrap();
    let error = file.reserve(1 << 60).unwrap_err();
    assert!(matches!(error, DiskError::NoSpace { .. }), "{error}");
    file.reserve(10).unwrap();
    let error = disk.write_atomic(Path::new("file"), b"new").unwrap_err();
    assert!(matches!(error, DiskError::NoSpace { missing_bytes: 3, .. }), "{error}");
    file.write_at(0, &[1; 10]).expect("room was reserved");
    disk.free_up();
    disk.write_atomic(Path::new("file"), b"new").unwrap();
}
