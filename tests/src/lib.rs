//! Behaviour that spans crates.
