//! The connection between fleet and device: MQTT 5, its in-memory double, and fetching objects by digest.
//!
//! A [`Link`] takes messages at any time, connected or not: they wait in a bounded [outbox](OutboxLimits) whose
//! oldest message gives way. The connection comes and goes beneath it; every connect subscribes again. Whoever
//! holds a `Link` never sees a type of the MQTT client, and cannot block the task that polls the connection.
//!
//! Nothing here is trusted or persistent: what arrives is checked by its receiver, and an outbox is lost with the
//! process.

mod backoff;
mod carrier;
mod error;
mod fetch;
mod folder;
mod handle;
pub mod memory;
mod mqtt;
mod outbox;
mod retained;
mod routes;
mod server;
mod settings;
mod shared;
mod topic_match;

pub use backoff::{Backoff, BackoffSettings};
pub use carrier::{FetchError, FetchReport, NotFetched, ObjectCarrier, Take, Verdict};
pub use error::LinkError;
pub use fetch::{ChunkFetcher, FetchSettings};
pub use folder::FolderCarrier;
pub use handle::{Delivery, Diverted, Link, LinkEvent, LinkStatistics, Message, Publish};
pub use mqtt::connect;
pub use outbox::OutboxLimits;
pub use retained::{retained, retained_many};
pub use server::{ChunkServer, ChunkServerSettings, ServerStatistics};
pub use settings::{Clock, MqttSettings, Plaintext, Will};
