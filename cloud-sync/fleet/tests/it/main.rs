//! The fleet from outside: its library over an in-memory broker, its embedded broker, its command line.
#![allow(clippy::disallowed_methods, reason = "tests read and damage files as an attacker or a person would")]

mod cli;
mod cli_errors;
mod controller;
mod device;
#[cfg(feature = "embedded-broker")]
mod embedded;
mod fixture;
mod release;
#[cfg(feature = "embedded-broker")]
mod serve;
