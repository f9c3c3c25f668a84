//! A folder (for example on a USB stick) with one file per object, named by the object's digest.

use std::path::PathBuf;

use bytes::Bytes;
use cloud_sync_protocol::limits::OBJECT_BYTES_MAX;
use futures::FutureExt;
use futures::future::BoxFuture;
use runtime_trust::Digest;
use tokio::sync::watch;

use crate::carrier::{FetchError, FetchReport, NotFetched, ObjectCarrier, Take, Verdict};

/// Takes objects from `<folder>/<64 hex characters>`.
#[derive(Clone, Debug)]
pub struct FolderCarrier {
    folder: PathBuf,
}

impl FolderCarrier {
    /// A carrier over `folder`; nothing is read yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where the object with `digest` lies.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    async fn read(&self, digest: &Digest) -> Result<Bytes, NotFetched> {
        let path = self.path(digest);
        // A slow stick must not hold up the other tasks of the program.
        let read = tokio::task::spawn_blocking(move || runtime_disk::read_bounded(&path, OBJECT_BYTES_MAX as u64));
        match read.await {
            Ok(Ok(bytes)) => Ok(bytes.into()),
            Ok(Err(error)) if error.is_not_found() => Err(NotFetched::NotFound),
            Ok(Err(error)) => Err(NotFetched::Unreadable(error.to_string())),
            Err(error) => Err(NotFetched::Unreadable(error.to_string())),
        }
    }
}

impl ObjectCarrier for FolderCarrier {
    fn name(&self) -> &str {
        "folder"
    }

    fn fetch<'a>(
        &'a mut self,
        wanted: &'a [Digest],
        take: &'a mut Take<'a>,
        abort: watch::Receiver<bool>,
    ) -> BoxFuture<'a, Result<FetchReport, FetchError>> {
        async move {
            let mut report = FetchReport { window_min: 1, ..FetchReport::default() };
            for digest in wanted {
                if *abort.borrow() {
                    return Err(FetchError::Aborted);
                }
                report.requests += 1;
                let bytes = match self.read(digest).await {
                    Ok(bytes) => bytes,
                    Err(why) => {
                        report.not_fetched.push((*digest, why));
                        continue;
                    }
                };
                let length = bytes.len() as u64;
                match take(digest, bytes) {
                    Verdict::Taken => {
                        report.taken += 1;
                        report.taken_bytes += length;
                    }
                    // Reading the same file again would give the same bytes.
                    Verdict::Wrong(why) => report.not_fetched.push((*digest, NotFetched::Wrong(why))),
                    Verdict::Stop(why) => return Err(FetchError::Stopped(why)),
                }
            }
            Ok(report)
        }
        .boxed()
    }
}
