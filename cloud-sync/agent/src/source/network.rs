//! The fleet: retained metadata, deployments and manifests; chunks by request and reply.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cloud_sync_link::{
    ChunkFetcher, FetchError, FetchSettings, Link, LinkError, NotFetched, Verdict, retained, retained_many,
};
use cloud_sync_protocol::{ModelName, Topic};
use runtime_trust::{Digest, FileName};
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::device::Identity;
use crate::machine::News;
use crate::order::{Claim, Source, Stop, Take, Taken};

/// The step that objects are checked in.
const STEP_CHUNKS: u8 = 7;

/// The channel's deployment and the fleet's timestamp as the broker last sent them on this connection.
///
/// Shared with the task that hears the broker, so that a job need not ask for what was just told. Some brokers
/// (rumqttd) send what they keep only to the first subscription of a connection: asking again would get nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Publications {
    latest: Arc<Mutex<Latest>>,
}

#[derive(Debug, Default)]
struct Latest {
    deployment: Option<Bytes>,
    timestamp: Option<Bytes>,
}

impl Publications {
    /// Remembers what was published.
    pub(crate) fn set(&self, news: News, bytes: Bytes) {
        let mut latest = self.latest();
        match news {
            News::Deployment => latest.deployment = Some(bytes),
            News::Timestamp => latest.timestamp = Some(bytes),
        }
    }

    /// The connection ended; the next one tells everything again.
    pub(crate) fn forget(&self) {
        *self.latest() = Latest::default();
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fleet behind a link. Runs on a thread that may block; one at a time, since two would take each other's answers.
pub(crate) struct NetworkSource {
    pub(crate) runtime: Handle,
    pub(crate) link: Link,
    pub(crate) identity: Identity,
    pub(crate) publications: Publications,
    pub(crate) abort: watch::Receiver<bool>,
    /// How long to wait for one answer.
    pub(crate) patience: Duration,
    /// Differs between devices and jobs.
    pub(crate) seed: u64,
    /// Metadata that came with the first look.
    pub(crate) seen: BTreeMap<Topic, Bytes>,
}

impl NetworkSource {
    /// Waits for `future`, but not after the job was told to stop.
    fn wait<T>(&self, future: impl Future<Output = Result<T, LinkError>>) -> Result<T, Stop> {
        let mut abort = self.abort.clone();
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                told = abort.wait_for(|told| *told) => {
                    // The director is gone when nobody can tell any more: that is a stop, too.
                    let _ = told;
                    Err(Stop::Aborted)
                }
                answer = future => answer.map_err(|error| Stop::Interrupted(format!("failed to {error}"))),
            }
        })
    }

    fn topic(&self, file: &FileName) -> Result<Topic, Stop> {
        let fleet = self.identity.fleet.clone();
        Ok(match file {
            FileName::Root(version) => Topic::RootVersion(fleet, *version),
            FileName::Timestamp => Topic::Timestamp(fleet),
            FileName::Snapshot => Topic::Snapshot(fleet),
            FileName::Targets => Topic::Targets(fleet),
            FileName::Named(name) => {
                let name = ModelName::parse(name)
                    .map_err(|error| Stop::refused(3, "wrong-name", format!("failed to {error}")))?;
                Topic::NamedTargets(fleet, name)
            }
        })
    }

    fn ask(&self, topic: &Topic) -> Result<Option<Bytes>, Stop> {
        if let Some(bytes) = self.seen.get(topic) {
            return Ok(Some(bytes.clone()));
        }
        self.wait(retained(&self.link, topic, self.patience))
    }
}

/// As much of a root as says whether to ask for its successors. Not trusted: a lie costs one question, or hides a
/// root that its teller could have hidden anyway.
#[derive(Deserialize)]
struct RootVersion {
    signed: Signed,
}

#[derive(Deserialize)]
struct Signed {
    version: u64,
}

impl Source for NetworkSource {
    fn claim(&mut self) -> Result<Claim, Stop> {
        let fleet = &self.identity.fleet;
        let timestamp = Topic::Timestamp(fleet.clone());
        let heard = self.publications.latest().timestamp.clone();
        let mut first = vec![Topic::Root(fleet.clone())];
        if heard.is_none() {
            first.push(timestamp.clone());
        }
        self.seen = self.wait(retained_many(&self.link, &first, self.patience))?;
        // What came on the standing subscription in the meantime is newer than what was asked for.
        if let Some(bytes) = self.publications.latest().timestamp.clone().or(heard) {
            self.seen.insert(timestamp.clone(), bytes);
        }
        if !self.seen.contains_key(&timestamp) {
            let waited = self.patience.as_millis();
            return Err(Stop::Interrupted(format!("the fleet's timestamp did not come within {waited} ms")));
        }
        let heard = self.publications.latest().deployment.clone();
        let deployment = match heard {
            Some(bytes) => Some(bytes),
            None => {
                let topic = Topic::Deployment(fleet.clone(), self.identity.channel.clone());
                self.wait(retained(&self.link, &topic, self.patience))?
            }
        };
        Ok(deployment.map_or(Claim::Nothing, |bytes| Claim::Deployment(bytes.to_vec())))
    }

    fn trust_file(&mut self, file: &FileName, _bytes_max: u64) -> Result<Option<Vec<u8>>, Stop> {
        if let FileName::Root(version) = file {
            // MQTT cannot say that there is no root N+1; the newest root can, without waiting.
            let newest = self.seen.get(&Topic::Root(self.identity.fleet.clone()));
            let newest = newest.and_then(|bytes| serde_json::from_slice::<RootVersion>(bytes).ok());
            if newest.is_none_or(|root| root.signed.version < *version) {
                return Ok(None);
            }
        }
        let topic = self.topic(file)?;
        Ok(self.ask(&topic)?.map(|bytes| bytes.to_vec()))
    }

    fn manifest(&mut self, digest: &Digest, _bytes_max: u64) -> Result<Vec<u8>, Stop> {
        let topic = Topic::Manifest(self.identity.fleet.clone(), *digest);
        match self.ask(&topic)? {
            Some(bytes) => Ok(bytes.to_vec()),
            None => {
                let waited = self.patience.as_millis();
                Err(Stop::Interrupted(format!("the manifest {digest} did not come within {waited} ms")))
            }
        }
    }

    fn objects(&mut self, wanted: &[Digest], take: &mut Take<'_>) -> Result<(), Stop> {
        let settings = FetchSettings {
            first_patience: self.patience.min(Duration::from_secs(5)),
            seed: self.seed,
            ..FetchSettings::default()
        };
        let Identity { fleet, device, .. } = &self.identity;
        let fetched = self.runtime.block_on(async {
            let mut fetcher = ChunkFetcher::new(&self.link, fleet, device, settings)?;
            let mut take = |digest: &Digest, bytes: Bytes| match take(digest, &bytes) {
                Taken::Kept => Verdict::Taken,
                Taken::Wrong(why) => Verdict::Wrong(why),
                Taken::Stop => Verdict::Stop("it cannot be kept".to_owned()),
            };
            fetcher.fetch(wanted, &mut take, self.abort.clone()).await
        });
        self.seed = self.seed.wrapping_add(1);
        let report = fetched.map_err(|error: FetchError| match error {
            FetchError::Aborted => Stop::Aborted,
            FetchError::Stopped(why) => {
                Stop::refused(STEP_CHUNKS, "not-kept", format!("failed to keep a chunk: {why}"))
            }
            error @ (FetchError::Offline { .. } | FetchError::Link(_)) => {
                Stop::Interrupted(format!("failed to {error}"))
            }
        })?;
        let wrong = report.not_fetched.iter().find(|(_, why)| matches!(why, NotFetched::Wrong(_)));
        if let Some((digest, why)) = wrong {
            return Err(Stop::refused(
                STEP_CHUNKS,
                "chunk-digest-mismatch",
                format!("failed to fetch {digest}: {why}"),
            ));
        }
        match report.not_fetched.first() {
            None => Ok(()),
            Some((digest, why)) => {
                let count = report.not_fetched.len();
                Err(Stop::Interrupted(format!("{count} objects did not come, {digest} first: {why}")))
            }
        }
    }
}
