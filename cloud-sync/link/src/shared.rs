//! What a link's handles and its connection share. The connection side pulls messages out of it and pushes
//! messages and states into it; neither side waits for the other while it holds a lock.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use cloud_sync_protocol::limits;
use tokio::sync::{Notify, mpsc, watch};

use crate::error::LinkError;
use crate::handle::{LinkEvent, LinkStatistics, Message};
use crate::outbox::{Outbox, OutboxLimits, Outgoing};
use crate::routes::{Routed, Routes};

/// Where the connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// Not connected, with the latest failure if there was one.
    Down(Option<LinkError>),
    /// Connected.
    Up,
    /// Ended for good.
    Closed,
}

/// Changes of subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Subscribe(String),
    Unsubscribe(String),
}

/// What the connection side should do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Change a subscription.
    Control(Control),
    /// Send a message.
    Send(Outgoing),
    /// Say goodbye and end.
    Close,
}

/// Messages and controls that wait, and the subscriptions that every connect repeats.
#[derive(Debug)]
struct Queues {
    outbox: Outbox,
    controls: VecDeque<Control>,
    filters: BTreeSet<String>,
    /// Messages and controls taken by the connection and not acknowledged yet.
    on_the_way: usize,
    /// A goodbye was asked for.
    closing: bool,
    /// Every handle is gone or the goodbye was said.
    ended: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    connects: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    evicted: AtomicU64,
    overrun: AtomicU64,
    not_accepted: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Shared {
    queues: Mutex<Queues>,
    /// Something to do for the connection.
    work: Notify,
    /// Something left the outbox or was acknowledged.
    room: Notify,
    state: watch::Sender<LinkState>,
    quota_errors: watch::Sender<u64>,
    pub(crate) routes: Routes,
    counters: Counters,
    events: mpsc::Sender<LinkEvent>,
}

impl Shared {
    pub(crate) fn new(limits: OutboxLimits, events: mpsc::Sender<LinkEvent>) -> Arc<Self> {
        Arc::new(Self {
            queues: Mutex::new(Queues {
                outbox: Outbox::new(limits),
                controls: VecDeque::new(),
                filters: BTreeSet::new(),
                on_the_way: 0,
                closing: false,
                ended: false,
            }),
            work: Notify::new(),
            room: Notify::new(),
            state: watch::Sender::new(LinkState::Down(None)),
            quota_errors: watch::Sender::new(0),
            routes: Routes::default(),
            counters: Counters::default(),
            events,
        })
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        // No code panics while it holds the lock; if one did, the queues would still be whole.
        self.queues.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    // The handles' side.

    pub(crate) fn push(&self, message: Outgoing) {
        let evicted = self.queues().outbox.push(message);
        self.count_evicted(evicted);
        self.work.notify_waiters();
    }

    pub(crate) async fn push_when_room(&self, message: Outgoing) -> Result<(), LinkError> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let mut queues = self.queues();
                if queues.ended || queues.closing {
                    return Err(LinkError::Closed);
                }
                if queues.outbox.is_empty() || queues.outbox.has_room(message.topic.len() + message.payload.len()) {
                    queues.outbox.push(message);
                    drop(queues);
                    self.work.notify_waiters();
                    return Ok(());
                }
            }
            room.await;
        }
    }

    pub(crate) fn control(&self, control: Control) -> Result<(), LinkError> {
        let mut queues = self.queues();
        if queues.ended {
            return Err(LinkError::Closed);
        }
        match &control {
            Control::Subscribe(filter) => queues.filters.insert(filter.clone()),
            Control::Unsubscribe(filter) => queues.filters.remove(filter),
        };
        // While the link is down the set alone says what the next connect subscribes to.
        if *self.state.borrow() == LinkState::Up {
            queues.controls.push_back(control);
            self.work.notify_waiters();
        }
        Ok(())
    }

    pub(crate) fn is_subscribed(&self, filter: &str) -> bool {
        self.queues().filters.contains(filter)
    }

    pub(crate) fn state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    pub(crate) fn quota_errors(&self) -> watch::Receiver<u64> {
        self.quota_errors.subscribe()
    }

    pub(crate) fn is_closed(&self) -> bool {
        let queues = self.queues();
        queues.ended || queues.closing
    }

    pub(crate) async fn wait_until_idle(&self) -> Result<(), LinkError> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let queues = self.queues();
                if queues.outbox.is_empty() && queues.controls.is_empty() && queues.on_the_way == 0 {
                    return Ok(());
                }
                if queues.ended {
                    return Err(LinkError::Closed);
                }
            }
            room.await;
        }
    }

    /// Asks for a goodbye and waits until the connection side ended.
    pub(crate) async fn close(&self) {
        self.queues().closing = true;
        self.work.notify_waiters();
        let mut state = self.state.subscribe();
        // The sender lives in self, so the wait cannot fail.
        let _ = state.wait_for(|state| *state == LinkState::Closed).await;
    }

    /// Every handle is gone: the connection side ends without a goodbye.
    pub(crate) fn abandon(&self) {
        self.queues().ended = true;
        self.work.notify_waiters();
        self.room.notify_waiters();
    }

    pub(crate) fn statistics(&self) -> LinkStatistics {
        let counters = &self.counters;
        LinkStatistics {
            connects: counters.connects.load(Ordering::Relaxed),
            sent: counters.sent.load(Ordering::Relaxed),
            received: counters.received.load(Ordering::Relaxed),
            evicted: counters.evicted.load(Ordering::Relaxed),
            overrun: counters.overrun.load(Ordering::Relaxed),
            quota_errors: *self.quota_errors.borrow(),
            not_accepted: counters.not_accepted.load(Ordering::Relaxed),
        }
    }

    // The connection's side.

    /// The next thing to do; controls go before messages, so that a reply cannot overtake its subscription.
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&self) -> Next {
        loop {
            let work = self.work.notified();
            tokio::pin!(work);
            work.as_mut().enable();
            {
                let mut queues = self.queues();
                if queues.ended || queues.closing {
                    return Next::Close;
                }
                if let Some(control) = queues.controls.pop_front() {
                    queues.on_the_way += 1;
                    return Next::Control(control);
                }
                if let Some(message) = queues.outbox.pop() {
                    queues.on_the_way += 1;
                    drop(queues);
                    self.counters.sent.fetch_add(1, Ordering::Relaxed);
                    self.room.notify_waiters();
                    return Next::Send(message);
                }
            }
            work.await;
        }
    }

    /// Returns when the link should end, whether or not it is connected.
    pub(crate) async fn ending(&self) {
        loop {
            let work = self.work.notified();
            tokio::pin!(work);
            work.as_mut().enable();
            {
                let queues = self.queues();
                if queues.ended || queues.closing {
                    return;
                }
            }
            work.await;
        }
    }

    /// Whether a goodbye was asked for, in contrast to abandoned handles.
    pub(crate) fn wants_goodbye(&self) -> bool {
        self.queues().closing
    }

    /// Connected: returns the filters to subscribe to before anything else, each list as one control that is to be
    /// acknowledged.
    pub(crate) fn set_up(&self) -> Vec<Vec<String>> {
        self.counters.connects.fetch_add(1, Ordering::Relaxed);
        let mut queues = self.queues();
        queues.controls.clear();
        self.state.send_replace(LinkState::Up);
        let filters: Vec<String> = queues.filters.iter().cloned().collect();
        let filters: Vec<_> = filters.chunks(limits::FILTERS_PER_SUBSCRIBE_MAX).map(<[_]>::to_vec).collect();
        queues.on_the_way = filters.len();
        filters
    }

    /// The connection ended: messages that it had taken without an acknowledgement go back.
    pub(crate) fn set_down(&self, why: &LinkError, unacknowledged: Vec<Outgoing>) {
        let evicted = {
            let mut queues = self.queues();
            queues.controls.clear();
            queues.on_the_way = 0;
            self.state.send_replace(LinkState::Down(Some(why.clone())));
            queues.outbox.put_back(unacknowledged)
        };
        self.count_evicted(evicted);
        self.room.notify_waiters();
    }

    /// A message that was taken too late for the connection that ended.
    pub(crate) fn put_back(&self, message: Outgoing) {
        let evicted = self.queues().outbox.put_back(vec![message]);
        self.count_evicted(evicted);
        self.work.notify_waiters();
    }

    pub(crate) fn set_closed(&self) {
        self.queues().ended = true;
        self.state.send_replace(LinkState::Closed);
        self.room.notify_waiters();
        // Receivers of diverted messages see the end.
        self.routes.clear();
    }

    /// A message or control that the connection took is done with.
    pub(crate) fn acknowledged(&self) {
        {
            let mut queues = self.queues();
            queues.on_the_way = queues.on_the_way.saturating_sub(1);
        }
        self.room.notify_waiters();
    }

    pub(crate) fn quota_exceeded(&self) {
        self.quota_errors.send_modify(|count| *count += 1);
    }

    pub(crate) async fn not_accepted(&self, topic: String, reason: String) {
        self.counters.not_accepted.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%topic, %reason, "the broker did not accept it");
        self.event(LinkEvent::NotAccepted { topic, reason }).await;
    }

    pub(crate) async fn event(&self, event: LinkEvent) {
        // Nobody listens any more: the link may still be used by its handles.
        let _ = self.events.send(event).await;
    }

    /// Hands a message to the receivers whose filter matches, else to the events. A full diverted receiver misses
    /// it; full events wait, which slows the broker down through TCP.
    pub(crate) async fn deliver(&self, message: Message) {
        self.counters.received.fetch_add(1, Ordering::Relaxed);
        let Routed { for_events, overrun } = self.routes.route(&message);
        self.counters.overrun.fetch_add(overrun, Ordering::Relaxed);
        if for_events {
            self.event(LinkEvent::Message(message)).await;
        }
    }

    fn count_evicted(&self, evicted: usize) {
        if evicted > 0 {
            tracing::warn!(evicted, "the outbox is full: the oldest messages gave way");
            self.counters.evicted.fetch_add(evicted as u64, Ordering::Relaxed);
        }
    }
}
