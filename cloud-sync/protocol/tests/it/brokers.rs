//! The limits against the brokers that the protocol is meant for.

use cloud_sync_protocol::limits::*;
use cloud_sync_protocol::{ChannelId, DeviceId, Filter, FleetId, ModelName, Topic};
use runtime_trust::Digest;

/// What a broker allows at its defaults; `u64::MAX` where it states no limit of its own.
struct Broker {
    name: &'static str,
    packet_bytes_max: u64,
    retained_bytes_max: u64,
    topic_levels_max: u64,
    topic_bytes_max: u64,
    client_id_bytes_max: u64,
    filters_per_subscribe_max: u64,
    subscriptions_max: u64,
    correlation_bytes_max: u64,
    keep_alive_s: (u64, u64),
    /// Messages with QoS 1 that a client may have sent without an acknowledgement, where the broker does not say so
    /// in CONNACK (the link obeys what CONNACK says).
    in_flight_max: u64,
}

const UNSTATED: u64 = u64::MAX;
/// MQTT 5 itself: remaining length (2.1.4), UTF-8 string (1.5.4), keep-alive (3.1.2.10).
const MQTT: Broker = Broker {
    name: "MQTT 5",
    packet_bytes_max: 268_435_455,
    retained_bytes_max: UNSTATED,
    topic_levels_max: UNSTATED,
    topic_bytes_max: 65_535,
    client_id_bytes_max: 65_535,
    filters_per_subscribe_max: UNSTATED,
    subscriptions_max: UNSTATED,
    correlation_bytes_max: 65_535,
    keep_alive_s: (0, 65_535),
    in_flight_max: 65_535,
};

fn brokers() -> Vec<Broker> {
    vec![
        MQTT,
        // mosquitto.conf(5), max_packet_size: unlimited in 2.0, 2,000,000 bytes from 2.1 on; topics of at most 200
        // levels (TOPIC_HIERARCHY_LIMIT in lib/mosquitto_internal.h).
        Broker { name: "mosquitto", packet_bytes_max: 2_000_000, topic_levels_max: 200, ..MQTT },
        // docs.emqx.com, "MQTT Configuration": max_packet_size 1MB, max_topic_levels 128, max_clientid_len 65535.
        Broker { name: "EMQX", packet_bytes_max: 1 << 20, topic_levels_max: 128, ..MQTT },
        // HiveMQ user guide, "MQTT Specific Configuration Options" and "Restrictions": packet 268435460, topic and
        // client id 65535, receive maximum 10 (said in CONNACK).
        Broker { name: "HiveMQ", packet_bytes_max: 268_435_455, ..MQTT },
        // AWS General Reference, "AWS IoT Core endpoints and quotas", message broker: payload 128 KB, topic of 256
        // bytes and 7 slashes, client id of 128 bytes, 8 filters per SUBSCRIBE, 50 subscriptions per connection,
        // keep-alive 30 to 1200 s, 100 unacknowledged publishes.
        Broker {
            name: "AWS IoT Core",
            packet_bytes_max: 128 * 1024,
            retained_bytes_max: 128 * 1024,
            topic_levels_max: 8,
            topic_bytes_max: 256,
            client_id_bytes_max: 128,
            filters_per_subscribe_max: 8,
            subscriptions_max: 50,
            keep_alive_s: (30, 1200),
            in_flight_max: 100,
            ..MQTT
        },
        // Microsoft Learn, "Azure Event Grid quotas and limits" and "MQTT Retain": message 512 KB, retained message
        // 64 KB, topic of 256 bytes and 8 segments, client name of 128 characters, 10 filters per SUBSCRIBE, 50
        // subscriptions per session, correlation data 256 bytes, keep-alive at most 1160 s.
        Broker {
            name: "Azure Event Grid",
            packet_bytes_max: 512 * 1024,
            retained_bytes_max: 64 * 1024,
            topic_levels_max: 8,
            topic_bytes_max: 256,
            client_id_bytes_max: 128,
            filters_per_subscribe_max: 10,
            subscriptions_max: 50,
            correlation_bytes_max: 256,
            keep_alive_s: (0, 1160),
            ..MQTT
        },
    ]
}

/// The longest spelling of every topic and filter.
fn longest() -> Vec<String> {
    let name = "n".repeat(IDENTIFIER_BYTES_MAX);
    let fleet = FleetId::parse(&name).unwrap();
    let device = DeviceId::parse(&name).unwrap();
    let topics = [
        Topic::Root(fleet.clone()),
        Topic::RootVersion(fleet.clone(), u64::MAX),
        Topic::Timestamp(fleet.clone()),
        Topic::Snapshot(fleet.clone()),
        Topic::Targets(fleet.clone()),
        Topic::NamedTargets(fleet.clone(), ModelName::parse(&name).unwrap()),
        Topic::Deployment(fleet.clone(), ChannelId::parse(&name).unwrap()),
        Topic::Manifest(fleet.clone(), Digest::of(b"")),
        Topic::Request(fleet.clone(), device.clone()),
        Topic::Chunk(fleet.clone(), device.clone()),
        Topic::Status(fleet.clone(), device),
    ];
    let filters = [
        Filter::SharedRequests { group: fleet.clone(), fleet: fleet.clone() },
        Filter::Requests(fleet.clone()),
        Filter::Statuses(fleet),
    ];
    topics.iter().map(ToString::to_string).chain(filters.iter().map(ToString::to_string)).collect()
}

#[test]
fn limits_fit_every_broker() {
    let mut failed = Vec::new();
    // Fixed header, packet id, properties with correlation data and expiry.
    let overhead = 5 + 2 + 4 + 64 + CORRELATION_BYTES_MAX;
    for broker in brokers() {
        let mut check = |what: &str, ours: u64, theirs: u64| {
            if ours > theirs {
                failed.push(format!("{}: {what} is {ours}, at most {theirs} are allowed", broker.name));
            }
        };
        let packet_bytes = (PAYLOAD_BYTES_MAX + TOPIC_BYTES_MAX + overhead) as u64;
        check("packet bytes", packet_bytes, broker.packet_bytes_max);
        check("retained bytes", PAYLOAD_BYTES_MAX as u64, broker.retained_bytes_max);
        check("client id bytes", IDENTIFIER_BYTES_MAX as u64, broker.client_id_bytes_max);
        check("filters per SUBSCRIBE", FILTERS_PER_SUBSCRIBE_MAX as u64, broker.filters_per_subscribe_max);
        check("subscriptions", DEVICE_SUBSCRIPTIONS_MAX as u64, broker.subscriptions_max);
        check("correlation bytes", CORRELATION_BYTES_MAX as u64, broker.correlation_bytes_max);
        check("keep-alive", KEEP_ALIVE_S.into(), broker.keep_alive_s.1);
        check("shortest keep-alive", broker.keep_alive_s.0, KEEP_ALIVE_S.into());
        check("messages in flight", IN_FLIGHT_MAX.into(), broker.in_flight_max);
        for topic in longest() {
            check(&format!("levels of {topic}"), topic.split('/').count() as u64, broker.topic_levels_max);
            check(&format!("bytes of {topic}"), topic.len() as u64, broker.topic_bytes_max);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn topics_keep_their_own_limits() {
    for topic in longest() {
        assert!(topic.len() <= TOPIC_BYTES_MAX, "{topic}");
        let plain = topic.strip_prefix("$share/").map_or(topic.as_str(), |rest| rest.split_once('/').unwrap().1);
        assert!(plain.split('/').count() <= TOPIC_LEVELS_MAX, "{topic}");
        assert!(plain.starts_with("cask/"), "{topic}");
    }
}

#[test]
fn a_device_takes_every_packet_that_the_protocol_sends() {
    let packet_bytes = PAYLOAD_BYTES_MAX + TOPIC_BYTES_MAX + CORRELATION_BYTES_MAX + 75;
    assert!(packet_bytes <= PACKET_BYTES_MAX as usize);
    const { assert!(OBJECT_BYTES_MAX + REPLY_HEADER_BYTES_MAX <= PAYLOAD_BYTES_MAX) };
}

#[test]
fn a_device_has_subscriptions_left_for_every_model() {
    // root, a root version, timestamp, snapshot, targets, deployment, chunk; per model its targets; a few manifests.
    const { assert!(7 + MODELS_MAX + 4 <= DEVICE_SUBSCRIPTIONS_MAX) };
}
