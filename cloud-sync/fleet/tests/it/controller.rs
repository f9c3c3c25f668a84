//! The controller's loop over an in-memory broker, with a small device at the other end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cloud_sync_fleet::admin::{AdminCall, Request};
use cloud_sync_fleet::devices::Standing;
use cloud_sync_fleet::report::{DeviceList, RolloutStatus};
use cloud_sync_fleet::{Fleet, serve};
use cloud_sync_link::Will;
use cloud_sync_link::memory::MemoryBroker;
use cloud_sync_protocol::{Status, Topic};
use runtime_console::Failure;
use runtime_trust::{Digest, Root};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::device::Device;
use crate::fixture::{NOW, Place, channel, device, model, noise, push, roll_out};

/// A running controller.
struct Controller {
    calls: mpsc::Sender<AdminCall>,
    clock: Arc<AtomicU64>,
    end: oneshot::Sender<()>,
    task: JoinHandle<Fleet>,
}

impl Controller {
    /// Starts it and waits until it hears devices: what it publishes comes after its subscriptions.
    async fn start(fleet: Fleet, broker: &MemoryBroker, now: u64) -> Self {
        let (link, events) = broker.connect("_fleet", None);
        let (calls, receiver) = mpsc::channel(4);
        let (end, ended) = oneshot::channel();
        let clock = Arc::new(AtomicU64::new(now));
        let time = clock.clone();
        let task = tokio::spawn(async move {
            let shutdown = async { drop(ended.await) };
            let clock = Arc::new(move || time.load(Ordering::Relaxed));
            serve(fleet, link, events, receiver, clock, shutdown).await.expect("it ends well")
        });
        eventually("the controller is connected", async || (!broker.retained_topics().is_empty()).then_some(())).await;
        Controller { calls, clock, end, task }
    }

    async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(AdminCall { request, reply }).await.expect("the controller runs");
        answer.await.expect("an answer").map(|value| serde_json::from_value(value).expect("a report"))
    }

    async fn status(&self) -> RolloutStatus {
        self.ask(Request::RolloutStatus { channel: channel() }).await.expect("a status")
    }

    async fn stop(self) -> Fleet {
        self.end.send(()).expect("the controller runs");
        self.task.await.expect("it ends")
    }
}

/// Asks until the answer is right; messages take their time.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.unwrap_or_else(|_| panic!("never: {what}"))
}

fn connect(broker: &MemoryBroker, name: &str, root: &Root) -> Device {
    let id = device(name);
    let topic = Topic::Status("kiosks".parse().expect("a name"), id.clone()).to_string();
    let payload = Status::offline(id.clone(), 1, "0.1.0", NOW).encode().expect("a will").into();
    let (link, events) = broker.connect(name, Some(Will { topic, payload }));
    drain(events);
    Device::new(link, id, root.clone(), NOW)
}

/// A link whose events nobody takes would wait for ever.
fn drain(mut events: mpsc::Receiver<cloud_sync_link::LinkEvent>) {
    tokio::spawn(async move { while events.recv().await.is_some() {} });
}

async fn enroll(fleet: &mut Fleet, name: &str) {
    let url = "mqtts://broker.example".parse().expect("a URL");
    let broker = fleet.broker_for_devices(Some(url), None).expect("a broker");
    fleet.enroll(&device(name), &channel(), false, broker, NOW).await.expect("enrolled");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_push_rollout_device() {
    let place = Place::new();
    let mut fleet = place.open().await;
    let bytes = noise(300_000, 7);
    let pushed = push(&place, &mut fleet, &place.cask("digits", 1, &bytes), NOW).await.expect("pushed");
    assert!(pushed.chunks > 6, "300 KB do not fit into {} objects of 56 KiB", pushed.chunks);
    enroll(&mut fleet, "camera-1").await;
    roll_out(&mut fleet, "digits", NOW).await;
    let root = fleet.root().clone();

    let broker = MemoryBroker::new(1);
    let controller = Controller::start(fleet, &broker, NOW).await;
    let mut camera = connect(&broker, "camera-1", &root);
    let (manifest, digest, sequence) = camera.manifest("digits", NOW).await.expect("trusted");
    assert_eq!((digest, sequence), (pushed.digest, 1));
    assert_eq!(camera.file(&manifest, "model").await, Ok(bytes));

    assert_eq!(controller.status().await.pending, 1);
    camera.report(sequence, Some(digest), None);
    let status = eventually("active", async || Some(controller.status().await).filter(|now| now.active == 1)).await;
    assert_eq!((status.devices_total, status.refused, status.devices[0].online), (1, 0, true));

    broker.kick("camera-1");
    let list = eventually("offline", async || {
        let list: DeviceList = controller.ask(Request::DeviceList {}).await.expect("a list");
        (!list.devices[0].online).then_some(list)
    })
    .await;
    assert_eq!(list.devices[0].models[0].active.as_ref().map(|active| active.digest), Some(digest));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_carries_what_fits() {
    let place = Place::new();
    let mut fleet = place.open().await;
    let small = push(&place, &mut fleet, &place.cask("digits", 1, &noise(20_000, 1)), NOW).await.expect("pushed");
    let large = push(&place, &mut fleet, &place.cask("faces", 1, &noise(200_000, 2)), NOW).await.expect("pushed");
    let root = fleet.root().clone();
    let broker = MemoryBroker::new(1);
    let controller = Controller::start(fleet, &broker, NOW).await;
    let mut camera = connect(&broker, "camera-1", &root);
    for (pushed, whole) in [(&small, true), (&large, false)] {
        let offer = camera.offer(pushed.digest).await.expect("an offer");
        assert_eq!(offer.inline.len() as u64 == pushed.chunks, whole, "{}", pushed.name);
        assert!(!offer.inline.is_empty(), "{}", pushed.name);
        for object in &offer.inline {
            assert_eq!(Digest::of(&object.bytes), object.digest, "{}", pushed.name);
        }
    }
    assert!(camera.offer(Digest::of(b"nothing")).await.is_none());
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_lost_everything_is_told_again() {
    let place = Place::new();
    let mut fleet = place.open().await;
    push(&place, &mut fleet, &place.cask("digits", 1, b"model"), NOW).await.expect("pushed");
    roll_out(&mut fleet, "digits", NOW).await;
    let broker = MemoryBroker::new(1);
    let controller = Controller::start(fleet, &broker, NOW).await;
    let expected = 8;
    let all = async || Some(broker.retained_topics()).filter(|topics| topics.len() == expected);
    let before = eventually("everything is published", all).await;
    broker.stop();
    broker.forget_retained();
    assert!(broker.retained_topics().is_empty());
    broker.start();
    assert_eq!(eventually("everything is published again", all).await, before);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_published_and_what_nobody_runs_is_taken_away() {
    let place = Place::new();
    let mut fleet = place.open().await;
    let first = push(&place, &mut fleet, &place.cask("digits", 1, b"one"), NOW).await.expect("pushed");
    let second = push(&place, &mut fleet, &place.cask("digits", 2, b"two"), NOW).await.expect("pushed");
    let root = fleet.root().clone();
    let broker = MemoryBroker::new(1);
    let controller = Controller::start(fleet, &broker, NOW).await;
    let topic = |digest| Topic::Manifest("kiosks".parse().expect("a name"), digest).to_string();
    let published = async |digest: Digest, gone: Digest| {
        let there = broker.retained(&topic(digest)).is_some() && broker.retained(&topic(gone)).is_none();
        there.then_some(())
    };
    let start = async |version: &str| {
        let version = version.parse().expect("a version");
        let request = Request::RolloutStart { channel: channel(), name: model("digits"), version, sequence_min: 0 };
        controller.ask::<serde_json::Value>(request).await.expect("deployed")
    };
    start("1").await;
    eventually("version 1", async || published(first.digest, second.digest).await).await;
    start("2").await;
    eventually("version 2 in place of 1", async || published(second.digest, first.digest).await).await;
    let back = Request::RolloutRollback { channel: channel(), name: None, sequence_min: 0 };
    controller.ask::<serde_json::Value>(back).await.expect("rolled back");
    eventually("version 1 again", async || published(first.digest, second.digest).await).await;
    let mut camera = connect(&broker, "camera-1", &root);
    let (_, digest, sequence) = camera.manifest("digits", NOW).await.expect("trusted");
    assert_eq!((digest, sequence), (first.digest, 3));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_given_out_as_it_lies_there() {
    let place = Place::new();
    let mut fleet = place.open().await;
    let bytes = noise(100_000, 3);
    push(&place, &mut fleet, &place.cask("digits", 1, &bytes), NOW).await.expect("pushed");
    roll_out(&mut fleet, "digits", NOW).await;
    let root = fleet.root().clone();
    let broker = MemoryBroker::new(1);
    let controller = Controller::start(fleet, &broker, NOW).await;
    let mut camera = connect(&broker, "camera-1", &root);
    let (manifest, ..) = camera.manifest("digits", NOW).await.expect("trusted");
    let part = manifest.variants[0].files["model"].index[0].digest;
    let name = part.to_string();
    let object = place.folder.path().join("objects/chunks").join(&name[..2]).join(&name);
    let good = std::fs::read(&object).expect("the object");
    let mut bad = good.clone();
    bad[40] ^= 1;
    std::fs::write(&object, &bad).expect("damage");
    assert_eq!(camera.file(&manifest, "model").await, Err(vec![part]), "the device names the damage");
    std::fs::write(&object, &good).expect("mended");
    assert_eq!(camera.file(&manifest, "model").await, Ok(bytes), "the control");
    assert_eq!(camera.objects(&[Digest::of(b"nothing")]).await, Err(vec![Digest::of(b"nothing")]));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_seen_and_the_cache_survives() {
    let place = Place::new();
    let mut fleet = place.open().await;
    let pushed = push(&place, &mut fleet, &place.cask("digits", 1, b"model"), NOW).await.expect("pushed");
    enroll(&mut fleet, "camera-1").await;
    enroll(&mut fleet, "camera-2").await;
    roll_out(&mut fleet, "digits", NOW).await;
    let root = fleet.root().clone();
    let broker = MemoryBroker::new(1);
    let controller = Controller::start(fleet, &broker, NOW).await;
    let camera = connect(&broker, "camera-1", &root);
    camera.report(0, None, Some((pushed.digest, "golden-mismatch")));
    let status = eventually("refused", async || Some(controller.status().await).filter(|now| now.refused == 1)).await;
    let states: Vec<Standing> = status.devices.iter().map(|device| device.state).collect();
    assert_eq!(states, [Standing::Refused, Standing::Pending]);
    assert_eq!(status.devices[0].reason.as_deref(), Some("golden-mismatch"));
    drop(controller.stop().await);
    let fleet = Fleet::open(&place.folder).await.expect("the folder is free again");
    let known = fleet.devices().get(&device("camera-1")).expect("it was cached");
    assert!(!known.online, "nobody is online until they report");
    std::fs::write(place.folder.devices(), b"damaged").expect("damage");
    drop(fleet);
    let fleet = Fleet::open(&place.folder).await.expect("a damaged cache is left out");
    assert!(fleet.devices().get(&device("camera-1")).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_renewed_before_they_end() {
    let place = Place::new();
    let mut fleet = place.open().await;
    push(&place, &mut fleet, &place.cask("digits", 1, b"model"), NOW).await.expect("pushed");
    roll_out(&mut fleet, "digits", NOW).await;
    let root = fleet.root().clone();
    const DAY: u64 = 86_400;
    let broker = MemoryBroker::new(1);
    // The timestamp is good for 7 days; nobody served for 20.
    let controller = Controller::start(fleet, &broker, NOW + 20 * DAY).await;
    let mut camera = connect(&broker, "camera-1", &root);
    camera.refresh("digits", NOW + 20 * DAY).await.expect("a fresh timestamp and snapshot");
    controller.clock.store(NOW + 300 * DAY, Ordering::Relaxed);
    let expected = eventually("the deployment is renewed", async || {
        Some(controller.status().await.sequence).filter(|sequence| *sequence > 1)
    })
    .await;
    let (_, _, sequence) =
        eventually("it is published", async || camera.manifest("digits", NOW + 300 * DAY).await.ok()).await;
    assert_eq!(sequence, expected);
    let fleet = controller.stop().await;
    let set = fleet.state().trust().expect("pushed");
    assert_eq!((set.snapshot.version, set.timestamp.version), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_request_is_answered() {
    let place = Place::new();
    let fleet = place.open().await;
    let broker = MemoryBroker::new(1);
    let controller = Controller::start(fleet, &broker, NOW).await;
    let failure =
        controller.ask::<RolloutStatus>(Request::RolloutStatus { channel: channel() }).await.expect_err("none");
    assert_eq!(failure.message(), "find a deployment of channel stable");
    assert!(failure.hint().is_some());
    let request = Request::DeviceShow { device: device("nobody") };
    let failure = controller.ask::<serde_json::Value>(request).await.expect_err("none");
    assert_eq!(failure.message(), "find a device called nobody");
    controller.stop().await;
}
