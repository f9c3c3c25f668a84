//! The whole agent over a broker in memory: follow, lose the network, restart, refuse, go back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloud_sync_link::memory::MemoryBroker;
use cloud_sync_link::{ChunkServer, ChunkServerSettings, Link, LinkEvent};
use cloud_sync_protocol::{
    ChannelId, Declined, Filter, FleetId, ModelName, ModelState, ReplyBody, Request as Question, Status as Report,
    Topic, WhyDeclined,
};
use cloud_sync_store::{DeviceState, Store};
use runtime_trust::{Digest, FileName, Root, TrustState};
use tokio::sync::mpsc;

use super::Daemon;
use crate::admin::{AdminClient, DescribeReply, InferReplyBody, InstallReply, Request, WireTensor};
use crate::config::{Config, Flags};
use crate::device::Device;
use crate::fixture::{
    Artifact, CHANNEL, DEPLOY, FLEET, Fleet, MODEL, Spec, artifact, picture, picture_answer, sign_deployment,
};
use crate::folder::AgentFolder;
use crate::status::Status;

/// Longer than anything here takes on the slowest machine; reached only when something never happens.
const PATIENCE: Duration = Duration::from_secs(120);

/// The fleet's side of the broker.
struct Operator {
    fleet: Fleet,
    broker: MemoryBroker,
    events: mpsc::Receiver<LinkEvent>,
    objects: Arc<Mutex<BTreeMap<Digest, Vec<u8>>>>,
    _link: Link,
    _server: ChunkServer,
}

fn fleet_id() -> FleetId {
    FleetId::parse(FLEET).expect("a name")
}

impl Operator {
    fn new(broker: &MemoryBroker) -> Operator {
        let (link, events) = broker.connect("controller", None);
        link.subscribe(Filter::Statuses(fleet_id())).expect("a filter");
        let objects: Arc<Mutex<BTreeMap<Digest, Vec<u8>>>> = Arc::default();
        let lookup = objects.clone();
        let settings = ChunkServerSettings::new(fleet_id(), None);
        let server = ChunkServer::start(link.clone(), settings, move |_, question| {
            let found = match question {
                Question::Chunk { digest } => lookup.lock().expect("no panic holds it").get(&digest).cloned(),
                Question::Offer { .. } => None,
            };
            async move {
                match found {
                    Some(bytes) => ReplyBody::Object(bytes.into()),
                    None => ReplyBody::Declined(Declined::new(WhyDeclined::NotFound, 0, "no such object")),
                }
            }
        });
        let server = server.expect("a link");
        Operator { fleet: Fleet::new(), broker: broker.clone(), events, objects, _link: link, _server: server }
    }

    fn publish(&self, topic: Topic, bytes: Vec<u8>) {
        self.broker.inject(&topic.to_string(), bytes, true);
    }

    /// Publishes everything, the deployment last.
    fn deploy(&mut self, artifacts: &[&Artifact]) {
        for artifact in artifacts {
            self.fleet.allow(artifact);
            self.publish(Topic::Manifest(fleet_id(), artifact.digest), artifact.envelope.clone());
            let mut objects = self.objects.lock().expect("no panic holds it");
            artifact.objects.iter().for_each(|(digest, bytes)| {
                objects.entry(*digest).or_insert_with(|| bytes.clone());
            });
        }
        self.publish(Topic::Root(fleet_id()), self.fleet.root.clone());
        let mut files = self.fleet.metadata();
        let timestamp = files.remove(&FileName::Timestamp).expect("a timestamp");
        for (name, bytes) in files {
            let topic = match name {
                FileName::Snapshot => Topic::Snapshot(fleet_id()),
                FileName::Targets => Topic::Targets(fleet_id()),
                FileName::Named(name) => Topic::NamedTargets(fleet_id(), ModelName::parse(&name).expect("a name")),
                other => panic!("no file {other}"),
            };
            self.publish(topic, bytes);
        }
        self.publish(Topic::Timestamp(fleet_id()), timestamp);
        let deployment = self.fleet.deployment(artifacts);
        let channel = ChannelId::parse(CHANNEL).expect("a name");
        self.publish(Topic::Deployment(fleet_id(), channel), sign_deployment(&deployment, DEPLOY));
    }

    /// The first report that `wanted` accepts.
    async fn wait_for(&mut self, what: &str, wanted: impl Fn(&Report) -> bool) -> Report {
        let found = async {
            loop {
                match self.events.recv().await.expect("the broker is there") {
                    LinkEvent::Message(message) => {
                        let report = Report::decode(&message.payload).expect("a report");
                        if wanted(&report) {
                            return report;
                        }
                    }
                    other => drop(other),
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no report ever said: {what}"))
    }
}

fn active(report: &Report) -> Option<u64> {
    let model = report.models.iter().find(|model| model.name.as_str() == MODEL)?;
    model.active.as_ref().map(|active| active.number)
}

fn is_active(report: &Report, number: u64) -> bool {
    let settled = |report: &Report| report.models.iter().all(|model| model.state == ModelState::Active);
    report.online && active(report) == Some(number) && settled(report)
}

/// A folder that was enrolled.
fn enrolled(folder: &Path, fleet: &Fleet) {
    let store = Store::open(folder).expect("a new folder");
    let trust = TrustState::enrolled(Root::pin(&fleet.root).expect("a root"), fleet.enrolment().time).to_bytes();
    store.commit(DeviceState { trust, ..DeviceState::default() }).expect("room for a state");
}

async fn start(folder: &Path, operator: &Operator) -> Daemon {
    let flags = Flags::of(&[("http.listen", "127.0.0.1:0"), ("boot.settle_s", "0"), ("link.answer_ms_max", "2000")]);
    let config = Config::load(folder, &|_| None, &flags).expect("flags");
    let enrolment = operator.fleet.enrolment();
    let device = Device::open(&AgentFolder::new(folder), Some(&enrolment), config.settings()).expect("a device");
    let broker = operator.broker.clone();
    let connect =
        Box::new(move |settings: cloud_sync_link::MqttSettings| Ok(broker.connect(&settings.client_id, settings.will)));
    Daemon::start(device, Some(enrolment), connect).await.expect("an agent")
}

/// Asks over the admin socket, as commands do.
async fn ask<T: serde::de::DeserializeOwned + Send + 'static>(folder: &Path, request: Request) -> T {
    let folder = AgentFolder::new(folder);
    let asked = tokio::task::spawn_blocking(move || {
        AdminClient::connect(&folder).expect("a socket").expect("an agent").ask::<T>(request)
    });
    asked.await.expect("no panic").expect("an answer")
}

/// Asks about the test's picture; checks that version `number` answers.
async fn assert_answers(folder: &Path, number: u64) {
    let described: DescribeReply = ask(folder, Request::Describe { model: None }).await;
    assert_eq!(described.name, MODEL);
    let prepared = crate::input::prepare(&picture(), &described.contract).expect("a picture");
    let inputs = prepared.inputs.iter().map(WireTensor::from).collect();
    let request = Request::Infer { model: MODEL.to_owned(), inputs, strict: true };
    let reply: InferReplyBody = ask(folder, request).await;
    assert_eq!((reply.number, reply.rung), (number, 1));
    let (_, output) = reply.outputs[0].tensor().expect("a tensor");
    let expected = picture_answer(number as f32);
    for (found, expected) in output.to_f32_vec().expect("floats").iter().zip(expected) {
        assert!((found - expected).abs() < 1e-4, "version {number}: {found} is not {expected}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_follows_its_fleet_and_outlives_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let broker = MemoryBroker::new(7);
    let mut operator = Operator::new(&broker);
    enrolled(folder, &operator.fleet);
    let one = artifact(&Spec::new(MODEL, 1));
    operator.deploy(&[&one]);

    // It joins, fetches, proves and reports.
    let daemon = start(folder, &operator).await;
    let report = operator.wait_for("version 1 is active", |report| is_active(report, 1)).await;
    assert_eq!(report.sequence_seen, 1);
    let proof = report.models[0].self_test.as_ref().expect("a proof");
    assert_eq!(proof.golden_cases, 4);
    assert_answers(folder, 1).await;
    let agent_json = std::fs::metadata(folder.join("agent.json"));
    assert!(agent_json.is_ok(), "agent.json says how to talk to it");

    // The broker dies: it goes on, and after a restart without any network it serves the same.
    broker.stop();
    assert_answers(folder, 1).await;
    daemon.stop().await;
    assert!(std::fs::metadata(folder.join("agent.json")).is_err(), "agent.json is gone with the agent");
    let daemon = start(folder, &operator).await;
    assert_answers(folder, 1).await;
    let status: Status = ask(folder, Request::Status {}).await;
    assert_eq!((status.link.as_str(), status.running), ("down", true));
    assert!(status.link_problem.is_some(), "it says why");

    // The broker is back: a chunk with a flipped byte is refused by every device, and named.
    broker.start();
    let two = artifact(&Spec::new(MODEL, 2));
    let mut damaged = two.objects[&two.model_chunks[0]].clone();
    damaged[3] ^= 1;
    operator.objects.lock().expect("no panic holds it").insert(two.model_chunks[0], damaged);
    operator.deploy(&[&two]);
    let refused = |report: &Report| {
        let refusal = report.models.first().and_then(|model| model.refusal.as_ref());
        refusal.is_some_and(|refusal| (refusal.step, refusal.reason.as_str()) == (7, "chunk-digest-mismatch"))
    };
    let report = operator.wait_for("the damaged chunk is refused", refused).await;
    assert_eq!(active(&report), Some(1));
    assert_answers(folder, 1).await;

    // The same version with honest bytes is taken, by a new deployment; then the fleet goes back.
    operator.objects.lock().expect("no panic holds it").remove(&two.model_chunks[0]);
    operator.deploy(&[&two]);
    operator.wait_for("version 2 is active", |report| is_active(report, 2)).await;
    assert_answers(folder, 2).await;
    operator.deploy(&[&one]);
    operator.wait_for("version 1 is back", |report| is_active(report, 1)).await;
    assert_answers(folder, 1).await;

    // A person rolls back on the device, over the socket.
    let reply: InstallReply = ask(folder, Request::Rollback { model: None }).await;
    assert_eq!(reply.models[0].version.number, 2);
    assert_answers(folder, 2).await;
    daemon.stop().await;
    let gone = |report: &Report| !report.online;
    operator.wait_for("the agent said goodbye", gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_cannot_be_tried_is_said_and_serving_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = MemoryBroker::new(8);
    let operator = Operator::new(&broker);
    enrolled(folder.path(), &operator.fleet);
    let config = Config::load(folder.path(), &|_| None, &Flags::of(&[("http.listen", "off")])).expect("flags");
    let enrolment = operator.fleet.enrolment();
    let device = Device::open(&AgentFolder::new(folder.path()), Some(&enrolment), config.settings()).expect("a device");
    // The real connection: this enrolment has no certificates, so the settings alone are refused.
    let daemon = Daemon::start(device, Some(enrolment), Box::new(cloud_sync_link::connect)).await.expect("an agent");
    let status: Status = ask(folder.path(), Request::Status {}).await;
    assert_eq!(status.link, "down");
    assert!(status.link_problem.is_some_and(|why| why.starts_with("failed to ")), "it says why");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_lines_on_the_admin_socket_are_told_and_harm_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let folder = tempfile::tempdir().expect("a folder");
    let broker = MemoryBroker::new(9);
    let operator = Operator::new(&broker);
    enrolled(folder.path(), &operator.fleet);
    let daemon = start(folder.path(), &operator).await;
    let rows = [
        ("not JSON\n", "no request"),
        ("{\"schema\":2,\"request\":{\"op\":\"status\"}}\n", "version 2"),
        ("{\"schema\":1,\"request\":{\"op\":\"format-disk\"}}\n", "no request"),
        ("{\"schema\":1,\"request\":{\"op\":\"install\",\"path\":\"relative.cask\"}}\n", "no absolute path"),
        ("{\"schema\":1,\"request\":{\"op\":\"rollback\",\"model\":\"none\"}}\n", "no model none"),
    ];
    for (line, expected) in rows {
        let mut stream = tokio::net::UnixStream::connect(folder.path().join("admin.sock")).await.expect("a socket");
        stream.write_all(line.as_bytes()).await.expect("a line");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        let answer = String::from_utf8(answer).expect("JSON");
        assert!(answer.contains("\"failed\"") && answer.contains(expected), "{line:?}: {answer}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(folder.path().join("admin.sock")).expect("a socket").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let _: Status = ask(folder.path(), Request::Status {}).await;
    daemon.stop().await;
}
