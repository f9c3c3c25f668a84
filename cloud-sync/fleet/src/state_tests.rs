use super::*;
use crate::event::EVENT_SCHEMA;

fn file(version: u64) -> TrustFile {
    TrustFile { digest: Digest::of(b"file"), bytes: 1, version, expires: 2_000_000_000 }
}

fn name() -> ModelName {
    ModelName::parse("digits").expect("a name")
}

fn released(number: u64, digest: &str, floor: u64, version: u64) -> Event {
    let artifact = ArtifactRecord {
        number,
        version: format!("1.0.{number}"),
        digest: Digest::of(digest.as_bytes()),
        manifest_bytes: 1,
        chunks: 1,
        stored_bytes: 1,
    };
    Event::Released {
        name: name(),
        artifact: Some(artifact),
        retired: Vec::new(),
        floor,
        denied: Vec::new(),
        trust: TrustChange {
            timestamp: file(version),
            snapshot: Some(file(version)),
            targets: Some(file(version)),
            names: BTreeMap::from([(name(), file(version))]),
        },
    }
}

fn renewed(timestamp: u64, snapshot: Option<u64>) -> Event {
    let snapshot = snapshot.map(file);
    let trust = TrustChange { timestamp: file(timestamp), snapshot, targets: None, names: BTreeMap::new() };
    Event::TrustRenewed { trust }
}

fn deployed(sequence: u64) -> Event {
    let deployment = DeploymentRecord {
        sequence,
        models: BTreeMap::from([(name(), Digest::of(b"one"))]),
        envelope: Digest::of(b"envelope"),
        issued: 1,
        expires: 2,
        cause: Cause::Renewal,
    };
    Event::Deployed { channel: ChannelId::parse("stable").expect("a name"), deployment }
}

fn record(position: u64, event: Event) -> Record {
    Record { schema: EVENT_SCHEMA, position, time: 1, event }
}

fn before() -> Vec<Record> {
    vec![record(1, released(2, "one", 1, 5)), record(2, deployed(7))]
}

#[test]
fn events_that_cannot_follow_are_named_and_change_nothing() {
    let rows = [
        ("a gap", record(4, deployed(8)), "apply event 4 of the log: expected event 3"),
        ("twice", record(2, deployed(8)), "apply event 2 of the log: expected event 3"),
        ("sequence", record(3, deployed(7)), "sequence 7 of stable does not rise"),
        ("floor", record(3, released(3, "two", 0, 6)), "the floor of digits falls to 0"),
        ("digest", record(3, released(2, "other", 1, 6)), "number 2 changes its digest"),
        ("timestamp", record(3, renewed(5, None)), "timestamp goes from version 5 to 5"),
        ("snapshot", record(3, renewed(6, Some(4))), "snapshot goes from version 5 to 4"),
        ("targets", record(3, released(3, "two", 1, 5)), "goes from version 5 to 5"),
    ];
    let state = State::fold(&before()).expect("a good log");
    for (row, event, expected) in rows {
        let mut after = state.clone();
        let error = after.apply(&event).expect_err(row).to_string();
        assert!(error.contains(expected), "{row}: {error}");
        assert_eq!(after, state, "{row}");
    }
    let mut empty = State::default();
    let error = empty.apply(&record(1, renewed(1, None))).expect_err("nothing to renew").to_string();
    assert!(error.contains("the first trust files are incomplete"), "{error}");
}

#[test]
fn a_change_of_some_files_keeps_the_others() {
    let mut state = State::fold(&before()).expect("a good log");
    state.apply(&record(3, renewed(6, None))).expect("a new timestamp");
    let set = state.trust().expect("pushed");
    let versions = (set.timestamp.version, set.snapshot.version, set.targets.version, set.names[&name()].version);
    assert_eq!(versions, (6, 5, 5, 5));
    assert_eq!(state.position(), 3);
}
