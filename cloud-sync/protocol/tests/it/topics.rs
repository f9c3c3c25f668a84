//! Topics and names.

use cloud_sync_protocol::{BrokerUrl, ChannelId, DeviceId, FleetId, ModelName, ProtocolError, Topic};
use proptest::prelude::*;
use runtime_trust::Digest;

fn fleet() -> FleetId {
    FleetId::parse("shops").unwrap()
}

fn rows() -> Vec<(Topic, String)> {
    let digest = Digest::of(b"abc");
    let device = DeviceId::parse("kiosk-7").unwrap();
    vec![
        (Topic::Root(fleet()), "cask/shops/trust/root".into()),
        (Topic::RootVersion(fleet(), 12), "cask/shops/trust/root/12".into()),
        (Topic::Timestamp(fleet()), "cask/shops/trust/timestamp".into()),
        (Topic::Snapshot(fleet()), "cask/shops/trust/snapshot".into()),
        (Topic::Targets(fleet()), "cask/shops/trust/targets".into()),
        (Topic::NamedTargets(fleet(), ModelName::parse("digits").unwrap()), "cask/shops/trust/targets/digits".into()),
        (
            Topic::Deployment(fleet(), ChannelId::parse("stable").unwrap()),
            "cask/shops/channel/stable/deployment".into(),
        ),
        (Topic::Manifest(fleet(), digest), format!("cask/shops/manifest/{digest}")),
        (Topic::Request(fleet(), device.clone()), "cask/shops/device/kiosk-7/request".into()),
        (Topic::Chunk(fleet(), device.clone()), "cask/shops/device/kiosk-7/chunk".into()),
        (Topic::Status(fleet(), device), "cask/shops/device/kiosk-7/status".into()),
    ]
}

#[test]
fn every_topic_is_written_and_read() {
    for (topic, text) in rows() {
        assert_eq!(topic.to_string(), text);
        assert_eq!(Topic::parse(&text), Ok(topic.clone()));
        assert_eq!(topic.fleet(), &fleet());
    }
}

#[test]
fn what_is_no_topic_is_refused() {
    let digest = Digest::of(b"abc").to_string();
    for text in [
        String::new(),
        "cask".into(),
        "cask/shops".into(),
        "other/shops/trust/root".into(),
        "cask/Shops/trust/root".into(),
        "cask//trust/root".into(),
        "/cask/shops/trust/root".into(),
        "cask/shops/trust/root/".into(),
        "cask/shops/trust/root/0".into(),
        "cask/shops/trust/root/01".into(),
        "cask/shops/trust/root/+1".into(),
        "cask/shops/trust/root/18446744073709551616".into(),
        "cask/shops/trust/root/1/2".into(),
        "cask/shops/trust/targets/..".into(),
        "cask/shops/trust/other".into(),
        "cask/shops/channel/stable".into(),
        "cask/shops/device/+/request".into(),
        "cask/shops/device/kiosk-7/reboot".into(),
        format!("cask/shops/manifest/{}", digest.to_uppercase()),
        format!("cask/shops/manifest/{}", &digest[1..]),
        format!("cask/shops/{}", "a".repeat(300)),
    ] {
        assert!(matches!(Topic::parse(&text), Err(ProtocolError::Topic { .. })), "{text:?}");
    }
}

#[test]
fn names_that_could_leave_their_place_are_refused() {
    let long = "a".repeat(64);
    for text in ["", ".", "..", ".hidden", "-x", "_x", "a/b", "a+b", "a#", "A", "ä", "a b", "a\0", "a\n", &long] {
        let error = DeviceId::parse(text).unwrap_err();
        assert!(error.to_string().contains("device name"), "{error}");
        assert!(serde_json::from_value::<DeviceId>(text.into()).is_err());
    }
    for text in ["a", "0", "a.b_c-d", &"a".repeat(63)] {
        assert_eq!(DeviceId::parse(text).unwrap().as_str(), text);
    }
}

#[test]
fn broker_urls() {
    let mut failed = Vec::new();
    for (text, expected) in [
        ("mqtts://broker.example.org", Some("mqtts://broker.example.org:8883")),
        ("mqtts://broker:1/", Some("mqtts://broker:1")),
        ("mqtt://127.0.0.1:1883", Some("mqtt://127.0.0.1:1883")),
        ("mqtt://localhost", Some("mqtt://localhost:1883")),
        ("mqtts://[::1]:8883", Some("mqtts://[::1]:8883")),
        ("mqtts://[::1]", Some("mqtts://[::1]:8883")),
        ("broker:8883", None),
        ("https://broker", None),
        ("mqtts://", None),
        ("mqtts://broker:0", None),
        ("mqtts://broker:65536", None),
        ("mqtts://broker:x", None),
        ("mqtts://user@broker", None),
        ("mqtts://broker/path", None),
        ("mqtts://bro ker", None),
        ("mqtts://[::1", None),
        ("mqtts://[::1]x", None),
        ("mqtts://::1", None),
    ] {
        let found = BrokerUrl::parse(text).map(|url| url.to_string()).ok();
        if found.as_deref() != expected {
            failed.push(format!("{text}: found {found:?}, expected {expected:?}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    let loopback = |text| BrokerUrl::parse(text).unwrap().is_loopback();
    assert!(loopback("mqtt://localhost") && loopback("mqtt://127.3.2.1") && loopback("mqtt://[::1]"));
    assert!(!loopback("mqtt://localhost.example.org") && !loopback("mqtt://10.0.0.1"));
}

proptest! {
    #[test]
    fn any_text_is_refused_or_read_and_written_the_same(text in "(cask/)?[a-z0-9./+#$_-]{0,80}") {
        if let Ok(topic) = Topic::parse(&text) {
            prop_assert_eq!(topic.to_string(), text);
        }
    }
}
