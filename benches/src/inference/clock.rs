//! Which clock a run is timed with.

use std::path::Path;
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

/// Threads of this process that are looked at.
const THREADS_MAX: usize = 4096;

/// Bytes of one thread's `schedstat`.
const STATE_BYTES_MAX: u64 = 256;

/// How long all threads of this process together were ready to run and had no core, since they started; zero where
/// the system does not tell.
pub(crate) fn waited() -> Duration {
    let Ok(threads) = runtime_disk::list(Path::new("/proc/self/task"), THREADS_MAX) else { return Duration::ZERO };
    let nanoseconds = threads.iter().filter_map(|thread| {
        // A thread may end between the listing and here.
        let path = Path::new("/proc/self/task").join(&thread.name).join("schedstat");
        let text = String::from_utf8(runtime_disk::read_bounded(&path, STATE_BYTES_MAX).ok()?).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn waiting_for_a_core_is_seen() {
        if !runtime_disk::exists(Path::new("/proc/self/schedstat")).unwrap_or(false) {
            // A kernel without these statistics: nothing is ever seen to wait, and every pair counts.
            assert_eq!(waited(), Duration::ZERO);
            return;
        }
        // Twice as many busy threads as cores: some of them wait.
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let before = waited();
        std::thread::scope(|scope| {
            let busy: Vec<_> = (0..2 * cores)
                .map(|_| {
                    scope.spawn(|| {
                        let start = Clock::Wall.now();
                        while Clock::Wall.since(start) < Duration::from_millis(60) {}
                        waited()
                    })
                })
                .collect();
            let seen = busy.into_iter().filter_map(|thread| thread.join().ok()).max();
            assert!(seen > Some(before), "{seen:?} after {before:?}");
        });
    }

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
