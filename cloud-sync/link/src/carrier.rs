//! What every way of fetching objects has in common.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use runtime_trust::Digest;
use tokio::sync::watch;

use crate::error::LinkError;

/// What the taker of an object says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The bytes are what they should be and were kept.
    Taken,
    /// The bytes are not what they should be; they are asked for again, a few times.
    Wrong(String),
    /// Nothing more can be taken, for example because the disk is full.
    Stop(String),
}

/// Why fetching ended before everything was tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The caller asked to stop.
    #[error("fetch objects: it was aborted")]
    Aborted,
    /// The taker of objects asked to stop.
    #[error("keep fetched objects: {0}")]
    Stopped(String),
    /// The link stayed down.
    #[error("fetch objects: the link was down for {waited:?}")]
    Offline {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The link cannot be used.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Why one object was not fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFetched {
    /// The carrier has no such object.
    #[error("it is not there")]
    NotFound,
    /// Every copy that came was wrong; the taker's words about the last one.
    #[error("every copy was wrong: {0}")]
    Wrong(String),
    /// Nobody answered, as often as was asked.
    #[error("no answer")]
    NoAnswer,
    /// The carrier could not read it.
    #[error("it could not be read: {0}")]
    Unreadable(String),
}

/// What a carrier did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchReport {
    /// Objects that were taken.
    pub taken: usize,
    /// Their bytes.
    pub taken_bytes: u64,
    /// Objects that were not, and why; another carrier may have them.
    pub not_fetched: Vec<(Digest, NotFetched)>,
    /// Requests that were sent, repeated ones included.
    pub requests: u64,
    /// Answers that came twice or too late.
    pub duplicates: u64,
    /// The smallest number of requests that was allowed on the way at a time.
    pub window_min: usize,
}

/// The taker of objects: checks the bytes and keeps them. It runs on the fetching task, so it should be done in a few
/// milliseconds.
pub type Take<'a> = dyn FnMut(&Digest, Bytes) -> Verdict + Send + 'a;

/// A way to get objects by the digest of their stored bytes. Carriers are not trusted: the taker checks.
pub trait ObjectCarrier: Send {
    /// Its name for logs and reports.
    fn name(&self) -> &str;

    /// Gets as many of `wanted` as it can, in any order, each at most once. Ends early with
    /// [`FetchError::Aborted`] as soon as `abort` holds true; dropping the future ends it, too.
    fn fetch<'a>(
        &'a mut self,
        wanted: &'a [Digest],
        take: &'a mut Take<'a>,
        abort: watch::Receiver<bool>,
    ) -> BoxFuture<'a, Result<FetchReport, FetchError>>;
}
