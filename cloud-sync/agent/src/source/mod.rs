//! Where an install takes its bytes from: the fleet, or a file.

mod file;
mod network;

pub(crate) use file::FileSource;
pub(crate) use network::{NetworkSource, Publications};
