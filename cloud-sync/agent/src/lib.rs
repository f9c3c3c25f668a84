//! The program `edge-agent`: keeps a device's models current and answers for them, with or without a network.
//!
//! - [`machine`] decides, purely: what happened in, what to do out.
//! - `order` is the one way from outside bytes to an active model: ten checks in one function.
//! - `executor` carries out what the machine asks for; `daemon` runs it as a process, `local` inside one command.
//! - `source` is where bytes come from; `device` is what is here; `admin` is how commands reach a daemon.
//! - [`config`] is one table of keys; `command` is the command line.
//!
//! **Invariant**: what answers was proven on this device, and only the signed deny-list takes the last version away.
//!
//! Never here: signing, private keys other than the device's own TLS key, types of the MQTT client or the database.
#![allow(
    clippy::result_large_err,
    reason = "a refusal is told once a job, and its texts are what the operator sees: boxing it buys nothing"
)]

mod admin;
mod clock;
mod command;
pub mod config;
mod daemon;
mod device;
mod executor;
#[cfg(test)]
mod fixture;
mod folder;
mod input;
mod job;
mod local;
pub mod machine;
mod order;
mod outcome;
mod source;
mod status;

pub use command::main_from;
