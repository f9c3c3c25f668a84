//! Objects from a folder.

use bytes::Bytes;
use cloud_sync_link::{FetchError, FolderCarrier, NotFetched, ObjectCarrier, Verdict};
use runtime_trust::Digest;
use tokio::sync::watch;

use crate::setup::{Taken, never, objects};

#[tokio::test]
async fn objects_are_taken_by_name_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let objects = objects(6);
    let digests: Vec<Digest> = objects.keys().copied().collect();
    let mut carrier = FolderCarrier::new(folder.path());
    for (digest, bytes) in &objects {
        std::fs::write(carrier.path(digest), bytes).unwrap();
    }
    std::fs::remove_file(carrier.path(&digests[1])).unwrap();
    std::fs::write(carrier.path(&digests[2]), b"flipped").unwrap();
    std::fs::write(carrier.path(&digests[3]), vec![0; 57 * 1024]).unwrap();
    let taken = Taken::default();
    let mut take = taken.taker();
    let report = carrier.fetch(&digests, &mut take, never()).await.unwrap();
    assert_eq!((report.taken, report.not_fetched.len()), (3, 3));
    assert_eq!(report.not_fetched[0], (digests[1], NotFetched::NotFound));
    assert!(matches!(report.not_fetched[1].1, NotFetched::Wrong(_)));
    assert!(matches!(report.not_fetched[2].1, NotFetched::Unreadable(_)));
}

#[tokio::test]
async fn a_folder_stops_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let objects = objects(3);
    let digests: Vec<Digest> = objects.keys().copied().collect();
    let mut carrier = FolderCarrier::new(folder.path());
    for (digest, bytes) in &objects {
        std::fs::write(carrier.path(digest), bytes).unwrap();
    }
    let (abort, aborted) = watch::channel(false);
    let mut count = 0;
    let mut take = |_: &Digest, _: Bytes| {
        count += 1;
        abort.send_replace(true);
        Verdict::Taken
    };
    assert_eq!(carrier.fetch(&digests, &mut take, aborted).await, Err(FetchError::Aborted));
    assert_eq!(count, 1);
    let mut take = |_: &Digest, _: Bytes| Verdict::Stop("full".into());
    assert_eq!(carrier.fetch(&digests, &mut take, never()).await, Err(FetchError::Stopped("full".into())));
}
