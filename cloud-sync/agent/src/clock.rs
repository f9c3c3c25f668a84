//! The one place that reads a clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// No signed statement of this format is older; a device whose clock says less is wrong. Seconds since 1970 of
/// 2026-11-01, or of the build where the build names it.
const FORMAT_UNIX: u64 = 1_793_491_200;

/// When this program was built, as far as the build says; certificates are checked against no earlier time.
pub(crate) fn build_unix() -> u64 {
    option_env!("CASK_BUILD_UNIX").and_then(|text| text.parse().ok()).unwrap_or(FORMAT_UNIX).max(FORMAT_UNIX)
}

/// What the system's clock says, in seconds since 1970; 0 for a clock before that.
pub(crate) fn system_unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The system's clock, or the build's time where that is later.
pub(crate) fn plausible_unix() -> u64 {
    system_unix().max(build_unix())
}

/// Milliseconds since it was started: never goes back, whatever the wall clock does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts at 0.
    pub(crate) fn start() -> Self {
        Stopwatch(Instant::now())
    }

    /// Milliseconds since the start.
    pub(crate) fn ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
