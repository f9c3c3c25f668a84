//! What a connection needs to know.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cloud_sync_protocol::{BrokerUrl, limits};

use crate::backoff::BackoffSettings;
use crate::outbox::OutboxLimits;

/// Seconds since 1970. Pass max(system clock, signed time seen), so that certificates can be checked on a device
/// whose clock stands at 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Which brokers may be spoken to without encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plaintext {
    /// Only one on this very machine.
    #[default]
    LoopbackOnly,
    /// Any; whoever is on the path reads and changes every message, and pretends to be any device.
    AnyHostWithoutEncryptionOrIdentity,
}

/// The message that the broker publishes when the connection ends without a goodbye; QoS 1, not retained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Bytes,
}

/// Everything about one connection to an MQTT broker.
#[derive(Clone)]
pub struct MqttSettings {
    /// Where the broker listens.
    pub url: BrokerUrl,
    /// MQTT client id; two connections with one id end each other.
    pub client_id: String,
    /// Certificates of the authority that signed the broker's certificate, PEM.
    pub ca_pem: String,
    /// This client's certificate chain, PEM; empty for none.
    pub certificate_pem: String,
    /// This client's private key, PEM; empty for none.
    pub key_pem: String,
    /// The last will.
    pub will: Option<Will>,
    /// The clock against which certificates are checked.
    pub clock: Clock,
    /// Seed of the jitter between attempts; give every client its own.
    pub seed: u64,
    /// Whether an unencrypted broker on another machine is accepted.
    pub plaintext: Plaintext,
    /// Time between pings when nothing else is sent.
    pub keep_alive: Duration,
    /// Time for TCP, TLS and MQTT connect together.
    pub connect_timeout: Duration,
    /// Waits between attempts.
    pub backoff: BackoffSettings,
    /// Bounds of the outbox.
    pub outbox: OutboxLimits,
    /// Bytes of the largest packet taken from the broker.
    pub packet_bytes_max: u32,
}

/// Shortest time between pings that the client takes.
pub(crate) const KEEP_ALIVE_MIN: Duration = Duration::from_secs(5);

impl MqttSettings {
    /// Settings for a broker without TLS material; encryption needs `ca_pem` at least.
    pub fn new(url: BrokerUrl, client_id: impl Into<String>, clock: Clock, seed: u64) -> Self {
        Self {
            url,
            client_id: client_id.into(),
            ca_pem: String::new(),
            certificate_pem: String::new(),
            key_pem: String::new(),
            will: None,
            clock,
            seed,
            plaintext: Plaintext::default(),
            keep_alive: Duration::from_secs(limits::KEEP_ALIVE_S.into()),
            connect_timeout: Duration::from_secs(10),
            backoff: BackoffSettings::default(),
            outbox: OutboxLimits::default(),
            packet_bytes_max: limits::PACKET_BYTES_MAX,
        }
    }
}

impl fmt::Debug for MqttSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key never reaches a log.
        formatter
            .debug_struct("MqttSettings")
            .field("url", &self.url.to_string())
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}
