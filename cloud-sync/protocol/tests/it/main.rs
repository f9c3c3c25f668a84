//! What the protocol promises to other programs and to other versions of itself.
#![allow(clippy::disallowed_methods)]

mod brokers;
mod golden;
mod payloads;
mod topics;
