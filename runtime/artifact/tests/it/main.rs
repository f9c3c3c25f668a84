//! Whole `.cask` files: made, opened, attacked.
#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods)]

mod fixture;
mod flips;
mod golden_file;
mod hostile;
mod memory;
mod raw;
mod roundtrip;
mod signing;

/// Counts what each thread has allocated, for the tests of bounded memory.
#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;
