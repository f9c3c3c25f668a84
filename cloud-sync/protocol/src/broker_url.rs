//! The address of an MQTT broker: `mqtts://host[:port]`, or `mqtt://` without encryption.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{ProtocolError, excerpt, malformed};

/// Port of MQTT over TLS when the URL names none.
const PORT_ENCRYPTED: u16 = 8883;
/// Port of MQTT without TLS when the URL names none.
const PORT_PLAIN: u16 = 1883;
/// Bytes of a host name (RFC 1035).
const HOST_BYTES_MAX: usize = 253;

/// Where a broker listens. Whether an unencrypted one is acceptable is decided where the connection is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerUrl {
    encrypted: bool,
    host: String,
    port: u16,
}

impl BrokerUrl {
    /// The URL of a broker that speaks TLS.
    pub fn encrypted(host: &str, port: u16) -> Result<Self, ProtocolError> {
        Self::from_parts(true, host, port)
    }

    /// The URL of a broker without TLS.
    pub fn plain(host: &str, port: u16) -> Result<Self, ProtocolError> {
        Self::from_parts(false, host, port)
    }

    fn from_parts(encrypted: bool, host: &str, port: u16) -> Result<Self, ProtocolError> {
        let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let address = host.contains(':') && host.parse::<std::net::Ipv6Addr>().is_ok();
        if host.is_empty() || host.len() > HOST_BYTES_MAX || (!address && !host.bytes().all(name)) {
            return Err(malformed("a broker URL", format!("{:?} is no host name or address", excerpt(host))));
        }
        if port == 0 {
            return Err(malformed("a broker URL", "port 0 cannot be connected to"));
        }
        Ok(Self { encrypted, host: host.to_owned(), port })
    }

    /// Reads `mqtts://host[:port]` or `mqtt://host[:port]`; an IPv6 address stands in brackets. User names, paths
    /// and queries are refused: a device's identity is its certificate.
    pub fn parse(text: &str) -> Result<Self, ProtocolError> {
        let wrong = |reason: &str| {
            malformed("a broker URL", format!("{:?}: {reason}; expected mqtts://HOST[:PORT]", excerpt(text)))
        };
        let (encrypted, rest) = match text.split_once("://") {
            Some(("mqtts" | "ssl", rest)) => (true, rest),
            Some(("mqtt" | "tcp", rest)) => (false, rest),
            Some(_) => return Err(wrong("the scheme is neither mqtts nor mqtt")),
            None => return Err(wrong("it has no scheme")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '@', '?', '#']) {
            return Err(wrong("only a host and a port may follow the scheme"));
        }
        let default = if encrypted { PORT_ENCRYPTED } else { PORT_PLAIN };
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(|| wrong("the bracket is not closed"))?;
                (host, after.strip_prefix(':').or(if after.is_empty() { None } else { Some("?") }))
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let port = match port {
            None => default,
            Some(port) => port.parse().map_err(|_| wrong("the port is no number from 1 to 65535"))?,
        };
        Self::from_parts(encrypted, host, port)
    }

    /// Whether the broker speaks TLS.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Host name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the host is this machine by its spelling alone; no name is looked up.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(formatter, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for BrokerUrl {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for BrokerUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BrokerUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
