//! `fleet serve` as a process with its embedded broker, the other commands beside it, and a device of its own.

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloud_sync_link::{Link, MqttSettings, connect};
use cloud_sync_protocol::Enrolment;
use runtime_trust::Root;
use serde_json::Value;

use crate::cli::{command, fleet, ok, run};
use crate::device::Device;
use crate::fixture::{Place, noise};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// A `fleet serve`; killed when it is dropped.
struct Serve {
    child: Child,
    broker: String,
}

impl Serve {
    fn start(place: &Place) -> Self {
        let mut child = command(place.folder.path())
            .arg("serve")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("fleet starts");
        let ready = until("serve.json is written", || {
            assert!(child.try_wait().expect("a child").is_none(), "fleet serve has ended");
            let text = std::fs::read(place.folder.serve()).ok()?;
            let ready: Value = serde_json::from_slice(&text).ok()?;
            (ready["pid"] == child.id()).then_some(ready)
        });
        Serve { child, broker: ready["broker"].as_str().expect("a URL").to_owned() }
    }

    /// As a power cut would.
    fn kill(mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }

    /// As a person would; returns the exit code.
    fn end(mut self) -> Option<i32> {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("a child");
        self.child.wait().expect("a child").code()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn join(file: &Path) -> (Device, Link) {
    let enrolment = Enrolment::decode(&std::fs::read(file).expect("the file")).expect("an enrolment");
    let mut settings = MqttSettings::new(enrolment.broker, enrolment.device.as_str(), Arc::new(now), 1);
    settings.ca_pem = enrolment.ca_pem;
    settings.certificate_pem = enrolment.certificate_pem;
    settings.key_pem = enrolment.key_pem;
    let (link, mut events) = connect(settings).expect("a link");
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    link.wait_until_up(PATIENCE).await.expect("let in");
    let root = Root::pin(enrolment.root.as_bytes()).expect("a root");
    (Device::new(link.clone(), enrolment.device, root, enrolment.time), link)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_life() {
    let place = Place::new();
    let serve = Serve::start(&place);
    let bytes = noise(200_000, 5);
    let file = place.cask("digits", 1, &bytes);
    let pushed = ok(&place, &["artifact", "push", file.to_str().expect("UTF-8")]);
    let out = place.path("camera-1.json");
    ok(&place, &["device", "enroll", "camera-1", "--out", out.to_str().expect("UTF-8")]);
    let (mut camera, link) = join(&out).await;
    assert_eq!(ok(&place, &["rollout", "start", "digits"])["sequence"], 1);

    let (manifest, digest, sequence) = camera.manifest("digits", now()).await.expect("trusted");
    assert_eq!(pushed["digest"], digest.to_string());
    assert_eq!(camera.file(&manifest, "model").await, Ok(bytes));
    camera.report(sequence, Some(digest), None);
    until("the report is seen", || (ok(&place, &["rollout", "status"])["active"] == 1).then_some(()));
    let waited = ok(&place, &["rollout", "start", "digits", "--wait", "--timeout", "30"]);
    assert_eq!((&waited["sequence"], &waited["active"]), (&2.into(), &1.into()));

    let second = fleet(&place, &["serve"]);
    assert_eq!(second.code, 9, "one controller per folder: {second:?}");
    let url = serve.broker.clone();
    serve.kill();
    assert!(place.folder.serve().exists() && place.folder.socket().exists(), "as kill -9 leaves them");
    let list = ok(&place, &["device", "list"]);
    assert_eq!((&list["devices"][0]["id"], &list["devices"][0]["online"]), (&"camera-1".into(), &false.into()));
    assert_eq!(ok(&place, &["rollout", "start", "digits"])["sequence"], 3, "signed without a controller");

    let serve = Serve::start(&place);
    assert_eq!(serve.broker, url, "enrolled devices find the broker again");
    link.wait_until_up(PATIENCE).await.expect("the device comes back by itself");
    let (_, again, sequence) = camera.manifest("digits", now()).await.expect("trusted");
    assert_eq!((again, sequence), (digest, 3));
    assert_eq!(serve.end(), Some(0));
    assert!(!place.folder.serve().exists() && !place.folder.socket().exists(), "it tidies up");
}

#[test]
fn a_broker_that_is_not_there_is_told_and_tried_again() {
    let place = Place::new();
    let port = cloud_sync_fleet::broker::free_port().expect("a port");
    let url = format!("mqtts://127.0.0.1:{port}");
    let log = std::fs::File::create(place.path("log")).expect("a log");
    let mut child = command(place.folder.path())
        .args(["serve", "--broker", &url])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("fleet starts");
    until("it says so", || {
        let text = std::fs::read_to_string(place.path("log")).expect("the log");
        text.contains(&format!("warning: no connection to {url} yet")).then_some(())
    });
    // It serves the other commands all the same.
    until("the socket answers", || place.folder.socket().exists().then_some(()));
    assert_eq!(run(command(place.folder.path()).args(["device", "list"])).code, 0);
    child.kill().expect("a child");
    child.wait().expect("a child");
}
