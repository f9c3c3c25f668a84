//! A typed description of a device, and what an artifact may require of one.
//!
//! This crate only describes: it never reads the machine (that is `runtime-inference`) and never
//! decides what to install. Names of CPU features, engines and accelerators are open lists: a name
//! this version has never heard of is kept, compared and printed like any other.

mod profile;
mod requirements;

pub use profile::{Accelerator, Profile};
pub use requirements::Requirements;
