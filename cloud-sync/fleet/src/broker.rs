//! The embedded broker (feature `embedded-broker`): rumqttd on loopback, for trying Cask out on one machine.
//!
//! What was found about rumqttd 0.20, and what follows from it:
//! - Without its feature `verify-client-cert` it accepts any client; with it, and with a CA file, TLS itself
//!   refuses a client that has no certificate of that CA. The tests hold this with a real client.
//! - It has no access control: whoever holds a device certificate may publish and read any topic. Devices are safe
//!   from that (they verify signatures), their reports are not. So it listens on loopback only, and says so.
//! - It keeps a log in memory per subscribed filter, and drops the oldest segment when a slow subscriber has not
//!   read it yet, QoS 1 or not: segments are sized above what can be on the way to one device.
//! - A shared subscription's position is kept per group name, not per filter: one group has one filter.
//! - A retained message with an expiry loses lifetime at each read: retained messages here have none.
//! - TLS handshakes are served one after the other, and it cannot be stopped: it ends with the process.
//!
//! Never here: a listener on another address than loopback.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use cloud_sync_protocol::limits::{IN_FLIGHT_MAX, KEEP_ALIVE_S, PACKET_BYTES_MAX};
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings, TlsConfig};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// Connections that the embedded broker takes.
const CONNECTIONS_MAX: usize = 256;
/// Bytes of one segment of a filter's log: twice what one client can have on the way.
const SEGMENT_BYTES: usize = 2 * IN_FLIGHT_MAX as usize * PACKET_BYTES_MAX as usize;
/// Segments kept per filter.
const SEGMENTS: usize = 3;
/// Messages handed to one connection at a time.
const OUTGOING_MESSAGES_MAX: u64 = 200;
/// How long a client may take from its connection to its CONNECT packet, in milliseconds.
const CONNECT_TIMEOUT_MS: u16 = 10_000;
/// How long the listener may take to come up.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked for meanwhile.
const START_INTERVAL: Duration = Duration::from_millis(10);

/// Why the embedded broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The port cannot be listened on.
    #[error("listen on {address} for the embedded broker: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A path that rumqttd cannot take.
    #[error("use {path} for the embedded broker: the path is not UTF-8")]
    Path {
        /// The path, as far as it is readable.
        path: String,
    },
    /// The broker ended or did not answer in time.
    #[error("start the embedded broker on {address}: {reason}")]
    NotUp {
        /// The address.
        address: SocketAddr,
        /// What happened instead.
        reason: String,
    },
}

/// A free port on loopback, at the moment of asking.
pub fn free_port() -> Result<u16, BrokerError> {
    let address = loopback(0);
    let listener = TcpListener::bind(address).map_err(|source| BrokerError::Listen { address, source })?;
    Ok(listener.local_addr().map_err(|source| BrokerError::Listen { address, source })?.port())
}

/// Starts the broker on loopback at `port` and returns when it accepts connections.
///
/// `ca` is who signs client certificates; `certificate` and `key` are the server's own, in PEM files, which rumqttd
/// reads again at every connection. The broker runs until the process ends.
pub async fn start(port: u16, ca: &Path, certificate: &Path, key: &Path) -> Result<SocketAddr, BrokerError> {
    let address = loopback(port);
    // rumqttd only logs that it could not bind, so the port is tried first.
    drop(TcpListener::bind(address).map_err(|source| BrokerError::Listen { address, source })?);
    let config = configuration(address, ca, certificate, key)?;
    let (ended, mut end) = oneshot::channel();
    let spawned = std::thread::Builder::new().name("embedded-broker".to_owned()).spawn(move || {
        let outcome = Broker::new(config).start();
        let reason = outcome.err().map_or_else(|| "its listener ended".to_owned(), |error| error.to_string());
        // Nobody listens any more once the broker has been up.
        let _ = ended.send(reason);
    });
    spawned.map_err(|error| BrokerError::NotUp { address, reason: error.to_string() })?;
    let up = async {
        loop {
            tokio::select! {
                reason = &mut end => return Err(reason.unwrap_or_else(|_| "it panicked".to_owned())),
                connected = TcpStream::connect(address) => if connected.is_ok() { return Ok(()) },
            }
            sleep(START_INTERVAL).await;
        }
    };
    match timeout(START_TIMEOUT, up).await {
        Ok(Ok(())) => Ok(address),
        Ok(Err(reason)) => Err(BrokerError::NotUp { address, reason }),
        Err(_) => Err(BrokerError::NotUp { address, reason: format!("not up after {} s", START_TIMEOUT.as_secs()) }),
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn configuration(address: SocketAddr, ca: &Path, certificate: &Path, key: &Path) -> Result<Config, BrokerError> {
    let text = |path: &Path| {
        let readable = || BrokerError::Path { path: path.display().to_string() };
        path.to_str().map(str::to_owned).ok_or_else(readable)
    };
    let server = ServerSettings {
        name: "devices".to_owned(),
        listen: address,
        tls: Some(TlsConfig::Rustls { capath: Some(text(ca)?), certpath: text(certificate)?, keypath: text(key)? }),
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: CONNECT_TIMEOUT_MS,
            max_payload_size: PACKET_BYTES_MAX as usize,
            max_inflight_count: usize::from(IN_FLIGHT_MAX),
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    Ok(Config {
        id: 0,
        router: RouterConfig {
            max_connections: CONNECTIONS_MAX,
            max_outgoing_packet_count: OUTGOING_MESSAGES_MAX,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        },
        v5: Some(HashMap::from([("devices".to_owned(), server)])),
        ..Config::default()
    })
}

// The broker closes a connection that is silent for one and a half times this; zero would be refused.
const _: () = assert!(KEEP_ALIVE_S > 0);
