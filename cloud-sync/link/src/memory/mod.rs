//! A broker in memory with the same links as the real one, and with faults from a seed: for tests and simulations.
//!
//! It keeps what MQTT promises and programs rely on: retained messages, wildcards, shared subscriptions, last wills,
//! one connection per client id, order per sender without faults. It does not promise delivery: like a real broker
//! with full queues it may lose, repeat and reorder, as its [`Faults`] say. Under a paused tokio clock on one thread
//! a run depends on its seed alone.

mod broker;
mod client;

pub use broker::{Faults, MemoryBroker};
