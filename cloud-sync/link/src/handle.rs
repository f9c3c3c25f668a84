//! What programs hold: the [`Link`], its events, and messages diverted from them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cloud_sync_protocol::limits;
use tokio::sync::{mpsc, watch};

use crate::error::LinkError;
use crate::outbox::Outgoing;
use crate::shared::{Control, LinkState, Shared};

/// How surely a message is delivered between client and broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// At most once (QoS 0): cheap; lost with the connection.
    AtMostOnce,
    /// At least once (QoS 1): sent again after a lost connection, so it may arrive twice.
    #[default]
    AtLeastOnce,
    /// QoS 1, but not sent again after a lost connection: for questions that their asker repeats anyway.
    AtLeastOnceWhileConnected,
}

/// How to publish one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    /// The broker keeps the message as the topic's newest and gives it to later subscribers.
    pub retain: bool,
    /// How surely it is delivered.
    pub delivery: Delivery,
    /// MQTT correlation data, which a reply repeats.
    pub correlation: Option<Bytes>,
    /// The broker drops the message when it could not deliver it for so long.
    pub expiry: Option<Duration>,
}

impl Publish {
    /// A retained message, at least once.
    pub fn retained() -> Self {
        Self { retain: true, ..Self::default() }
    }
}

/// A message that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Bytes,
    /// Whether the broker had kept it from before the subscription.
    pub retained: bool,
    /// MQTT correlation data.
    pub correlation: Option<Bytes>,
}

/// What happens on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// Connected, and every subscription is on its way again.
    Up {
        /// Whether this is the first connection of this link.
        first: bool,
    },
    /// An attempt failed or a connection ended; the next attempt follows by itself.
    Down {
        /// Why.
        why: LinkError,
    },
    /// A message that was not diverted.
    Message(Message),
    /// The broker did not take a message or a subscription. It is not sent again.
    NotAccepted {
        /// Its topic or filter.
        topic: String,
        /// The broker's reason.
        reason: String,
    },
}

/// Counters since the link was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStatistics {
    /// Connections made.
    pub connects: u64,
    /// Messages given to the connection; a message sent again counts again.
    pub sent: u64,
    /// Messages that arrived.
    pub received: u64,
    /// Messages that left the outbox unsent because it was full.
    pub evicted: u64,
    /// Messages that a full receiver missed.
    pub overrun: u64,
    /// Acknowledgements that said the broker's quota is exceeded.
    pub quota_errors: u64,
    /// Messages and subscriptions that the broker did not accept for another reason.
    pub not_accepted: u64,
}

/// A handle on a connection that comes and goes. Clones share it; the last one that is dropped ends it without a
/// goodbye, so that the last will is published.
#[derive(Clone, Debug)]
pub struct Link {
    inner: Arc<LinkInner>,
}

#[derive(Debug)]
struct LinkInner {
    shared: Arc<Shared>,
}

impl Drop for LinkInner {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

impl Link {
    pub(crate) fn over(shared: Arc<Shared>) -> Self {
        Self { inner: Arc::new(LinkInner { shared }) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Puts a message into the outbox and returns at once. When the outbox is full its oldest message gives way;
    /// [`statistics`](Self::statistics) counts those.
    pub fn publish(
        &self,
        topic: impl Into<String>,
        payload: impl Into<Bytes>,
        options: Publish,
    ) -> Result<(), LinkError> {
        let message = self.outgoing(topic.into(), payload.into(), options)?;
        self.inner.shared.push(message);
        Ok(())
    }

    /// Like [`publish`](Self::publish), but waits for room instead of making an older message give way. A link that
    /// is down may keep it waiting for as long as it is down.
    pub async fn publish_when_room(
        &self,
        topic: impl Into<String>,
        payload: impl Into<Bytes>,
        options: Publish,
    ) -> Result<(), LinkError> {
        let message = self.outgoing(topic.into(), payload.into(), options)?;
        self.inner.shared.push_when_room(message).await
    }

    fn outgoing(&self, topic: String, payload: Bytes, options: Publish) -> Result<Outgoing, LinkError> {
        check_topic(&topic, false)?;
        let too_large = |found_bytes, max_bytes| LinkError::TooLarge { topic: topic.clone(), found_bytes, max_bytes };
        if payload.len() > limits::PAYLOAD_BYTES_MAX {
            return Err(too_large(payload.len(), limits::PAYLOAD_BYTES_MAX));
        }
        let correlation_bytes = options.correlation.as_ref().map_or(0, Bytes::len);
        if correlation_bytes > limits::CORRELATION_BYTES_MAX {
            return Err(too_large(correlation_bytes, limits::CORRELATION_BYTES_MAX));
        }
        if self.inner.shared.is_closed() {
            return Err(LinkError::Closed);
        }
        Ok(Outgoing { topic, payload, options })
    }

    /// Subscribes now and at every later connect.
    pub fn subscribe(&self, filter: impl Into<String>) -> Result<(), LinkError> {
        let filter = filter.into();
        check_topic(&filter, true)?;
        self.inner.shared.control(Control::Subscribe(filter))
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, filter: impl Into<String>) -> Result<(), LinkError> {
        let filter = filter.into();
        check_topic(&filter, true)?;
        self.inner.shared.control(Control::Unsubscribe(filter))
    }

    /// From now on messages that match `filter` go to the returned receiver and not to the link's events. At most
    /// `capacity` wait there; further ones are dropped and counted. It does not subscribe.
    pub fn divert(&self, filter: impl Into<String>, capacity: usize) -> Result<Diverted, LinkError> {
        let filter = filter.into();
        check_topic(&filter, true)?;
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        let route = self.inner.shared.routes.add(filter, sender, false);
        Ok(Diverted { receiver, route, shared: self.inner.shared.clone() })
    }

    /// Like [`divert`](Self::divert), but the events get the messages, too.
    pub(crate) fn listen(&self, filter: String, capacity: usize) -> Result<Diverted, LinkError> {
        check_topic(&filter, true)?;
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        let route = self.inner.shared.routes.add(filter, sender, true);
        Ok(Diverted { receiver, route, shared: self.inner.shared.clone() })
    }

    /// Whether the connection stands now.
    pub fn is_up(&self) -> bool {
        matches!(*self.state().borrow(), LinkState::Up)
    }

    pub(crate) fn state(&self) -> watch::Receiver<LinkState> {
        self.inner.shared.state()
    }

    /// Waits until the connection stands. Returns early when trying again cannot help, else with the latest
    /// failure when the time is over.
    pub async fn wait_until_up(&self, patience: Duration) -> Result<(), LinkError> {
        let mut state = self.state();
        let settled = state.wait_for(|state| match state {
            LinkState::Up | LinkState::Closed => true,
            LinkState::Down(why) => why.as_ref().is_some_and(LinkError::needs_a_person),
        });
        let settled = tokio::time::timeout(patience, settled).await.map(|state| state.map(|state| state.clone()));
        match settled {
            Ok(Ok(LinkState::Up)) => Ok(()),
            Ok(Ok(LinkState::Down(Some(why)))) => Err(why),
            Ok(_) => Err(LinkError::Closed),
            Err(_) => match self.state().borrow().clone() {
                LinkState::Down(Some(why)) => Err(why),
                _ => Err(LinkError::Timeout { what: "connect to the broker", waited: patience }),
            },
        }
    }

    /// Waits until everything in the outbox was sent and acknowledged.
    pub async fn flush(&self, patience: Duration) -> Result<(), LinkError> {
        tokio::time::timeout(patience, self.inner.shared.wait_until_idle())
            .await
            .map_err(|_| LinkError::Timeout { what: "send everything that waits", waited: patience })?
    }

    /// Says goodbye, so that the last will is not published, and ends the link. What waits in the outbox is lost;
    /// [`flush`](Self::flush) first.
    pub async fn close(&self) {
        self.inner.shared.close().await;
    }

    /// Counters since the link was made.
    pub fn statistics(&self) -> LinkStatistics {
        self.inner.shared.statistics()
    }
}

/// A receiver of diverted messages; dropping it ends the diversion.
#[derive(Debug)]
pub struct Diverted {
    receiver: mpsc::Receiver<Message>,
    route: u64,
    shared: Arc<Shared>,
}

impl Diverted {
    /// The next message; `None` when the link ended.
    pub async fn recv(&mut self) -> Option<Message> {
        self.receiver.recv().await
    }

    /// A message that is there already.
    pub fn try_recv(&mut self) -> Option<Message> {
        self.receiver.try_recv().ok()
    }
}

impl Drop for Diverted {
    fn drop(&mut self) {
        self.shared.routes.remove(self.route);
    }
}

/// The MQTT rules that a topic (or filter) must keep so that no broker ends the connection over it.
fn check_topic(topic: &str, filter: bool) -> Result<(), LinkError> {
    let wrong = |reason| Err(LinkError::Topic { topic: topic.chars().take(80).collect(), reason });
    if topic.is_empty() {
        return wrong("it is empty");
    }
    if topic.len() > limits::TOPIC_BYTES_MAX {
        return wrong("it is longer than 192 bytes");
    }
    if topic.contains('\0') {
        return wrong("it has a null character");
    }
    if !filter && topic.contains(['+', '#']) {
        return wrong("wildcards belong in filters, not in topics");
    }
    let misplaced = |(position, level): (usize, &str)| {
        let last = position == topic.split('/').count() - 1;
        (level.contains('+') && level != "+") || (level.contains('#') && (level != "#" || !last))
    };
    if filter && topic.split('/').enumerate().any(misplaced) {
        return wrong("a wildcard must be a whole level, '#' the last one");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_filters_that_brokers_refuse_are_refused_here() {
        let long = "a/".repeat(100);
        for (topic, filter, good) in [
            ("cask/f/device/d/request", false, true),
            ("cask/f/device/+/request", true, true),
            ("$share/g/cask/f/device/+/request", true, true),
            ("cask/#", true, true),
            ("cask/f/device/+/request", false, false),
            ("cask/#", false, false),
            ("cask/#/more", true, false),
            ("cask/a+", true, false),
            ("cask/a#", true, false),
            ("", true, false),
            ("a\0b", false, false),
            (long.as_str(), false, false),
        ] {
            assert_eq!(check_topic(topic, filter).is_ok(), good, "{topic:?} as filter: {filter}");
        }
    }
}
