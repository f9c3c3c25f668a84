//! The quickstart: the whole system on this machine, with real processes, a real broker and real attacks.
//!
//! It never touches anything outside its own folder, and nothing outside loopback.

pub mod api;
mod arguments;
mod attacks;
mod forge;
pub mod hostile;
pub mod layout;
pub mod programs;
pub mod report;
pub mod samples;
pub mod stage;
pub mod story;

pub use arguments::main_from;
