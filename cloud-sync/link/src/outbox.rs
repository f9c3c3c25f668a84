//! Messages that wait to be sent: bounded in number and bytes; when full, the oldest gives way.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::handle::Publish;

/// Bounds of an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Messages.
    pub messages_max: usize,
    /// Bytes of topics and payloads.
    pub bytes_max: usize,
}

impl Default for OutboxLimits {
    /// 1,024 messages and 4 MiB: a device that is offline for days keeps its newest reports.
    fn default() -> Self {
        Self { messages_max: 1024, bytes_max: 4 * 1024 * 1024 }
    }
}

/// One message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) options: Publish,
}

impl Outgoing {
    /// Bytes that the message holds in memory, near enough.
    fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

/// The queue itself.
#[derive(Debug)]
pub(crate) struct Outbox {
    limits: OutboxLimits,
    queue: VecDeque<Outgoing>,
    bytes: usize,
}

impl Outbox {
    pub(crate) fn new(limits: OutboxLimits) -> Self {
        Self { limits, queue: VecDeque::new(), bytes: 0 }
    }

    /// Whether `push` would evict nothing.
    pub(crate) fn has_room(&self, payload_bytes: usize) -> bool {
        self.queue.len() < self.limits.messages_max && self.bytes.saturating_add(payload_bytes) <= self.limits.bytes_max
    }

    /// Takes a message; returns how many older ones gave way to it.
    pub(crate) fn push(&mut self, message: Outgoing) -> usize {
        self.bytes += message.bytes();
        self.queue.push_back(message);
        let mut evicted = 0;
        while self.queue.len() > 1 && self.is_over() {
            self.pop();
            evicted += 1;
        }
        evicted
    }

    /// Puts messages back in front, in their order, as a connection ended before they were acknowledged. They are
    /// the oldest, so they are the first to give way.
    pub(crate) fn put_back(&mut self, messages: Vec<Outgoing>) -> usize {
        let mut evicted = 0;
        for message in messages.into_iter().rev() {
            let full = self.queue.len() >= self.limits.messages_max
                || self.bytes.saturating_add(message.bytes()) > self.limits.bytes_max;
            if full {
                evicted += 1;
            } else {
                self.bytes += message.bytes();
                self.queue.push_front(message);
            }
        }
        evicted
    }

    pub(crate) fn pop(&mut self) -> Option<Outgoing> {
        let message = self.queue.pop_front()?;
        self.bytes -= message.bytes();
        Some(message)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn is_over(&self) -> bool {
        self.queue.len() > self.limits.messages_max || self.bytes > self.limits.bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str, bytes: usize) -> Outgoing {
        Outgoing { topic: name.to_owned(), payload: Bytes::from(vec![0; bytes]), options: Publish::default() }
    }

    fn names(outbox: &mut Outbox) -> Vec<String> {
        std::iter::from_fn(|| outbox.pop()).map(|message| message.topic).collect()
    }

    #[test]
    fn the_oldest_gives_way_by_number() {
        let mut outbox = Outbox::new(OutboxLimits { messages_max: 3, bytes_max: 1000 });
        let evicted: usize = ["a", "b", "c", "d", "e"].iter().map(|name| outbox.push(message(name, 1))).sum();
        assert_eq!(evicted, 2);
        assert_eq!(names(&mut outbox), ["c", "d", "e"]);
        assert_eq!(outbox.bytes, 0);
    }

    #[test]
    fn the_oldest_gives_way_by_bytes() {
        let mut outbox = Outbox::new(OutboxLimits { messages_max: 100, bytes_max: 50 });
        outbox.push(message("a", 20));
        outbox.push(message("b", 20));
        assert!(outbox.has_room(8));
        assert!(!outbox.has_room(9));
        assert_eq!(outbox.push(message("c", 9)), 1);
        assert_eq!(names(&mut outbox), ["b", "c"]);
    }

    #[test]
    fn one_message_larger_than_the_outbox_still_goes_through() {
        let mut outbox = Outbox::new(OutboxLimits { messages_max: 10, bytes_max: 5 });
        outbox.push(message("a", 1));
        assert_eq!(outbox.push(message("b", 100)), 1);
        assert_eq!(names(&mut outbox), ["b"]);
    }

    #[test]
    fn what_was_not_acknowledged_goes_first_and_gives_way_first() {
        let mut outbox = Outbox::new(OutboxLimits { messages_max: 3, bytes_max: 1000 });
        outbox.push(message("c", 1));
        outbox.push(message("d", 1));
        assert_eq!(outbox.put_back(vec![message("a", 1), message("b", 1)]), 1);
        assert_eq!(names(&mut outbox), ["b", "c", "d"]);
    }
}
