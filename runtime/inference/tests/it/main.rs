//! Proving and serving models, on the test engine, which fails on command.

mod benching;
mod model;
mod proving;
mod serving;
