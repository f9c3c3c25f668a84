//! Limits that every message keeps, in one place, with units last in their names.
//!
//! They are the smallest limits of mosquitto, EMQX, HiveMQ, AWS IoT Core and Azure Event Grid; the test
//! `limits_fit_every_broker` holds the brokers' numbers and their sources.

/// Bytes of one MQTT payload.
pub const PAYLOAD_BYTES_MAX: usize = 60 * 1024;
/// Bytes of one whole MQTT packet that a device takes; a longer one ends the connection.
pub const PACKET_BYTES_MAX: u32 = 64 * 1024;
/// Bytes of one chunk, index part or other object as it is stored and sent.
pub const OBJECT_BYTES_MAX: usize = 56 * 1024;
/// Bytes of the header before the object in a reply.
pub const REPLY_HEADER_BYTES_MAX: usize = 1024;
/// Bytes of all objects that ride inside one offer.
pub const OFFER_INLINE_BYTES_MAX: usize = 48 * 1024;
/// Objects that ride inside one offer.
pub const OFFER_INLINE_MAX: usize = 64;
/// Mirrors that one offer names.
pub const OFFER_MIRRORS_MAX: usize = 4;
/// Bytes of one mirror's URL.
pub const MIRROR_BYTES_MAX: usize = 512;
/// Bytes of a request.
pub const REQUEST_BYTES_MAX: usize = 512;
/// Levels of a topic; a shared subscription adds two in front.
pub const TOPIC_LEVELS_MAX: usize = 6;
/// Bytes of a topic or filter.
pub const TOPIC_BYTES_MAX: usize = 192;
/// Bytes of a fleet, device, channel or model name.
pub const IDENTIFIER_BYTES_MAX: usize = 63;
/// Bytes of MQTT correlation data.
pub const CORRELATION_BYTES_MAX: usize = 64;
/// Filters in one SUBSCRIBE packet.
pub const FILTERS_PER_SUBSCRIBE_MAX: usize = 8;
/// Subscriptions that one device holds at a time.
pub const DEVICE_SUBSCRIPTIONS_MAX: usize = 48;
/// Messages with QoS 1 that one client has on the way without an acknowledgement.
pub const IN_FLIGHT_MAX: u16 = 64;
/// Seconds between pings when nothing else is sent.
pub const KEEP_ALIVE_S: u16 = 120;
/// Models that one device serves, and a status lists.
pub const MODELS_MAX: usize = 32;
/// Bytes of a person-readable message inside a status or a reply.
pub const MESSAGE_BYTES_MAX: usize = 400;
/// Bytes of an enrolment file: certificates, a key and a root.
pub const ENROLMENT_BYTES_MAX: usize = 256 * 1024;

/// Cuts `text` to at most `bytes_max` bytes at a character border and replaces control characters by spaces, so
/// that its length as JSON stays bounded.
pub(crate) fn bounded_text(text: &str, bytes_max: usize) -> String {
    let mut bounded = String::with_capacity(text.len().min(bytes_max));
    for character in text.chars() {
        let character = if character.is_control() { ' ' } else { character };
        if bounded.len() + character.len_utf8() > bytes_max {
            break;
        }
        bounded.push(character);
    }
    bounded
}
