//! What one connection has on the way, and the task that publishes over it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use rumqttc::Outgoing as Sent;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, PubAckReason, PublishProperties, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event};

use crate::handle::{Delivery, Message};
use crate::outbox::Outgoing;
use crate::shared::{Control, Next, Shared};

/// Bytes of a PUBLISH packet beside topic, payload and correlation data: fixed header, lengths, packet id and
/// properties.
const PACKET_OVERHEAD_BYTES: usize = 64;

/// The task that publishes; it ends with its connection.
pub(super) struct Pump(pub(super) Option<tokio::task::JoinHandle<()>>);

impl Pump {
    pub(super) fn start(
        &mut self,
        client: AsyncClient,
        attempt: Attempt,
        filters: Vec<Vec<String>>,
        packet_bytes_max: u32,
    ) {
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
pub(super) struct Attempt {
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
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, on_the_way: Arc::default() }
    }

    fn on_the_way(&self) -> MutexGuard<'_, OnTheWay> {
        self.on_the_way.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Messages that a later connection must send again, oldest first.
    pub(super) fn unacknowledged(&self) -> Vec<Outgoing> {
        let mut on_the_way = self.on_the_way();
        on_the_way.over = true;
        let sent = std::mem::take(&mut on_the_way.unacknowledged).into_values();
        let sent = sent.filter(|message| message.options.delivery == Delivery::AtLeastOnce).collect::<Vec<_>>();
        let handed = std::mem::take(&mut on_the_way.handed);
        let again = |message: &Outgoing| message.options.delivery != Delivery::AtLeastOnceWhileConnected;
        sent.into_iter().chain(handed.into_iter().filter(again)).collect()
    }

    /// Waits for `work`, but not when the link is ending: a program that closes the link may not be reading events.
    pub(super) async fn or_ending(&self, work: impl Future<Output = ()>) {
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

    pub(super) async fn handle(&self, event: Event) {
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
