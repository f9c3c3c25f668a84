use super::*;
use crate::event::Cause;
use cloud_sync_protocol::{ModelRef, STATUS_SCHEMA};

const NOW: u64 = 1_790_000_000;

fn device(name: &str) -> DeviceId {
    DeviceId::parse(name).expect("a name")
}

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn status(name: &str, boot: u64, models: Vec<ModelStatus>) -> Status {
    Status {
        schema: STATUS_SCHEMA,
        device: device(name),
        online: true,
        boot,
        sequence_seen: 0,
        sent_unix: NOW,
        agent_version: "0.1.0".to_owned(),
        profile: None,
        models,
    }
}

fn model(state: ModelState, active: Option<&str>, refused: Option<&str>) -> ModelStatus {
    let reference = |text: &str| ModelRef { digest: digest(text), number: 1, version: "1.0.0".to_owned() };
    let refusal = |text: &str| RefusalReport::new(9, "golden-mismatch", "answers differ", Some(digest(text)));
    ModelStatus {
        name: ModelName::parse("digits").expect("a name"),
        state,
        active: active.map(reference),
        last_good: None,
        candidate: None,
        progress: None,
        refusal: refused.map(refusal),
        self_test: None,
    }
}

#[test]
fn a_will_ends_the_connection_and_keeps_the_models() {
    let mut index = DeviceIndex::default();
    let id = device("camera-1");
    let models = vec![model(ModelState::Active, Some("v1"), None)];
    index.observe(&id, status("camera-1", 3, models.clone()), NOW).expect("a report");
    index.observe(&id, Status::offline(id.clone(), 3, "0.1.0", NOW), NOW + 9).expect("the will");
    let known = index.get(&id).expect("known");
    assert!(!known.online);
    assert_eq!((known.last_seen, &known.status.models), (NOW, &models), "the device did not speak, the broker did");
}

#[test]
fn a_late_will_and_a_strangers_report_are_left_out() {
    let mut index = DeviceIndex::default();
    let id = device("camera-1");
    index.observe(&id, status("camera-1", 4, vec![]), NOW).expect("a report");
    let late = index.observe(&id, Status::offline(id.clone(), 3, "0.1.0", NOW), NOW);
    assert_eq!(late, Err(Ignored::LateWill { device: id.clone(), will: 3, boot: 4 }));
    let foreign = index.observe(&id, status("camera-2", 1, vec![]), NOW);
    assert_eq!(foreign, Err(Ignored::OtherDevice { device: id.clone(), named: device("camera-2") }));
    assert!(index.get(&id).is_some_and(|known| known.online));
}

#[test]
fn a_device_that_was_set_up_anew_is_believed() {
    let mut index = DeviceIndex::default();
    let id = device("camera-1");
    index.observe(&id, status("camera-1", 40, vec![]), NOW).expect("a report");
    index.observe(&id, status("camera-1", 1, vec![]), NOW + 1).expect("a report");
    index.observe(&id, Status::offline(id.clone(), 1, "0.1.0", NOW), NOW + 2).expect("its will");
    assert!(index.get(&id).is_some_and(|known| !known.online && known.status.boot == 1));
}

#[test]
fn the_cache_comes_back_with_nobody_online() {
    let mut index = DeviceIndex::default();
    index.observe(&device("a"), status("a", 1, vec![model(ModelState::Active, Some("v1"), None)]), NOW).expect("a");
    let read = DeviceIndex::decode(&index.encode().expect("bytes")).expect("the cache");
    let known = read.get(&device("a")).expect("known");
    assert!(!known.online);
    assert_eq!(known.last_seen, NOW);
    for damaged in [&b""[..], b"{}", b"{\"schema\":2,\"devices\":{}}", b"\xff"] {
        assert_eq!(DeviceIndex::decode(damaged), None);
    }
}

#[test]
fn standings() {
    use ModelState::{Active, Denied, Fetching, Refused};
    let deployment = DeploymentRecord {
        sequence: 2,
        models: BTreeMap::from([(ModelName::parse("digits").expect("a name"), digest("v2"))]),
        envelope: digest("envelope"),
        issued: NOW,
        expires: NOW + 1000,
        cause: Cause::Renewal,
    };
    let observed = |last_seen, models| Observed { online: true, last_seen, status: status("a", 1, models) };
    let rows = [
        ("never seen", None, Standing::Pending, false),
        ("no models", Some(observed(NOW, vec![])), Standing::Pending, false),
        ("old one", Some(observed(NOW, vec![model(Active, Some("v1"), None)])), Standing::Pending, false),
        ("fetching", Some(observed(NOW, vec![model(Fetching, Some("v1"), None)])), Standing::Pending, false),
        ("active", Some(observed(NOW, vec![model(Active, Some("v2"), None)])), Standing::Active, false),
        ("denied", Some(observed(NOW, vec![model(Denied, Some("v2"), None)])), Standing::Pending, false),
        ("refused", Some(observed(NOW, vec![model(Refused, Some("v1"), Some("v2"))])), Standing::Refused, true),
        ("refused first", Some(observed(NOW, vec![model(Refused, None, Some("v2"))])), Standing::Refused, true),
        (
            "refused another",
            Some(observed(NOW, vec![model(Refused, Some("v1"), Some("v3"))])),
            Standing::Pending,
            false,
        ),
        ("before", Some(observed(NOW - 1, vec![model(Refused, Some("v1"), Some("v2"))])), Standing::Pending, true),
        ("trying again", Some(observed(NOW, vec![model(Fetching, Some("v1"), Some("v2"))])), Standing::Pending, false),
        ("held", Some(observed(NOW, vec![model(ModelState::Held, Some("v2"), Some("v2"))])), Standing::Active, false),
    ];
    for (name, observed, expected, reason) in rows {
        let (found, refusal) = standing(&deployment, observed.as_ref());
        assert_eq!((found, refusal.is_some()), (expected, reason), "{name}");
    }
}
