//! The store as its callers see it: on the real disk, and on one in memory that loses power.
#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods)]

mod crash;
mod damage;
mod fill;
mod fixture;
mod golden;
mod index;
mod room;
mod state;
