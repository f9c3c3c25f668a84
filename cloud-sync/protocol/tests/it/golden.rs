//! Files of every version that was ever sent. Readers must take each listed one; a file never changes once it is in a
//! release. Run the tests with `CASK_WRITE_GOLDEN=1` to write files that are missing.

use std::path::PathBuf;

use bytes::Bytes;
use cloud_sync_protocol::{
    BrokerUrl, ChannelId, Declined, DeviceId, Enrolment, FleetId, InlineObject, ModelName, ModelRef, ModelState,
    ModelStatus, Offer, ProfileSummary, Progress, RefusalReport, Reply, ReplyBody, Request, SelfTestReport, Status,
    WhyDeclined,
};
use runtime_trust::Digest;

fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if !path.exists() && std::env::var_os("CASK_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, written).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn model_ref(name: &str, number: u64) -> ModelRef {
    ModelRef { digest: digest(name), number, version: format!("1.{number}.0") }
}

pub(crate) fn status() -> Status {
    let names = ["digits", "sounds"].map(|name| ModelName::parse(name).unwrap());
    let [digits, sounds] = names;
    let empty = |name| ModelStatus {
        name,
        state: ModelState::Empty,
        active: None,
        last_good: None,
        candidate: None,
        progress: None,
        refusal: None,
        self_test: None,
    };
    Status {
        schema: 1,
        device: DeviceId::parse("kiosk-7").unwrap(),
        online: true,
        boot: 3,
        sequence_seen: (1 << 32) + 5,
        sent_unix: 1_790_000_000,
        agent_version: "0.1.0".into(),
        profile: Some(ProfileSummary {
            architecture: "x86_64".into(),
            os: "linux".into(),
            cores: 4,
            memory_bytes: 4 << 30,
            cpu_features: vec!["avx2".into(), "fma".into()],
            engines: vec!["native".into()],
        }),
        models: vec![
            ModelStatus {
                state: ModelState::Refused,
                active: Some(model_ref("two", 2)),
                last_good: Some(model_ref("one", 1)),
                candidate: Some(model_ref("three", 3)),
                progress: Some(Progress { fetched_bytes: 1000, total_bytes: 2000 }),
                refusal: Some(RefusalReport::new(
                    7,
                    "chunk-digest",
                    "chunk 4 of \"model\" is not what it should be",
                    Some(digest("three")),
                )),
                self_test: Some(SelfTestReport {
                    engine: "native".into(),
                    p50_us: 210,
                    p95_us: 260,
                    memory_bytes: 1 << 20,
                    golden_cases: 16,
                }),
                ..empty(digits)
            },
            empty(sounds),
        ],
    }
}

pub(crate) fn offer() -> Offer {
    let inline = ["first object", "second"]
        .map(|text| InlineObject { digest: digest(text), bytes: Bytes::from_static(text.as_bytes()) });
    Offer {
        manifest: digest("manifest"),
        inline: inline.into(),
        mirrors: vec!["https://mirror.example.org/objects".into()],
    }
}

pub(crate) fn replies() -> Vec<(&'static str, Reply)> {
    vec![
        ("reply-object.1.bin", Reply::object(digest("object"), Bytes::from_static(b"object"))),
        ("reply-offer.1.bin", Reply { subject: digest("manifest"), body: ReplyBody::Offer(offer().encode().unwrap()) }),
        (
            "reply-declined.1.bin",
            Reply::declined(digest("object"), Declined::new(WhyDeclined::Busy, 250, "too many requests")),
        ),
    ]
}

pub(crate) fn enrolment() -> Enrolment {
    Enrolment {
        schema: 1,
        broker: BrokerUrl::parse("mqtts://broker.example.org:8883").unwrap(),
        fleet: FleetId::parse("shops").unwrap(),
        device: DeviceId::parse("kiosk-7").unwrap(),
        channel: ChannelId::parse("stable").unwrap(),
        time: 1_790_000_000,
        ca_pem: "-----BEGIN CERTIFICATE-----\nY2E=\n-----END CERTIFICATE-----\n".into(),
        certificate_pem: "-----BEGIN CERTIFICATE-----\nY2xpZW50\n-----END CERTIFICATE-----\n".into(),
        key_pem: "-----BEGIN PRIVATE KEY-----\nbm8ga2V5\n-----END PRIVATE KEY-----\n".into(),
        root: "{\"signatures\":[],\"signed\":{}}".into(),
    }
}

#[test]
fn requests() {
    for (name, request) in [
        ("request-chunk.1.json", Request::Chunk { digest: digest("chunk") }),
        ("request-offer.1.json", Request::Offer { manifest: digest("manifest") }),
    ] {
        let bytes = golden(name, &request.encode());
        assert_eq!(Request::decode(&bytes), Ok(request));
        assert_eq!(request.encode(), bytes, "{name}");
    }
}

#[test]
fn replies_and_offers() {
    for (name, reply) in replies() {
        let bytes = Bytes::from(golden(name, &reply.encode().unwrap()));
        assert_eq!(Reply::decode(&bytes).as_ref(), Ok(&reply), "{name}");
        assert_eq!(reply.encode().unwrap(), bytes, "{name}");
    }
    let bytes = Bytes::from(golden("offer.1.bin", &offer().encode().unwrap()));
    assert_eq!(Offer::decode(&bytes), Ok(offer()));
    assert_eq!(offer().encode().unwrap(), bytes);
}

#[test]
fn statuses() {
    let will = Status::offline(DeviceId::parse("kiosk-7").unwrap(), 3, "0.1.0", 1_790_000_000);
    for (name, status) in [("status.1.json", status()), ("status-offline.1.json", will)] {
        let bytes = golden(name, &status.encode().unwrap());
        assert_eq!(Status::decode(&bytes).as_ref(), Ok(&status), "{name}");
        assert_eq!(status.encode().unwrap(), bytes, "{name}");
    }
}

#[test]
fn enrolments() {
    let bytes = golden("enrolment.1.json", &enrolment().encode());
    assert_eq!(Enrolment::decode(&bytes), Ok(enrolment()));
    assert_eq!(enrolment().encode(), bytes);
}
