//! Behaviour that spans crates. One binary; each module is one subject.
#![allow(clippy::disallowed_methods)] // Fixtures are small files that the tests made themselves.
#![allow(unreachable_pub)] // Shared fixtures are written as libraries are.

// The artifact crate's own way to write files that lie.
#[allow(dead_code)]
#[path = "../../runtime/artifact/tests/it/fixture.rs"]
mod fixture;
#[allow(dead_code)]
#[path = "../../runtime/artifact/tests/it/raw.rs"]
mod raw;

mod hostile_artifacts;
mod layering;
mod onnxruntime;
mod pages;
mod peers;
mod stories;
