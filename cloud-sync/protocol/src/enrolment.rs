//! The file that makes a machine a device of a fleet. It holds a private key: keep it at mode 0600.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::broker_url::BrokerUrl;
use crate::error::{ProtocolError, read_json};
use crate::identifier::{ChannelId, DeviceId, FleetId};
use crate::limits::ENROLMENT_BYTES_MAX;

/// The newest version of an enrolment file.
pub const ENROLMENT_SCHEMA: u32 = 1;

const WHAT: &str = "an enrolment file";

/// Everything that a device needs to reach and to trust its fleet.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// Version of this format.
    pub schema: u32,
    /// Where the broker listens.
    pub broker: BrokerUrl,
    /// The fleet.
    pub fleet: FleetId,
    /// This device's name in it.
    pub device: DeviceId,
    /// The channel that the device follows.
    pub channel: ChannelId,
    /// When the file was written, in seconds since 1970: the clock is never earlier than this.
    pub time: u64,
    /// Certificates of the authority that signed the broker's certificate, PEM.
    pub ca_pem: String,
    /// The device's certificate chain, PEM; empty for a broker without TLS.
    pub certificate_pem: String,
    /// The device's private key, PEM; empty for a broker without TLS.
    pub key_pem: String,
    /// The exact text of `root.json`: pinned once, never taken from the network.
    pub root: String,
}

impl Enrolment {
    /// The file's bytes, indented for people.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("strings and numbers only");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a file.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        read_json(WHAT, bytes, ENROLMENT_BYTES_MAX, ENROLMENT_SCHEMA)
    }
}

impl fmt::Debug for Enrolment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key never reaches a log.
        formatter
            .debug_struct("Enrolment")
            .field("broker", &self.broker.to_string())
            .field("fleet", &self.fleet)
            .field("device", &self.device)
            .field("channel", &self.channel)
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}
