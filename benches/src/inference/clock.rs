//! Which clock a run is timed with.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The processor time of all threads of this process.
    Processor,
    /// The time of day, as far as it only grows.
    Wall,
}

impl Clock {
    /// The clock for runs of `threads` threads.
    ///
    /// One thread that computes and waits for nothing takes as much processor time as wall time, except that time
    /// which other programs take from it is not counted; and an engine that starts a second thread all the same pays
    /// for both. With more threads only the wall clock tells how well they share the work.
    pub(crate) fn of(threads: u16) -> Self {
        if threads == 1 { Self::Processor } else { Self::Wall }
    }

    /// Time since a fixed moment.
    pub(crate) fn now(self) -> Duration {
        let time = clock_gettime(match self {
            Self::Processor => ClockId::ProcessCPUTime,
            Self::Wall => ClockId::Monotonic,
        });
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    /// Time since `earlier`.
    pub(crate) fn since(self, earlier: Duration) -> Duration {
        self.now().saturating_sub(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_grow_while_this_thread_works() {
        for clock in [Clock::Processor, Clock::Wall] {
            let start = clock.now();
            let mut steps = 0_u64;
            while clock.since(start) < Duration::from_millis(2) {
                steps += 1;
                assert!(steps < 1_000_000_000, "{clock:?} stands still");
            }
        }
    }
}
