//! Numbers, always beside a peer in the same process run: ratios with their spread, never bare times.
#![deny(unsafe_code)]

pub mod agent;
pub mod artifact;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod ffi;
pub mod inference;
pub mod measure;
pub mod transfer;
