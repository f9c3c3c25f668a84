//! Reads messages that the broker keeps.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use cloud_sync_protocol::Topic;

use crate::error::LinkError;
use crate::handle::{Diverted, Link};

/// The message that the broker keeps for `topic`, or `None` when none came in time: MQTT has no way to say that
/// there is none. A subscription that exists already stays, and its messages still reach the link's events.
pub async fn retained(link: &Link, topic: &Topic, patience: Duration) -> Result<Option<Bytes>, LinkError> {
    let mut found = retained_many(link, std::slice::from_ref(topic), patience).await?;
    Ok(found.remove(topic))
}

/// Like [`retained`] for several topics at once; those that came in time. Returns as soon as all came.
pub async fn retained_many(
    link: &Link,
    topics: &[Topic],
    patience: Duration,
) -> Result<BTreeMap<Topic, Bytes>, LinkError> {
    let mut subscriptions = Vec::with_capacity(topics.len());
    for topic in topics {
        subscriptions.push(Subscription::new(link, topic)?);
    }
    let deadline = tokio::time::Instant::now() + patience;
    let mut found = BTreeMap::new();
    for (topic, subscription) in topics.iter().zip(&mut subscriptions) {
        let message = async {
            while let Some(message) = subscription.diverted.recv().await {
                // An empty payload is how MQTT deletes what the broker keeps.
                if !message.payload.is_empty() {
                    return Some(message.payload);
                }
            }
            None
        };
        match tokio::time::timeout_at(deadline, message).await {
            Ok(Some(payload)) => drop(found.insert(topic.clone(), payload)),
            Ok(None) => return Err(LinkError::Closed),
            Err(_) => {}
        }
    }
    Ok(found)
}

/// A subscription for the time of one question.
struct Subscription<'a> {
    link: &'a Link,
    topic: String,
    was_there: bool,
    diverted: Diverted,
}

impl<'a> Subscription<'a> {
    fn new(link: &'a Link, topic: &Topic) -> Result<Self, LinkError> {
        let topic = topic.to_string();
        let was_there = link.shared().is_subscribed(&topic);
        let diverted = if was_there { link.listen(topic.clone(), 4)? } else { link.divert(topic.clone(), 4)? };
        // Subscribing again makes the broker send what it keeps again.
        link.subscribe(topic.clone())?;
        Ok(Self { link, topic, was_there, diverted })
    }
}

impl Drop for Subscription<'_> {
    fn drop(&mut self) {
        if !self.was_there {
            // A link that ended has no subscriptions left to end.
            let _ = self.link.unsubscribe(std::mem::take(&mut self.topic));
        }
    }
}
