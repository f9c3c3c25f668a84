//! One client's task: the same states and events as over the real connection.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::backoff::{Backoff, BackoffSettings};
use crate::error::LinkError;
use crate::handle::{Link, LinkEvent, Message};
use crate::memory::MemoryBroker;
use crate::memory::broker::{BROKER_NAME, Inbound};
use crate::outbox::OutboxLimits;
use crate::settings::Will;
use crate::shared::{Control, Next, Shared};

const EVENTS_MAX: usize = 256;
const BACKOFF: BackoffSettings = BackoffSettings {
    first: Duration::from_millis(50),
    longest: Duration::from_secs(1),
    stable_after: Duration::from_secs(1),
};

pub(crate) fn start(
    broker: MemoryBroker,
    client_id: String,
    will: Option<Will>,
    outbox: OutboxLimits,
    seed: u64,
) -> (Link, mpsc::Receiver<LinkEvent>) {
    let (events, receiver) = mpsc::channel(EVENTS_MAX);
    let shared = Shared::new(outbox, events);
    let client = Client { broker, client_id, will, shared: shared.clone() };
    tokio::spawn(client.run(seed));
    (Link::over(shared), receiver)
}

struct Client {
    broker: MemoryBroker,
    client_id: String,
    will: Option<Will>,
    shared: Arc<Shared>,
}

/// A message that waits for its time; earlier ones first, in order of arrival among equals.
struct Due {
    at: Instant,
    order: u64,
    message: Message,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl Client {
    async fn run(self, seed: u64) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut backoff = Backoff::new(BACKOFF);
        let mut first = true;
        loop {
            let started = Instant::now();
            let why = match self.broker.open(&self.client_id, self.will.clone()) {
                Err(why) => why,
                Ok((generation, inbox)) => match self.session(inbox, std::mem::take(&mut first)).await {
                    Some(why) => {
                        backoff.stood(started.elapsed());
                        self.broker.close(&self.client_id, generation, false);
                        why
                    }
                    None => {
                        self.broker.close(&self.client_id, generation, self.shared.wants_goodbye());
                        break;
                    }
                },
            };
            self.shared.set_down(&why, Vec::new());
            tokio::select! {
                () = self.shared.event(LinkEvent::Down { why }) => {}
                () = self.shared.ending() => break,
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.wait(&mut random)) => {}
                () = self.shared.ending() => break,
            }
        }
        self.shared.set_closed();
    }

    /// One connection; `None` when the link should end.
    async fn session(&self, mut inbox: mpsc::UnboundedReceiver<Inbound>, first: bool) -> Option<LinkError> {
        for filters in self.shared.set_up() {
            filters.iter().for_each(|filter| self.broker.subscribe(&self.client_id, filter));
            self.shared.acknowledged();
        }
        self.or_ending(self.shared.event(LinkEvent::Up { first })).await;
        let mut waiting = BinaryHeap::new();
        let mut order = 0;
        loop {
            let due = waiting.peek().map(|Reverse(due): &Reverse<Due>| due.at);
            tokio::select! {
                biased;
                inbound = inbox.recv() => match inbound {
                    Some(Inbound::Message(at, message)) => {
                        order += 1;
                        waiting.push(Reverse(Due { at, order, message }));
                    }
                    ended => {
                        let reason = match ended {
                            Some(Inbound::Ended(reason)) => reason,
                            _ => "the broker forgot the connection",
                        };
                        return Some(LinkError::Lost { broker: BROKER_NAME.to_owned(), reason: reason.to_owned() });
                    }
                },
                () = sleep_until(due) => {
                    if let Some(Reverse(due)) = waiting.pop() {
                        self.or_ending(self.shared.deliver(due.message)).await;
                    }
                },
                next = self.shared.next() => {
                    match next {
                        Next::Close => return None,
                        Next::Control(Control::Subscribe(filter)) => self.broker.subscribe(&self.client_id, &filter),
                        Next::Control(Control::Unsubscribe(filter)) => {
                            self.broker.unsubscribe(&self.client_id, &filter);
                        }
                        Next::Send(message) => {
                            if !self.broker.take(&message) {
                                self.shared.quota_exceeded();
                            }
                        }
                    }
                    self.shared.acknowledged();
                }
            }
        }
    }

    async fn or_ending(&self, work: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = work => {}
            () = self.shared.ending() => {}
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        // The timer's resolution of a millisecond would slow undelayed messages down.
        Some(at) if at <= Instant::now() => {}
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
