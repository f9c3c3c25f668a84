//! What only the real file system can show: modes, links, pipes, full devices, other processes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use runtime_disk::{AppendFile, DiskError, FolderLock, LOCK_FILE, ReadFile, WriteFile};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn secrets_are_private_even_where_a_public_file_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    runtime_disk::write_private(&path, b"secret").unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read(&path).unwrap(), b"secret");
}

#[test]
fn a_link_is_replaced_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (target, link) = (folder.path().join("target"), folder.path().join("link"));
    fs::write(&target, "target").unwrap();
    symlink(&target, &link).unwrap();
    runtime_disk::write_atomic(&link, b"new").unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"target");
    assert!(fs::symlink_metadata(&link).unwrap().is_file());
}

#[test]
fn removing_a_folder_spares_what_its_links_point_to() {
    let folder = tempfile::tempdir().unwrap();
    let (kept, removed) = (folder.path().join("kept"), folder.path().join("removed"));
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("file"), "kept").unwrap();
    fs::create_dir(&removed).unwrap();
    symlink(&kept, removed.join("link")).unwrap();
    runtime_disk::remove_folder(&removed).unwrap();
    assert_eq!(fs::read(kept.join("file")).unwrap(), b"kept");
}

#[test]
fn a_pipe_is_refused_without_waiting_for_a_writer() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let error = ReadFile::open(&pipe).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
    let error = ReadFile::open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_endless_file_is_cut_at_the_limit() {
    let error = runtime_disk::read_bounded(Path::new("/dev/zero"), 100).unwrap_err();
    assert!(matches!(error, DiskError::TooLarge { max: 100, .. }), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_no_space() {
    let full = WriteFile::open(Path::new("/dev/full")).unwrap();
    let error = full.write_at(0, b"data").unwrap_err();
    let DiskError::NoSpace { missing_bytes, .. } = error else {
        panic!("{error}");
    };
    assert!(missing_bytes >= 1);
}

#[test]
fn more_room_than_the_disk_has_is_refused_by_number_and_takes_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let file = WriteFile::create(&path).unwrap();
    let wanted = 1 << 60;
    let error = file.reserve(wanted).unwrap_err();
    let DiskError::NoSpace { missing_bytes, .. } = error else {
        panic!("{error}");
    };
    assert!(missing_bytes > 0 && missing_bytes < wanted);
    assert_eq!(runtime_disk::file_bytes(&path).unwrap(), 0);
    assert_eq!(fs::metadata(&path).unwrap().blocks(), 0);
    file.reserve(4096).unwrap();
    file.reserve(4096).expect("the room is already taken");
    assert_eq!(runtime_disk::file_bytes(&path).unwrap(), 4096);
}

#[test]
fn a_lock_outlives_nothing_and_keeps_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let first = FolderLock::acquire(folder.path()).unwrap();
    assert_eq!(first.folder(), folder.path());
    drop(first);
    assert!(folder.path().join(LOCK_FILE).exists());
    // A dead owner's number is not believed.
    fs::write(folder.path().join(LOCK_FILE), "1\n").unwrap();
    let second = FolderLock::acquire(folder.path()).unwrap();
    let number = fs::read_to_string(folder.path().join(LOCK_FILE)).unwrap();
    assert_eq!(number.trim(), std::process::id().to_string());
    // Before the owner has written its number, the refusal names nobody.
    fs::write(folder.path().join(LOCK_FILE), "").unwrap();
    let error = FolderLock::acquire(folder.path()).unwrap_err();
    assert!(matches!(error, DiskError::InUse { pid: None, .. }), "{error}");
    assert!(error.to_string().contains("another process"), "{error}");
    drop(second);
}

#[test]
fn a_path_without_a_file_name_is_refused() {
    let error = runtime_disk::write_atomic(Path::new("/"), b"").unwrap_err();
    assert!(error.to_string().contains("no file name"), "{error}");
}

#[test]
fn appending_continues_where_the_file_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut journal = AppendFile::open(&path).unwrap();
    assert!(journal.is_empty());
    journal.append(b"one").unwrap();
    journal.sync().unwrap();
    drop(journal);
    let mut journal = AppendFile::open(&path).unwrap();
    journal.append(b"two").unwrap();
    assert_eq!(journal.len(), 6);
    assert_eq!(fs::read(&path).unwrap(), b"onetwo");
}
