//! The link against the broker in memory, and against servers of a few lines that misbehave in ways in which a real
//! broker would not. Real brokers are in the package `tests`.
#![allow(clippy::disallowed_methods)]

mod connecting;
mod fetching;
mod folder;
mod links;
mod serving;
mod setup;
mod tls_server;
