//! Numbers, always beside a peer in the same process run: ratios with their spread, never bare times.

pub mod agent;
pub mod artifact;
pub mod inference;
pub mod measure;
pub mod transfer;
