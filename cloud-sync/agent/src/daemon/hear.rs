//! What comes from the broker, on its way to the director.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use cloud_sync_link::LinkEvent;
use cloud_sync_protocol::Topic;
use tokio::sync::mpsc;

use super::Message;
use crate::machine::{Event, News};
use crate::source::Publications;

/// What hearing needs of the director, and shares with jobs.
pub(crate) struct Ears {
    /// The newest deployment and timestamp on this connection.
    pub(crate) publications: Publications,
    /// The highest signed time, in seconds since 1970.
    pub(crate) time_seen: Arc<AtomicU64>,
}

/// Passes on what happens on the link until it ends, or nobody listens.
pub(crate) async fn hear(
    mut events: mpsc::Receiver<LinkEvent>,
    deployment: Topic,
    timestamp: Topic,
    ears: Ears,
    inbox: mpsc::Sender<Message>,
) {
    let (deployment, timestamp) = (deployment.to_string(), timestamp.to_string());
    while let Some(event) = events.recv().await {
        let message = match event {
            LinkEvent::Up { .. } => Message::Event(Event::LinkUp),
            LinkEvent::Down { why } => {
                // The next connection tells it again; until then nothing is known to be published.
                ears.publications.forget();
                Message::Event(Event::LinkDown { why: format!("failed to {why}") })
            }
            LinkEvent::Message(message) if message.payload.is_empty() => continue,
            LinkEvent::Message(message) if message.topic == deployment => {
                ears.publications.set(News::Deployment, message.payload.clone());
                Message::Published { news: News::Deployment, bytes: message.payload }
            }
            LinkEvent::Message(message) if message.topic == timestamp => {
                ears.publications.set(News::Timestamp, message.payload.clone());
                Message::Published { news: News::Timestamp, bytes: message.payload }
            }
            LinkEvent::Message(message) => {
                tracing::debug!(topic = message.topic, "a message that nobody asked for");
                continue;
            }
            LinkEvent::NotAccepted { topic, reason } => {
                tracing::warn!(topic, reason, "the broker did not accept a message or subscription");
                continue;
            }
        };
        if inbox.send(message).await.is_err() {
            return;
        }
    }
}
