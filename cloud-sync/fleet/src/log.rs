//! The event log: one object per event, created and never changed.
//!
//! An event is durable when its object exists. Objects are only ever created if absent, which a local folder and
//! every S3-compatible service can do: two controllers can never both write the same position, the second one is
//! told ([`LogError::Raced`]). Nothing is promised about an event whose `append` has not returned: it is there as a
//! whole or not at all.

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path as Key;

use crate::event::{EVENT_BYTES_MAX, EVENT_SCHEMA, Event, EventError, Record};
use crate::objects::{Objects, ObjectsError};

/// Events that a log may have.
const EVENTS_MAX: usize = 1_000_000;
/// Objects that are read at the same time while the log is opened.
const READS_AT_ONCE: usize = 16;
const PREFIX: &str = "log";

/// Why the log could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The store failed.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// An entry is damaged.
    #[error("read event {position} of the log: {source}")]
    Event {
        /// Its position.
        position: u64,
        /// What is wrong with it.
        source: EventError,
    },
    /// An entry is missing, or something else lies among them.
    #[error("read the log: {0}")]
    Shape(String),
    /// Another controller wrote this position first.
    #[error("write event {position} of the log: another controller has written it")]
    Raced {
        /// The position.
        position: u64,
    },
    /// The event is longer than a reader would take.
    #[error("write event {position} of the log: it has {found} bytes, at most {EVENT_BYTES_MAX} are allowed")]
    TooLarge {
        /// The position.
        position: u64,
        /// Its length.
        found: u64,
    },
}

/// The log, open for appending.
#[derive(Debug)]
pub struct EventLog {
    objects: Objects,
    next: u64,
}

impl EventLog {
    /// Reads the whole log.
    pub async fn open(objects: Objects) -> Result<(Self, Vec<Record>), LogError> {
        let mut names = objects.names(PREFIX, EVENTS_MAX).await?;
        names.sort_unstable();
        for (found, position) in names.iter().zip(1..) {
            if *found != name(position) {
                return Err(LogError::Shape(format!("expected event {position}, found {found:?}")));
            }
        }
        let count = names.len() as u64;
        let reads = futures::stream::iter(1..=count).map(|position| read(&objects, position));
        let records: Vec<Record> = reads.buffered(READS_AT_ONCE).try_collect().await?;
        Ok((EventLog { objects, next: count + 1 }, records))
    }

    /// Adds an event that happened at `time`, durably, and returns its record.
    pub async fn append(&mut self, time: u64, event: Event) -> Result<Record, LogError> {
        let position = self.next;
        let record = Record { schema: EVENT_SCHEMA, position, time, event };
        let line = record.encode();
        let found = line.len() as u64;
        if found > EVENT_BYTES_MAX {
            return Err(LogError::TooLarge { position, found });
        }
        if !self.objects.create(&key(position), line.into()).await? {
            return Err(LogError::Raced { position });
        }
        self.next += 1;
        Ok(record)
    }
}

async fn read(objects: &Objects, position: u64) -> Result<Record, LogError> {
    let missing = || LogError::Shape(format!("event {position} is gone"));
    let line = objects.read(&key(position), EVENT_BYTES_MAX).await?.ok_or_else(missing)?;
    let record = Record::decode(&line).map_err(|source| LogError::Event { position, source })?;
    if record.position != position {
        return Err(LogError::Shape(format!("event {position} says that it is event {}", record.position)));
    }
    Ok(record)
}

/// Twenty digits hold every u64, so that names sort like numbers.
fn name(position: u64) -> String {
    format!("{position:020}.json")
}

fn key(position: u64) -> Key {
    Key::from(format!("{PREFIX}/{}", name(position)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use cloud_sync_protocol::{ChannelId, DeviceId};
    use runtime_trust::Digest;

    fn enrolled(name: &str) -> Event {
        Event::Enrolled {
            device: DeviceId::parse(name).expect("a name"),
            channel: ChannelId::parse("stable").expect("a name"),
            fingerprint: Digest::of(name.as_bytes()),
            expires: 2_000_000_000,
        }
    }

    #[tokio::test]
    async fn what_is_appended_is_read_in_order() {
        let objects = Objects::in_memory();
        let (mut log, empty) = EventLog::open(objects.clone()).await.expect("a new log");
        assert!(empty.is_empty());
        let mut written = Vec::new();
        for number in 0..40 {
            written.push(log.append(number, enrolled(&format!("d{number}"))).await.expect("appended"));
        }
        let (_, read) = EventLog::open(objects).await.expect("the log");
        assert_eq!(read, written);
    }

    #[tokio::test]
    async fn two_controllers_cannot_both_write() {
        let objects = Objects::in_memory();
        let (mut one, _) = EventLog::open(objects.clone()).await.expect("a log");
        let (mut other, _) = EventLog::open(objects.clone()).await.expect("the same log");
        one.append(1, enrolled("one")).await.expect("first");
        let error = other.append(1, enrolled("other")).await.expect_err("second");
        assert!(matches!(error, LogError::Raced { position: 1 }), "{error}");
        let (_, records) = EventLog::open(objects).await.expect("the log");
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].event, enrolled("one"));
    }

    #[tokio::test]
    async fn gaps_strangers_and_damage_are_named() {
        let rows: [(&str, u64, &[u8], &str); 4] = [
            ("gap", 2, b"{}", "expected event 1"),
            ("damage", 1, b"{\"schema\":1", "read event 1 of the log"),
            ("newer", 1, b"{\"schema\":2}", "schema 2 is newer than 1"),
            ("moved", 1, &record_at(3), "event 1 says that it is event 3"),
        ];
        for (name, position, bytes, expected) in rows {
            let objects = Objects::in_memory();
            objects.create(&key(position), Bytes::copy_from_slice(bytes)).await.expect("created");
            let error = EventLog::open(objects).await.expect_err(name).to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }

    fn record_at(position: u64) -> Vec<u8> {
        Record { schema: EVENT_SCHEMA, position, time: 1, event: enrolled("d") }.encode()
    }
}
