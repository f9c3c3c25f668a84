//! The real connection. One task polls the MQTT client and never publishes; another takes messages from the outbox
//! and hands them to the client. A new client is made for every attempt: what it had not had acknowledged goes back
//! into the outbox, so nothing depends on what the client keeps across connections.

mod attempt;
mod error;
mod tls;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use cloud_sync_protocol::limits;
use futures::FutureExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, LastWill, Packet};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{NetworkOptions, Outgoing as Sent, TlsConfiguration, Transport};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::error::LinkError;
use crate::handle::{Link, LinkEvent};
use crate::settings::{KEEP_ALIVE_MIN, MqttSettings, Plaintext};
use crate::shared::Shared;

use attempt::{Attempt, Pump};
use error::classify;
use tls::client_config;

/// Events that wait for the program before the connection is slowed down.
const EVENTS_MAX: usize = 256;
/// Requests between the two tasks.
const REQUESTS_MAX: usize = 16;
/// Time for a goodbye to be sent.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(2);
/// The largest packet of MQTT, for a broker that names no limit.
const MQTT_PACKET_BYTES_MAX: u32 = 268_435_455;

/// Starts a connection that keeps itself up until the last clone of the returned [`Link`] is dropped or closed.
/// The settings are checked here; whether the broker can be reached is told by events, or by
/// [`Link::wait_until_up`]. Must be called inside a tokio runtime.
pub fn connect(settings: MqttSettings) -> Result<(Link, mpsc::Receiver<LinkEvent>), LinkError> {
    let wrong = |reason: &str| LinkError::Settings { reason: reason.to_owned() };
    let runtime = tokio::runtime::Handle::try_current().map_err(|_| wrong("there is no tokio runtime"))?;
    let options = options(&settings)?;
    let (events, receiver) = mpsc::channel(EVENTS_MAX);
    let shared = Shared::new(settings.outbox, events);
    let driver = Driver { settings, options, shared: shared.clone(), connected_once: false };
    runtime.spawn(driver.run());
    Ok((Link::over(shared), receiver))
}

fn options(settings: &MqttSettings) -> Result<MqttOptions, LinkError> {
    let wrong = |reason: String| LinkError::Settings { reason };
    let url = &settings.url;
    if settings.client_id.is_empty() || settings.client_id.len() > limits::IDENTIFIER_BYTES_MAX {
        return Err(wrong(format!("the client id {:?} has not 1 to 63 characters", settings.client_id)));
    }
    if settings.keep_alive < KEEP_ALIVE_MIN || settings.keep_alive.as_secs() > u16::MAX.into() {
        return Err(wrong(format!("keep-alive {:?} is not between 5 s and 18 hours", settings.keep_alive)));
    }
    let mut options = MqttOptions::new(&settings.client_id, url.host(), url.port());
    if url.is_encrypted() {
        let config = client_config(settings)?;
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(config))));
    } else if !url.is_loopback() && settings.plaintext == Plaintext::LoopbackOnly {
        return Err(wrong(format!("{url} is not encrypted and not on this machine; use mqtts://")));
    }
    let mut network = NetworkOptions::new();
    // Off by default in the client: 44 ms a round trip on loopback.
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    let mut properties = ConnectProperties::new();
    properties.max_packet_size = Some(settings.packet_bytes_max);
    properties.receive_maximum = Some(limits::IN_FLIGHT_MAX);
    properties.session_expiry_interval = Some(0);
    options
        .set_connect_properties(properties)
        .set_clean_start(true)
        .set_keep_alive(settings.keep_alive)
        .set_connection_timeout(settings.connect_timeout.as_secs().max(1))
        .set_outgoing_inflight_upper_limit(limits::IN_FLIGHT_MAX);
    if let Some(will) = &settings.will {
        options.set_last_will(LastWill::new(&will.topic, will.payload.to_vec(), QoS::AtLeastOnce, false, None));
    }
    Ok(options)
}

struct Driver {
    settings: MqttSettings,
    options: MqttOptions,
    shared: Arc<Shared>,
    connected_once: bool,
}

impl Driver {
    async fn run(mut self) {
        let mut random = ChaCha8Rng::seed_from_u64(self.settings.seed);
        let mut backoff = Backoff::new(self.settings.backoff);
        loop {
            let attempt = Attempt::new(self.shared.clone());
            let mut up_since = None;
            // The client has unreachable!() in its reading path; a hostile broker must not end this task.
            let session = AssertUnwindSafe(self.session(&attempt, &mut up_since)).catch_unwind().await;
            let end = session.unwrap_or_else(|_| {
                let reason = "the MQTT client failed on what the broker sent".to_owned();
                Some(LinkError::Protocol { broker: self.settings.url.to_string(), reason })
            });
            let Some(why) = end else { break };
            if let Some(since) = up_since {
                backoff.stood(Instant::now().duration_since(since));
            }
            self.shared.set_down(&why, attempt.unacknowledged());
            let wait = backoff.wait(&mut random);
            tracing::debug!(%why, ?wait, "the link is down");
            tokio::select! {
                () = self.shared.event(LinkEvent::Down { why }) => {}
                () = self.shared.ending() => break,
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.shared.ending() => break,
            }
        }
        self.shared.set_closed();
    }

    /// One connection from attempt to end; `None` when the link should end.
    async fn session(&mut self, attempt: &Attempt, up_since: &mut Option<Instant>) -> Option<LinkError> {
        let (client, mut connection) = AsyncClient::new(self.options.clone(), REQUESTS_MAX);
        let shared = self.shared.clone();
        let mut pump = Pump(None);
        let mut goodbye_by = None;
        loop {
            let event = tokio::select! {
                event = poll(&mut connection) => event,
                () = shared.ending(), if goodbye_by.is_none() => {
                    if up_since.is_none() || !shared.wants_goodbye() {
                        return None;
                    }
                    goodbye_by = Some(Instant::now() + GOODBYE_PATIENCE);
                    continue;
                }
                () = sleep_until(goodbye_by), if goodbye_by.is_some() => return None,
            };
            match event {
                Ok(Event::Incoming(Packet::ConnAck(connack))) => {
                    *up_since = Some(Instant::now());
                    let limit = connack.properties.and_then(|properties| properties.max_packet_size);
                    let filters = shared.set_up();
                    pump.start(client.clone(), attempt.clone(), filters, limit.unwrap_or(MQTT_PACKET_BYTES_MAX));
                    let first = !std::mem::replace(&mut self.connected_once, true);
                    tracing::debug!(broker = %self.settings.url, first, "the link is up");
                    attempt.or_ending(shared.event(LinkEvent::Up { first })).await;
                }
                Ok(Event::Outgoing(Sent::Disconnect)) => return None,
                Ok(event) => attempt.or_ending(attempt.handle(event)).await,
                Err(_) if goodbye_by.is_some() => return None,
                Err(error) => {
                    return Some(classify(&error, &self.settings.url.to_string(), up_since.is_some()));
                }
            }
        }
    }
}

async fn poll(connection: &mut EventLoop) -> Result<Event, rumqttc::v5::ConnectionError> {
    connection.poll().await
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
