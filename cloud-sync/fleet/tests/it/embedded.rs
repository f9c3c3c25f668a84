//! The embedded broker: who may connect, and that nothing is lost on the way to a device.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cloud_sync_fleet::broker;
use cloud_sync_fleet::certificates::{DeviceAuthority, Identity, new_authority};
use cloud_sync_link::{
    ChunkFetcher, ChunkServer, ChunkServerSettings, FetchSettings, Link, LinkError, LinkEvent, MqttSettings, Publish,
    Verdict, Will, connect,
};
use cloud_sync_protocol::{BrokerUrl, FleetId, ReplyBody, Request, Topic};
use runtime_trust::Digest;
use tokio::sync::{mpsc, watch};

use crate::fixture::{device, noise};

const WILL_ATTEMPTS: u32 = 6;
const WILL_PATIENCE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a client that must be refused tries: several attempts.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(3);

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

fn fleet() -> FleetId {
    FleetId::parse("kiosks").expect("a name")
}

/// A running broker with the authority that signs its clients. The broker cannot be stopped; it ends with the tests.
struct Running {
    authority: DeviceAuthority,
    url: BrokerUrl,
    _files: tempfile::TempDir,
}

fn authority() -> DeviceAuthority {
    let new = new_authority(&fleet(), now()).expect("a CA");
    DeviceAuthority::open(&new.certificate_pem, &new.key_der).expect("the CA opens")
}

async fn start() -> Running {
    let authority = authority();
    let server = authority.server(&["127.0.0.1".to_owned()], now()).expect("a certificate");
    let files = tempfile::tempdir().expect("a folder");
    let (ca, certificate, key) = ["ca.pem", "server.pem", "server.key"].map(|name| files.path().join(name)).into();
    std::fs::write(&ca, authority.certificate_pem()).expect("written");
    std::fs::write(&certificate, &server.certificate_pem).expect("written");
    std::fs::write(&key, server.key_pem.as_bytes()).expect("written");
    let port = broker::free_port().expect("a port");
    let address = broker::start(port, &ca, &certificate, &key).await.expect("a broker");
    let url = BrokerUrl::encrypted("127.0.0.1", address.port()).expect("a URL");
    Running { authority, url, _files: files }
}

impl Running {
    fn settings(&self, name: &str, identity: Option<Identity>) -> MqttSettings {
        let mut settings = MqttSettings::new(self.url.clone(), name, Arc::new(now), 1);
        settings.ca_pem = self.authority.certificate_pem().to_owned();
        if let Some(identity) = identity {
            settings.certificate_pem = identity.certificate_pem;
            settings.key_pem = identity.key_pem.to_string();
        }
        settings
    }

    fn identity(&self, name: &str) -> Identity {
        self.authority.device(&device(name), now()).expect("a certificate")
    }

    async fn client(&self, name: &str) -> (Link, mpsc::Receiver<LinkEvent>) {
        let (link, events) = connect(self.settings(name, Some(self.identity(name)))).expect("a link");
        link.wait_until_up(PATIENCE).await.expect("a client with a certificate is let in");
        (link, events)
    }
}

async fn refused(settings: MqttSettings) -> LinkError {
    let (link, mut events) = connect(settings).expect("a link");
    let drain = tokio::spawn(async move { while events.recv().await.is_some() {} });
    let outcome = link.wait_until_up(REFUSAL_PATIENCE).await;
    assert_eq!(link.statistics().connects, 0, "it was let in");
    drain.abort();
    outcome.expect_err("it was let in")
}

#[tokio::test(flavor = "multi_thread")]
async fn only_certificates_of_the_fleet_are_let_in() {
    let broker = start().await;
    let (link, _events) = broker.client("camera-1").await;
    assert!(link.is_up());

    let without = refused(broker.settings("camera-2", None)).await;
    let stranger = authority().device(&device("camera-3"), now()).expect("a certificate");
    let foreign = refused(broker.settings("camera-3", Some(stranger))).await;
    let mut elsewhere = broker.settings("camera-4", Some(broker.identity("camera-4")));
    elsewhere.ca_pem = authority().certificate_pem().to_owned();
    let wrong_ca = refused(elsewhere).await;
    let long_ago = broker.authority.device(&device("camera-5"), now() - 6 * 366 * 86_400).expect("a certificate");
    let ended = refused(broker.settings("camera-5", Some(long_ago))).await;
    for (name, error) in [("none", without), ("foreign", foreign), ("wrong CA", wrong_ca), ("ended", ended)] {
        assert!(!matches!(error, LinkError::Closed), "{name}: {error}");
    }

    let (again, _events) = broker.client("camera-6").await;
    assert!(again.is_up(), "refused clients harm nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_name_that_is_not_in_the_certificate_is_refused_by_the_client() {
    let broker = start().await;
    let mut settings = broker.settings("camera-1", Some(broker.identity("camera-1")));
    settings.url = BrokerUrl::encrypted("localhost", broker.url.port()).expect("a URL");
    refused(settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_in_flight_arrives() {
    let broker = start().await;
    let (server, mut server_events) = broker.client("server").await;
    tokio::spawn(async move { while server_events.recv().await.is_some() {} });
    let objects: Vec<Bytes> = (1..=160).map(|seed| Bytes::from(noise(56 * 1024, seed))).collect();
    let by_digest: std::collections::BTreeMap<Digest, Bytes> =
        objects.iter().map(|bytes| (Digest::of(bytes), bytes.clone())).collect();
    let wanted: Vec<Digest> = by_digest.keys().copied().collect();
    let group = FleetId::parse("servers").expect("a name");
    let chunks = ChunkServer::start(server, ChunkServerSettings::new(fleet(), Some(group)), move |_, request| {
        let found = by_digest.get(&request.subject()).cloned();
        async move {
            match (request, found) {
                (Request::Chunk { .. }, Some(bytes)) => ReplyBody::Object(bytes),
                other => panic!("asked for {other:?}"),
            }
        }
    })
    .expect("a server");
    // The largest window that the protocol allows: everything that can be on the way to one device at a time.
    let (client, mut client_events) = broker.client("camera-1").await;
    tokio::spawn(async move { while client_events.recv().await.is_some() {} });
    let settings = FetchSettings { window_max: 64, ..FetchSettings::default() };
    let mut fetcher = ChunkFetcher::new(&client, &fleet(), &device("camera-1"), settings).expect("a fetcher");
    let (_keep, abort) = watch::channel(false);
    let mut take = |digest: &Digest, bytes: Bytes| match Digest::of(&bytes) == *digest {
        true => Verdict::Taken,
        false => Verdict::Wrong("another digest".to_owned()),
    };
    let report = fetcher.fetch(&wanted, &mut take, abort).await.expect("a fetch");
    assert_eq!((report.taken, report.not_fetched.len()), (160, 0), "{report:?}");
    assert_eq!(chunks.statistics().declined, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_and_wills_reach_devices() {
    let broker = start().await;
    let (controller, mut events) = broker.client("controller").await;
    let topic = Topic::Timestamp(fleet());
    controller.publish(&topic, Bytes::from_static(b"now"), Publish::retained()).expect("published");
    let status = Topic::Status(fleet(), device("camera-1"));
    controller.subscribe(status.to_string()).expect("subscribed");
    controller.flush(PATIENCE).await.expect("sent");

    // rumqttd loses about one will in eight when a connection ends abruptly, so there `online` is a hint. That all of
    // several are lost would be a defect of ours.
    for attempt in 1..=WILL_ATTEMPTS {
        let mut settings = broker.settings("camera-1", Some(broker.identity("camera-1")));
        settings.will = Some(Will { topic: status.to_string(), payload: Bytes::from_static(b"gone") });
        let (camera, mut camera_events) = connect(settings).expect("a link");
        camera.wait_until_up(PATIENCE).await.expect("let in");
        let drain = tokio::spawn(async move { while camera_events.recv().await.is_some() {} });
        let found = cloud_sync_link::retained(&camera, &topic, PATIENCE).await.expect("a link");
        assert_eq!(found, Some(Bytes::from_static(b"now")));
        // No goodbye: as when its machine loses power.
        drop(camera);
        drain.abort();
        let heard = async {
            loop {
                match events.recv().await {
                    Some(LinkEvent::Message(message)) if message.topic == status.to_string() => return message.payload,
                    Some(_) => {}
                    None => panic!("the controller's link ended"),
                }
            }
        };
        match tokio::time::timeout(WILL_PATIENCE, heard).await {
            Ok(payload) => return assert_eq!(payload, Bytes::from_static(b"gone")),
            Err(_) => assert!(attempt < WILL_ATTEMPTS, "no will was published in {WILL_ATTEMPTS} attempts"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let none = std::path::Path::new("none");
    let error = broker::start(port, none, none, none).await.expect_err("in use").to_string();
    assert!(error.starts_with(&format!("listen on 127.0.0.1:{port} for the embedded broker")), "{error}");
}
