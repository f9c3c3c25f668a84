//! The real program `edge-agent`, as a person runs it.
#![allow(clippy::disallowed_methods, reason = "tests write small files into folders of their own")]

#[path = "../../src/fixture.rs"]
mod fixture;

mod engines;
mod help;
mod program;
