//! Names and waits that the tests share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cloud_sync_link::memory::MemoryBroker;
use cloud_sync_link::{ChunkFetcher, ChunkServer, ChunkServerSettings, FetchSettings, Link, LinkEvent, Message};
use cloud_sync_protocol::{Declined, DeviceId, FleetId, ReplyBody, Request, WhyDeclined};
use runtime_trust::Digest;
use tokio::sync::{mpsc, watch};

/// Far longer than anything takes under a paused clock.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3600);

pub(crate) fn fleet() -> FleetId {
    FleetId::parse("shops").unwrap()
}

pub(crate) fn device() -> DeviceId {
    DeviceId::parse("kiosk-7").unwrap()
}

pub(crate) fn never() -> watch::Receiver<bool> {
    watch::channel(false).1
}

pub(crate) type Events = mpsc::Receiver<LinkEvent>;

/// The next event.
pub(crate) async fn event(events: &mut Events) -> LinkEvent {
    tokio::time::timeout(PATIENCE, events.recv()).await.expect("an event in time").expect("a link that lives")
}

/// The next message; other events are skipped.
pub(crate) async fn message(events: &mut Events) -> Message {
    loop {
        if let LinkEvent::Message(message) = event(events).await {
            return message;
        }
    }
}

/// The next connection.
pub(crate) async fn up(events: &mut Events) -> bool {
    loop {
        if let LinkEvent::Up { first } = event(events).await {
            return first;
        }
    }
}

/// Objects of a few hundred bytes, by digest.
pub(crate) fn objects(count: usize) -> BTreeMap<Digest, Bytes> {
    let object = |index: usize| Bytes::from(format!("object {index} ").repeat(20 + index % 7));
    (0..count).map(object).map(|bytes| (Digest::of(&bytes), bytes)).collect()
}

/// A fleet with objects and one device that fetches.
pub(crate) struct Store {
    pub(crate) broker: MemoryBroker,
    pub(crate) objects: Arc<BTreeMap<Digest, Bytes>>,
    pub(crate) servers: Vec<(Link, ChunkServer)>,
    pub(crate) device: Link,
    _events: Vec<Events>,
}

impl Store {
    pub(crate) async fn new(seed: u64, count: usize, servers: usize) -> Self {
        let broker = MemoryBroker::new(seed);
        let objects = Arc::new(objects(count));
        let (device, events) = broker.connect("kiosk-7", None);
        let mut store = Self { broker, objects, servers: Vec::new(), device, _events: vec![events] };
        for index in 0..servers {
            store.add_server(&format!("server-{index}")).await;
        }
        store.device.wait_until_up(PATIENCE).await.unwrap();
        store
    }

    pub(crate) async fn add_server(&mut self, client_id: &str) {
        let (link, events) = self.broker.connect(client_id, None);
        let objects = self.objects.clone();
        let lookup = move |_: DeviceId, request: Request| {
            let found = objects.get(&request.subject()).cloned();
            async move {
                match found {
                    Some(bytes) => ReplyBody::Object(bytes),
                    None => ReplyBody::Declined(Declined::new(WhyDeclined::NotFound, 0, "")),
                }
            }
        };
        let settings = ChunkServerSettings::new(fleet(), Some(FleetId::parse("servers").unwrap()));
        let server = ChunkServer::start(link.clone(), settings, lookup).unwrap();
        link.wait_until_up(PATIENCE).await.unwrap();
        link.flush(PATIENCE).await.unwrap();
        self.servers.push((link, server));
        self._events.push(events);
    }

    pub(crate) fn fetcher(&self, settings: FetchSettings) -> ChunkFetcher {
        ChunkFetcher::new(&self.device, &fleet(), &device(), settings).unwrap()
    }

    pub(crate) fn wanted(&self) -> Vec<Digest> {
        self.objects.keys().copied().collect()
    }
}

/// What a taker took, each with how often.
#[derive(Clone, Default)]
pub(crate) struct Taken(pub(crate) Arc<Mutex<BTreeMap<Digest, (Bytes, usize)>>>);

impl Taken {
    /// A taker that checks digests.
    pub(crate) fn taker(&self) -> impl FnMut(&Digest, Bytes) -> cloud_sync_link::Verdict + Send + use<> {
        let taken = self.0.clone();
        move |digest, bytes| {
            if Digest::of(&bytes) != *digest {
                return cloud_sync_link::Verdict::Wrong("its digest differs".to_owned());
            }
            taken.lock().unwrap().entry(*digest).or_insert((bytes, 0)).1 += 1;
            cloud_sync_link::Verdict::Taken
        }
    }

    pub(crate) fn is_exactly(&self, objects: &BTreeMap<Digest, Bytes>) -> bool {
        let taken = self.0.lock().unwrap();
        taken.len() == objects.len()
            && objects.iter().all(|(digest, bytes)| taken.get(digest) == Some(&(bytes.clone(), 1)))
    }
}
