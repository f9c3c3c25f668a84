//! The public behaviour of `runtime-graph`.
#![allow(clippy::disallowed_methods, reason = "tests write the files that they read")]
#![allow(missing_docs, reason = "tests")]

mod folding;
mod hostile;
mod peer;
mod reading;
mod rewriting;
mod samples;
mod shapes;
mod splicing;
mod surveying;
