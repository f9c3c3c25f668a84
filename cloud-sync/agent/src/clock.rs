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

/// The time that certificates are checked against, in seconds since 1970: the latest of what the system's clock says,
/// the build, the enrolment and the highest signed time seen. A device without a battery for its clock starts in 1970;
/// to it every certificate would be from the future, and it could never reach the fleet that tells it the time.
pub(crate) fn certificates_unix(system: u64, enrolled: u64, seen: u64) -> u64 {
    system.max(build_unix()).max(enrolled).max(seen)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_at_1970_is_overruled_by_what_is_known() {
        let build = build_unix();
        let rows = [
            ("a right clock", build + 50, build + 10, build + 20, build + 50),
            ("1970, never connected", 0, build + 10, 0, build + 10),
            ("1970, a fleet was heard", 0, build + 10, build + 20, build + 20),
            ("1970, an old enrolment", 12, 1, 1, build),
        ];
        for (name, system, enrolled, seen, expected) in rows {
            assert_eq!(certificates_unix(system, enrolled, seen), expected, "{name}");
        }
    }
}
