//! What the tests that span crates share: real peers, and the engines' conformance suite.
#![allow(clippy::disallowed_methods)] // Fixtures are small files that the tests made themselves.

pub mod conformance;
pub mod peer;
