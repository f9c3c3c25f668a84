//! The broker's state: who is connected, who subscribed to what, what is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::error::LinkError;
use crate::handle::{Link, LinkEvent, Message};
use crate::memory::client;
use crate::outbox::{OutboxLimits, Outgoing};
use crate::settings::Will;
use crate::topic_match::{matches_filter, shared_group};

/// What goes wrong, in thousandths of the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A delivery to a subscriber is lost.
    pub loss_per_mille: u16,
    /// A delivery to a subscriber comes twice.
    pub duplication_per_mille: u16,
    /// A published message is refused because the sender's quota is exceeded.
    pub quota_per_mille: u16,
    /// Each delivery is delayed by up to this; different delays reorder messages.
    pub delay_max: Duration,
}

/// A broker in memory; clones are the same broker.
#[derive(Clone, Debug)]
pub struct MemoryBroker {
    core: Arc<Mutex<Core>>,
}

/// What a session's task receives.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// A message, to be handed over at its time.
    Message(Instant, Message),
    /// The broker ends the connection.
    Ended(&'static str),
}

#[derive(Debug)]
struct Session {
    generation: u64,
    filters: BTreeSet<String>,
    sender: mpsc::UnboundedSender<Inbound>,
    will: Option<Will>,
}

#[derive(Debug)]
struct Core {
    running: bool,
    faults: Faults,
    random: ChaCha8Rng,
    generation: u64,
    sessions: BTreeMap<String, Session>,
    retained: BTreeMap<String, Bytes>,
    partitioned: BTreeSet<String>,
    /// Deliveries per shared subscription so far: members take turns.
    turns: BTreeMap<String, usize>,
}

pub(crate) const BROKER_NAME: &str = "memory";

impl MemoryBroker {
    /// A running broker without faults.
    pub fn new(seed: u64) -> Self {
        let core = Core {
            running: true,
            faults: Faults::default(),
            random: ChaCha8Rng::seed_from_u64(seed),
            generation: 0,
            sessions: BTreeMap::new(),
            retained: BTreeMap::new(),
            partitioned: BTreeSet::new(),
            turns: BTreeMap::new(),
        };
        Self { core: Arc::new(Mutex::new(core)) }
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A link to this broker, which connects and reconnects by itself. Must be called inside a tokio runtime.
    pub fn connect(&self, client_id: &str, will: Option<Will>) -> (Link, mpsc::Receiver<LinkEvent>) {
        self.connect_with(client_id, will, OutboxLimits::default())
    }

    /// Like [`connect`](Self::connect) with bounds for the outbox.
    pub fn connect_with(
        &self,
        client_id: &str,
        will: Option<Will>,
        outbox: OutboxLimits,
    ) -> (Link, mpsc::Receiver<LinkEvent>) {
        let seed = self.core().random.random();
        client::start(self.clone(), client_id.to_owned(), will, outbox, seed)
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.core().faults = faults;
    }

    /// Cuts a client off: its connection ends, its last will is published, it cannot come back until
    /// [`heal`](Self::heal).
    pub fn partition(&self, client_id: &str) {
        self.core().partitioned.insert(client_id.to_owned());
        self.kick(client_id);
    }

    /// Lets a client that was cut off come back.
    pub fn heal(&self, client_id: &str) {
        self.core().partitioned.remove(client_id);
    }

    /// Ends a client's connection as if it were lost; it may come back at once.
    pub fn kick(&self, client_id: &str) {
        let session = self.core().sessions.remove(client_id);
        if let Some(session) = session {
            // A task that is gone needs no telling.
            let _ = session.sender.send(Inbound::Ended("the connection was cut"));
            self.publish_will(session.will);
        }
    }

    /// Kills the broker: connections end without last wills. What it keeps survives, as on a disk.
    pub fn stop(&self) {
        let mut core = self.core();
        core.running = false;
        for session in std::mem::take(&mut core.sessions).into_values() {
            let _ = session.sender.send(Inbound::Ended("the broker was killed"));
        }
    }

    /// Starts the broker again.
    pub fn start(&self) {
        self.core().running = true;
    }

    /// Forgets everything that was retained, as a broker without a disk does when it starts again.
    pub fn forget_retained(&self) {
        self.core().retained.clear();
    }

    /// What is kept for a topic.
    pub fn retained(&self, topic: &str) -> Option<Bytes> {
        self.core().retained.get(topic).cloned()
    }

    /// Topics with something kept, in order.
    pub fn retained_topics(&self) -> Vec<String> {
        self.core().retained.keys().cloned().collect()
    }

    /// Client ids of the standing connections, in order.
    pub fn connected(&self) -> Vec<String> {
        self.core().sessions.keys().cloned().collect()
    }

    /// Publishes as somebody who reached the broker past every program: without a client, an outbox or limits.
    pub fn inject(&self, topic: &str, payload: impl Into<Bytes>, retain: bool) {
        self.core().publish(topic, payload.into(), retain, None);
    }

    fn publish_will(&self, will: Option<Will>) {
        if let Some(will) = will {
            self.core().publish(&will.topic, will.payload, false, None);
        }
    }

    /// A new session, which ends an older one of the same client.
    pub(crate) fn open(
        &self,
        client_id: &str,
        will: Option<Will>,
    ) -> Result<(u64, mpsc::UnboundedReceiver<Inbound>), LinkError> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (generation, older) = {
            let mut core = self.core();
            let broker = || BROKER_NAME.to_owned();
            if !core.running {
                return Err(LinkError::Unreachable { broker: broker(), reason: "it does not run".to_owned() });
            }
            if core.partitioned.contains(client_id) {
                return Err(LinkError::Unreachable { broker: broker(), reason: "no route to it".to_owned() });
            }
            core.generation += 1;
            let generation = core.generation;
            let session = Session { generation, filters: BTreeSet::new(), sender, will };
            (generation, core.sessions.insert(client_id.to_owned(), session))
        };
        if let Some(older) = older {
            let _ = older.sender.send(Inbound::Ended("the client id connected again"));
            self.publish_will(older.will);
        }
        Ok((generation, receiver))
    }

    /// Ends a session from the client's side; without a goodbye its last will is published.
    pub(crate) fn close(&self, client_id: &str, generation: u64, goodbye: bool) {
        let will = {
            let mut core = self.core();
            match core.sessions.get(client_id) {
                Some(session) if session.generation == generation => {
                    core.sessions.remove(client_id).and_then(|session| session.will)
                }
                _ => None,
            }
        };
        if !goodbye {
            self.publish_will(will);
        }
    }

    pub(crate) fn subscribe(&self, client_id: &str, filter: &str) {
        let mut core = self.core();
        let Some(session) = core.sessions.get_mut(client_id) else { return };
        session.filters.insert(filter.to_owned());
        if shared_group(filter).is_some() {
            // Shared subscriptions get nothing that was retained (MQTT 5, section 3.8.4).
            return;
        }
        let kept: Vec<_> = core
            .retained
            .iter()
            .filter(|(topic, _)| matches_filter(filter, topic))
            .map(|(topic, payload)| Message {
                topic: topic.clone(),
                payload: payload.clone(),
                retained: true,
                correlation: None,
            })
            .collect();
        for message in kept {
            core.deliver(client_id, message);
        }
    }

    pub(crate) fn unsubscribe(&self, client_id: &str, filter: &str) {
        if let Some(session) = self.core().sessions.get_mut(client_id) {
            session.filters.remove(filter);
        }
    }

    /// Takes a message; false when the quota is exceeded.
    pub(crate) fn take(&self, message: &Outgoing) -> bool {
        let mut core = self.core();
        let quota = core.faults.quota_per_mille;
        if core.strikes(quota) {
            return false;
        }
        let options = &message.options;
        core.publish(&message.topic, message.payload.clone(), options.retain, options.correlation.clone());
        true
    }
}

impl Core {
    fn strikes(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.random.random_range(0..1000) < per_mille
    }

    fn publish(&mut self, topic: &str, payload: Bytes, retain: bool, correlation: Option<Bytes>) {
        if retain {
            if payload.is_empty() {
                self.retained.remove(topic);
            } else {
                self.retained.insert(topic.to_owned(), payload.clone());
            }
        }
        let message = Message { topic: topic.to_owned(), payload, retained: false, correlation };
        let mut receivers = Vec::new();
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (client_id, session) in &self.sessions {
            let matching = session.filters.iter().filter(|filter| matches_filter(filter, topic));
            let (shared, plain): (Vec<&String>, Vec<&String>) =
                matching.partition(|filter| shared_group(filter).is_some());
            if !plain.is_empty() {
                receivers.push(client_id.clone());
            }
            for filter in shared {
                groups.entry(filter.clone()).or_default().push(client_id.clone());
            }
        }
        for (filter, members) in groups {
            let turn = self.turns.entry(filter).or_default();
            receivers.push(members[*turn % members.len()].clone());
            *turn += 1;
        }
        for client_id in receivers {
            self.deliver(&client_id, message.clone());
        }
    }

    fn deliver(&mut self, client_id: &str, message: Message) {
        let Faults { loss_per_mille, duplication_per_mille, delay_max, .. } = self.faults;
        if self.strikes(loss_per_mille) {
            return;
        }
        let copies = if self.strikes(duplication_per_mille) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = delay_max.mul_f64(self.random.random::<f64>());
            if let Some(session) = self.sessions.get(client_id) {
                // A task that is gone is about to end its session.
                let _ = session.sender.send(Inbound::Message(Instant::now() + delay, message.clone()));
            }
        }
    }
}
