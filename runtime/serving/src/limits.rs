//! Bounds of what clients may take.

use std::time::Duration;

/// Limits of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServingLimits {
    /// Bytes of one request's body, as sent and after decompression.
    pub body_bytes_max: u64,
    /// Bytes of all bodies that are held at one time; further requests are told to come back.
    pub bodies_bytes_max: u64,
    /// Connections per listener; a further one is told to come back.
    pub connections_max: usize,
    /// Bytes of a request's head.
    pub head_bytes_max: usize,
    /// Time for a request's head, from its first byte or from the connection on.
    pub head_time_max: Duration,
    /// Time without a byte of a body that is under way.
    pub body_pause_max: Duration,
    /// Time for a whole body.
    pub body_time_max: Duration,
    /// Time that a kept connection may be idle between requests.
    pub idle_time_max: Duration,
    /// Time in which a client takes no byte of its reply.
    pub write_pause_max: Duration,
    /// Time that running requests get when the server stops.
    pub stop_time_max: Duration,
}

impl Default for ServingLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 << 20,
            bodies_bytes_max: 256 << 20,
            connections_max: 256,
            head_bytes_max: 64 << 10,
            head_time_max: Duration::from_secs(10),
            body_pause_max: Duration::from_secs(10),
            body_time_max: Duration::from_secs(60),
            idle_time_max: Duration::from_secs(300),
            write_pause_max: Duration::from_secs(30),
            stop_time_max: Duration::from_secs(5),
        }
    }
}

/// Inputs or outputs that one request may name.
pub(crate) const TENSORS_MAX: usize = 256;
/// Bytes of a request's id.
pub(crate) const ID_BYTES_MAX: usize = 4096;
/// Bodies longer than this are unpacked and read on a thread that may block.
pub(crate) const INLINE_BYTES_MAX: usize = 256 << 10;
/// Replies shorter than this are not compressed: it would cost more than it saves.
pub(crate) const COMPRESS_BYTES_MIN: usize = 1024;
