use super::*;

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn file(text: &str, version: u64) -> TrustFile {
    TrustFile { digest: digest(text), bytes: 400, version, expires: 1_800_000_000 }
}

fn name(text: &str) -> ModelName {
    ModelName::parse(text).expect("a name")
}

/// One of each kind, with every optional field present once and absent once.
fn examples() -> Vec<Event> {
    let all = TrustChange {
        timestamp: file("timestamp", 2),
        snapshot: Some(file("snapshot", 2)),
        targets: Some(file("targets", 1)),
        names: BTreeMap::from([(name("digits"), file("digits", 1))]),
    };
    let only_timestamp =
        TrustChange { timestamp: file("later", 3), snapshot: None, targets: None, names: BTreeMap::new() };
    let artifact = ArtifactRecord {
        number: 1,
        version: "1.0.0".to_owned(),
        digest: digest("manifest"),
        manifest_bytes: 2000,
        chunks: 3,
        stored_bytes: 90_000,
    };
    let channel = ChannelId::parse("stable").expect("a name");
    let deployment = |cause| DeploymentRecord {
        sequence: 1,
        models: BTreeMap::from([(name("digits"), digest("manifest"))]),
        envelope: digest("envelope"),
        issued: 1_790_000_000,
        expires: 1_820_000_000,
        cause,
    };
    let released = |artifact, retired, denied, trust| Event::Released {
        name: name("digits"),
        artifact,
        retired,
        floor: 0,
        denied,
        trust,
    };
    vec![
        released(Some(artifact), vec![], vec![], all.clone()),
        released(None, vec![1, 2], vec![digest("bad")], all),
        Event::TrustRenewed { trust: only_timestamp },
        Event::Deployed { channel: channel.clone(), deployment: deployment(Cause::Rollout { name: name("digits") }) },
        Event::Deployed {
            channel: channel.clone(),
            deployment: deployment(Cause::Rollback { name: name("digits"), from: digest("manifest") }),
        },
        Event::Deployed { channel: channel.clone(), deployment: deployment(Cause::Renewal) },
        Event::Enrolled {
            device: DeviceId::parse("camera-1").expect("a name"),
            channel,
            fingerprint: digest("certificate"),
            expires: 1_950_000_000,
        },
    ]
}

#[test]
fn golden_lines_of_schema_1_are_written_and_read() {
    let golden = include_str!("golden/events-1.jsonl");
    let records: Vec<Record> = examples()
        .into_iter()
        .zip(1..)
        .map(|(event, position)| Record { schema: EVENT_SCHEMA, position, time: 1_790_000_000 + position, event })
        .collect();
    let written: Vec<u8> = records.iter().flat_map(Record::encode).collect();
    assert_eq!(String::from_utf8(written).expect("UTF-8"), golden);
    let read: Vec<Record> =
        golden.lines().map(|line| Record::decode(line.as_bytes()).expect("a golden line")).collect();
    assert_eq!(read, records);
}

#[test]
fn strangers_are_refused() {
    let rows = [
        ("{\"schema\":2,\"position\":1,\"verb\":\"x\"}", "schema 2 is newer than 1"),
        ("{\"schema\":0}", "schema 0 does not exist"),
        ("{\"schema\":1,\"position\":1,\"time\":1,\"event\":{\"kind\":\"paused\"}}", "unknown variant `paused`"),
        (
            "{\"schema\":1,\"position\":1,\"time\":1,\"who\":\"x\",\"event\":{\"kind\":\"paused\"}}",
            "unknown field `who`",
        ),
        ("", "EOF"),
    ];
    for (line, expected) in rows {
        let error = Record::decode(line.as_bytes()).expect_err(line).to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
}
