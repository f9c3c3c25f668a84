//! Behaviour that spans crates. One binary; each module is one subject.
#![allow(clippy::disallowed_methods)] // Fixtures are small files that the tests made themselves.

mod layering;
mod pages;
mod stories;
