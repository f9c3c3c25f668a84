//! Answers devices' requests. Servers of one group share the work: each request reaches one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cloud_sync_protocol::{Declined, DeviceId, Filter, FleetId, Reply, ReplyBody, Request, Topic, WhyDeclined};
use runtime_trust::Digest;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::error::LinkError;
use crate::handle::{Delivery, Link, Message, Publish};

/// How a server takes part.
#[derive(Clone, Debug)]
pub struct ChunkServerSettings {
    /// The fleet whose devices are answered.
    pub fleet: FleetId,
    /// The group that shares the work; without one every server gets every request, which only a broker without
    /// shared subscriptions needs.
    pub group: Option<FleetId>,
    /// Requests that are answered at a time; further ones are declined as busy.
    pub concurrent_max: usize,
    /// Requests that wait before further ones are dropped; devices ask again.
    pub waiting_max: usize,
}

impl ChunkServerSettings {
    /// Settings for one of several servers of `group`.
    pub fn new(fleet: FleetId, group: Option<FleetId>) -> Self {
        Self { fleet, group, concurrent_max: 64, waiting_max: 1024 }
    }
}

/// Counters of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerStatistics {
    /// Requests that were answered with an object or an offer.
    pub answered: u64,
    /// Requests that were declined.
    pub declined: u64,
    /// Messages that were no request of this fleet.
    pub ignored: u64,
}

#[derive(Debug, Default)]
struct Counters {
    answered: AtomicU64,
    declined: AtomicU64,
    ignored: AtomicU64,
}

/// Milliseconds after which a device that was declined as busy may ask again.
const BUSY_RETRY_AFTER_MS: u32 = 250;

/// A server of objects and offers; it ends when it is dropped.
#[derive(Debug)]
pub struct ChunkServer {
    task: JoinHandle<()>,
    counters: Arc<Counters>,
}

impl ChunkServer {
    /// Subscribes to the fleet's requests and answers each with what `lookup` returns. The answer goes to the reply
    /// topic of the device that the request's topic names, which the broker ties to the device's certificate; a
    /// response topic inside the request is ignored.
    pub fn start<Lookup, Answer>(link: Link, settings: ChunkServerSettings, lookup: Lookup) -> Result<Self, LinkError>
    where
        Lookup: Fn(DeviceId, Request) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = ReplyBody> + Send + 'static,
    {
        let fleet = settings.fleet.clone();
        let filter = match settings.group {
            Some(group) => Filter::SharedRequests { group, fleet: fleet.clone() },
            None => Filter::Requests(fleet.clone()),
        };
        let mut requests = link.divert(&filter, settings.waiting_max)?;
        link.subscribe(&filter)?;
        let counters = Arc::new(Counters::default());
        let places = Arc::new(Semaphore::new(settings.concurrent_max.max(1)));
        let lookup = Arc::new(lookup);
        let task = tokio::spawn({
            let counters = counters.clone();
            async move {
                while let Some(message) = requests.recv().await {
                    let Some((device, request)) = read(&fleet, &message) else {
                        counters.ignored.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    let answering = Answering {
                        link: link.clone(),
                        topic: Topic::Chunk(fleet.clone(), device.clone()),
                        correlation: message.correlation,
                        counters: counters.clone(),
                    };
                    let request = match request {
                        Ok(request) => request,
                        Err(why) => {
                            let declined = Declined::new(WhyDeclined::BadRequest, 0, &why);
                            // Nobody knows what was asked about; the correlation data says which request it was.
                            answering.send(Digest::from_bytes([0; 32]), ReplyBody::Declined(declined)).await;
                            continue;
                        }
                    };
                    let Ok(place) = places.clone().try_acquire_owned() else {
                        let declined = Declined::new(WhyDeclined::Busy, BUSY_RETRY_AFTER_MS, "too many requests");
                        answering.send(request.subject(), ReplyBody::Declined(declined)).await;
                        continue;
                    };
                    let lookup = lookup.clone();
                    tokio::spawn(async move {
                        let body = lookup(device, request).await;
                        answering.send(request.subject(), body).await;
                        drop(place);
                    });
                }
            }
        });
        Ok(Self { task, counters })
    }

    /// Counters since the start.
    pub fn statistics(&self) -> ServerStatistics {
        ServerStatistics {
            answered: self.counters.answered.load(Ordering::Relaxed),
            declined: self.counters.declined.load(Ordering::Relaxed),
            ignored: self.counters.ignored.load(Ordering::Relaxed),
        }
    }
}

impl Drop for ChunkServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The asking device and what it asks, if the message is a request of this fleet at all.
fn read(fleet: &FleetId, message: &Message) -> Option<(DeviceId, Result<Request, String>)> {
    match Topic::parse(&message.topic) {
        Ok(Topic::Request(asked, device)) if asked == *fleet => {
            Some((device, Request::decode(&message.payload).map_err(|error| error.to_string())))
        }
        _ => None,
    }
}

struct Answering {
    link: Link,
    topic: Topic,
    correlation: Option<bytes::Bytes>,
    counters: Arc<Counters>,
}

impl Answering {
    async fn send(self, subject: Digest, body: ReplyBody) {
        let reply = Reply { subject, body };
        let reply = match reply.encode() {
            Ok(bytes) => Ok((bytes, matches!(reply.body, ReplyBody::Declined(_)))),
            // The store gave more than a reply holds: the device must not wait for it in vain.
            Err(error) => {
                let declined = Declined::new(WhyDeclined::Unavailable, 0, &error.to_string());
                Reply::declined(subject, declined).encode().map(|bytes| (bytes, true))
            }
        };
        let Ok((bytes, declined)) = reply else { return };
        let options = Publish {
            retain: false,
            delivery: Delivery::AtLeastOnceWhileConnected,
            correlation: self.correlation,
            expiry: None,
        };
        // Waiting for room is what slows the server down to the speed of its connection.
        if self.link.publish_when_room(&self.topic, bytes, options).await.is_ok() {
            let counter = if declined { &self.counters.declined } else { &self.counters.answered };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}
