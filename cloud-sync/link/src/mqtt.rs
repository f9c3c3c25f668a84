//! The real connection. One task polls the MQTT client and never publishes; another takes messages from the outbox
//! and hands them to the client. A new client is made for every attempt: what it had not had acknowledged goes back
//! into the outbox, so nothing depends on what the client keeps across connections.

use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use cloud_sync_protocol::limits;
use futures::FutureExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, Filter, LastWill, Packet, PubAckReason, PublishProperties, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{NetworkOptions, Outgoing as Sent, TlsConfiguration, Transport};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::error::LinkError;
use crate::handle::{Delivery, Link, LinkEvent, Message};
use crate::mqtt_error::classify;
use crate::outbox::Outgoing;
use crate::settings::{KEEP_ALIVE_MIN, MqttSettings, Plaintext};
use crate::shared::{Control, Next, Shared};
use crate::tls::client_config;

/// Events that wait for the program before the connection is slowed down.
const EVENTS_MAX: usize = 256;
/// Requests between the two tasks.
const REQUESTS_MAX: usize = 16;
/// Time for a goodbye to be sent.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a PUBLISH packet beside topic, payload and correlation data: fixed header, lengths, packet id and
/// properties.
const PACKET_OVERHEAD_BYTES: usize = 64;
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

/// The task that publishes; it ends with its connection.
struct Pump(Option<tokio::task::JoinHandle<()>>);

impl Pump {
    fn start(&mut self, client: AsyncClient, attempt: Attempt, filters: Vec<Vec<String>>, packet_bytes_max: u32) {
        self.0 = Some(tokio::spawn(attempt.pump(client, filters, packet_bytes_max as usize)));
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

/// What one connection has on the way. The client reports packets in the order in which it was handed messages,
/// so two queues are enough to know which packet id belongs to which message.
#[derive(Clone)]
struct Attempt {
    shared: Arc<Shared>,
    on_the_way: Arc<Mutex<OnTheWay>>,
}

#[derive(Default)]
struct OnTheWay {
    /// The connection is over: the pump may hand over nothing more.
    over: bool,
    handed: VecDeque<Outgoing>,
    unacknowledged: BTreeMap<u16, Outgoing>,
    handed_filters: VecDeque<Vec<String>>,
    unacknowledged_filters: BTreeMap<u16, Vec<String>>,
}

impl Attempt {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared, on_the_way: Arc::default() }
    }

    fn on_the_way(&self) -> MutexGuard<'_, OnTheWay> {
        self.on_the_way.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Messages that a later connection must send again, oldest first.
    fn unacknowledged(&self) -> Vec<Outgoing> {
        let mut on_the_way = self.on_the_way();
        on_the_way.over = true;
        let sent = std::mem::take(&mut on_the_way.unacknowledged).into_values();
        let sent = sent.filter(|message| message.options.delivery == Delivery::AtLeastOnce).collect::<Vec<_>>();
        let handed = std::mem::take(&mut on_the_way.handed);
        let again = |message: &Outgoing| message.options.delivery != Delivery::AtLeastOnceWhileConnected;
        sent.into_iter().chain(handed.into_iter().filter(again)).collect()
    }

    /// Waits for `work`, but not when the link is ending: a program that closes the link may not be reading events.
    async fn or_ending(&self, work: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = work => {}
            () = self.shared.ending() => {}
        }
    }

    async fn pump(self, client: AsyncClient, filters: Vec<Vec<String>>, packet_bytes_max: usize) {
        for filters in filters {
            if !self.subscribe(&client, filters).await {
                return;
            }
        }
        loop {
            let going_on = match self.shared.next().await {
                Next::Control(Control::Subscribe(filter)) => self.subscribe(&client, vec![filter]).await,
                Next::Control(Control::Unsubscribe(filter)) => client.unsubscribe(filter).await.is_ok(),
                Next::Send(message) => self.send(&client, message, packet_bytes_max).await,
                Next::Close => {
                    // The polling task sees the goodbye go out and ends.
                    let _ = client.disconnect().await;
                    false
                }
            };
            if !going_on {
                return;
            }
        }
    }

    async fn subscribe(&self, client: &AsyncClient, filters: Vec<String>) -> bool {
        let rows: Vec<_> = filters.iter().map(|filter| Filter::new(filter, QoS::AtLeastOnce)).collect();
        self.on_the_way().handed_filters.push_back(filters);
        client.subscribe_many(rows).await.is_ok()
    }

    async fn send(&self, client: &AsyncClient, message: Outgoing, packet_bytes_max: usize) -> bool {
        let Outgoing { topic, payload, options } = message.clone();
        let correlation_bytes = options.correlation.as_ref().map_or(0, Bytes::len);
        let bytes = topic.len() + payload.len() + correlation_bytes + PACKET_OVERHEAD_BYTES;
        if bytes > packet_bytes_max {
            // Handing it over would end the connection.
            self.shared.acknowledged();
            self.shared.not_accepted(topic, format!("{bytes} bytes, the broker takes {packet_bytes_max}")).await;
            return true;
        }
        {
            let mut on_the_way = self.on_the_way();
            if on_the_way.over {
                // The connection ended between taking the message and handing it over.
                drop(on_the_way);
                self.shared.put_back(message);
                return false;
            }
            on_the_way.handed.push_back(message);
        }
        let qos = match options.delivery {
            Delivery::AtMostOnce => QoS::AtMostOnce,
            Delivery::AtLeastOnce | Delivery::AtLeastOnceWhileConnected => QoS::AtLeastOnce,
        };
        let properties = PublishProperties {
            correlation_data: options.correlation,
            message_expiry_interval: options.expiry.map(|expiry| expiry.as_secs().clamp(1, u32::MAX.into()) as u32),
            ..PublishProperties::default()
        };
        client.publish_with_properties(topic, qos, options.retain, payload, properties).await.is_ok()
    }

    async fn handle(&self, event: Event) {
        match event {
            Event::Outgoing(Sent::Publish(id)) => {
                let mut on_the_way = self.on_the_way();
                let Some(message) = on_the_way.handed.pop_front() else { return };
                if id == 0 {
                    drop(on_the_way);
                    self.shared.acknowledged();
                } else {
                    on_the_way.unacknowledged.insert(id, message);
                }
            }
            Event::Outgoing(Sent::Subscribe(id)) => {
                let mut on_the_way = self.on_the_way();
                if let Some(filters) = on_the_way.handed_filters.pop_front() {
                    on_the_way.unacknowledged_filters.insert(id, filters);
                }
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                let message = self.on_the_way().unacknowledged.remove(&ack.pkid);
                self.shared.acknowledged();
                match (ack.reason, message) {
                    (PubAckReason::Success | PubAckReason::NoMatchingSubscribers, _) | (_, None) => {}
                    (PubAckReason::QuotaExceeded, Some(_)) => self.shared.quota_exceeded(),
                    (reason, Some(message)) => self.shared.not_accepted(message.topic, format!("{reason:?}")).await,
                }
            }
            Event::Incoming(Packet::SubAck(ack)) => {
                let filters = self.on_the_way().unacknowledged_filters.remove(&ack.pkid).unwrap_or_default();
                self.shared.acknowledged();
                for (filter, code) in filters.into_iter().zip(ack.return_codes) {
                    if !matches!(code, SubscribeReasonCode::Success(_)) {
                        self.shared.not_accepted(filter, format!("{code:?}")).await;
                    }
                }
            }
            Event::Incoming(Packet::UnsubAck(_)) => self.shared.acknowledged(),
            Event::Incoming(Packet::Publish(publish)) => {
                let Ok(topic) = String::from_utf8(publish.topic.to_vec()) else { return };
                let correlation = publish.properties.and_then(|properties| properties.correlation_data);
                let message = Message { topic, payload: publish.payload, retained: publish.retain, correlation };
                self.shared.deliver(message).await;
            }
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }
}
