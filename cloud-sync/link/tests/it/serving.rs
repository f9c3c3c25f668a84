//! The server of objects and offers.

use bytes::Bytes;
use cloud_sync_link::memory::MemoryBroker;
use cloud_sync_link::{ChunkFetcher, ChunkServer, ChunkServerSettings, FetchSettings, Publish, Verdict};
use cloud_sync_protocol::{Declined, DeviceId, InlineObject, Offer, Reply, ReplyBody, Request, Topic, WhyDeclined};
use runtime_trust::Digest;

use crate::setup::{PATIENCE, device, fleet, message, never, up};

fn settings() -> ChunkServerSettings {
    ChunkServerSettings::new(fleet(), None)
}

#[tokio::test(start_paused = true)]
async fn an_offer_is_found_or_there_is_none() {
    let broker = MemoryBroker::new(1);
    let (link, _events) = broker.connect("server", None);
    let bytes = Bytes::from_static(b"inline");
    let offer = Offer {
        manifest: Digest::of(b"manifest"),
        inline: vec![InlineObject { digest: Digest::of(&bytes), bytes }],
        mirrors: vec!["https://mirror.example.org".into()],
    };
    let served = offer.clone();
    let _server = ChunkServer::start(link.clone(), settings(), move |_, request| {
        let body = match request {
            Request::Offer { manifest } if manifest == served.manifest => ReplyBody::Offer(served.encode().unwrap()),
            _ => ReplyBody::Declined(Declined::new(WhyDeclined::NotFound, 0, "")),
        };
        async { body }
    })
    .unwrap();
    link.wait_until_up(PATIENCE).await.unwrap();
    link.flush(PATIENCE).await.unwrap();
    let (device_link, _device_events) = broker.connect("kiosk-7", None);
    let mut fetcher = ChunkFetcher::new(&device_link, &fleet(), &device(), FetchSettings::default()).unwrap();
    assert_eq!(fetcher.offer(offer.manifest, never()).await, Ok(Some(offer)));
    assert_eq!(fetcher.offer(Digest::of(b"other"), never()).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn only_the_device_of_the_topic_is_answered() {
    let broker = MemoryBroker::new(1);
    let (link, _events) = broker.connect("server", None);
    let server = ChunkServer::start(link.clone(), settings(), |asking: DeviceId, _| async move {
        ReplyBody::Object(Bytes::from(asking.to_string()))
    })
    .unwrap();
    link.wait_until_up(PATIENCE).await.unwrap();
    link.flush(PATIENCE).await.unwrap();
    let (listener, mut events) = broker.connect("listener", None);
    listener.subscribe("cask/#").unwrap();
    up(&mut events).await;
    listener.flush(PATIENCE).await.unwrap();
    let request = Request::Chunk { digest: Digest::of(b"x") };
    for (topic, payload) in [
        ("cask/shops/device/kiosk-9/request".to_owned(), request.encode()),
        ("cask/shops/device/kiosk-9/request".to_owned(), b"no request".to_vec()),
        ("cask/shops/device/Kiosk/request".to_owned(), request.encode()),
        ("cask/shops/device/kiosk-9/status".to_owned(), request.encode()),
    ] {
        broker.inject(&topic, payload, false);
    }
    let mut answers = Vec::new();
    while answers.len() < 2 {
        let message = message(&mut events).await;
        if message.topic.ends_with("/chunk") {
            answers.push(message);
        }
    }
    let answer = Topic::Chunk(fleet(), DeviceId::parse("kiosk-9").unwrap()).to_string();
    assert!(answers.iter().all(|message| message.topic == answer));
    // Requests are answered side by side, so either answer may come first.
    let mut replies: Vec<Reply> = answers.iter().map(|message| Reply::decode(&message.payload).unwrap()).collect();
    replies.sort_by_key(|reply| matches!(reply.body, ReplyBody::Declined(_)));
    assert_eq!(replies[0], Reply::object(Digest::of(b"x"), Bytes::from_static(b"kiosk-9")));
    let second = replies.remove(1);
    let ReplyBody::Declined(declined) = second.body else { panic!("{second:?}") };
    assert_eq!(declined.why, WhyDeclined::BadRequest);
    link.flush(PATIENCE).await.unwrap();
    let statistics = server.statistics();
    assert_eq!((statistics.answered, statistics.declined, statistics.ignored), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_are_declined_and_the_device_slows_down() {
    let broker = MemoryBroker::new(1);
    let (link, _events) = broker.connect("server", None);
    let settings = ChunkServerSettings { concurrent_max: 2, ..settings() };
    let server = ChunkServer::start(link.clone(), settings, |_, request: Request| async move {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        ReplyBody::Object(Bytes::copy_from_slice(request.subject().as_bytes()))
    })
    .unwrap();
    link.wait_until_up(PATIENCE).await.unwrap();
    link.flush(PATIENCE).await.unwrap();
    let (device_link, _device_events) = broker.connect("kiosk-7", None);
    let settings = FetchSettings { attempts_max: 40, ..FetchSettings::default() };
    let mut fetcher = ChunkFetcher::new(&device_link, &fleet(), &device(), settings).unwrap();
    let wanted: Vec<Digest> = (0..60_u8).map(|index| Digest::of(&[index])).collect();
    let mut take = |_: &Digest, _: Bytes| Verdict::Taken;
    let report = fetcher.fetch(&wanted, &mut take, never()).await.unwrap();
    assert_eq!((report.taken, report.window_min <= 2), (60, true), "{report:?}");
    assert!(server.statistics().declined > 0);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_no_reply_holds_is_declined() {
    let broker = MemoryBroker::new(1);
    let (link, _events) = broker.connect("server", None);
    let _server =
        ChunkServer::start(link.clone(), settings(), |_, _| async { ReplyBody::Object(vec![0; 57 * 1024].into()) })
            .unwrap();
    let (listener, mut events) = broker.connect("kiosk-7", None);
    listener.subscribe(Topic::Chunk(fleet(), device())).unwrap();
    link.wait_until_up(PATIENCE).await.unwrap();
    link.flush(PATIENCE).await.unwrap();
    up(&mut events).await;
    listener.flush(PATIENCE).await.unwrap();
    let request = Request::Chunk { digest: Digest::of(b"x") }.encode();
    listener.publish(Topic::Request(fleet(), device()), request, Publish::default()).unwrap();
    let reply = Reply::decode(&message(&mut events).await.payload).unwrap();
    let ReplyBody::Declined(declined) = reply.body else { panic!("{reply:?}") };
    assert_eq!((reply.subject, declined.why), (Digest::of(b"x"), WhyDeclined::Unavailable));
}
