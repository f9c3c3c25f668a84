//! The API as a client meets it: real sockets, raw bytes, a small test engine.
#![allow(clippy::disallowed_methods)]

mod answers;
mod client;
mod echo;
mod host;
mod hostile;
mod packing;
mod sockets;
mod stopping;
