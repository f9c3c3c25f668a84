//! Counters of one model.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::InferError;
use crate::latency::Latencies;

/// Rungs that can answer today; the chain has room for six.
const RUNGS: usize = 6;
/// Latest run times kept for the percentiles.
const RECENT: usize = 512;

/// What happened to one model's requests since the name was first served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Requests answered.
    pub answered: u64,
    /// Requests answered by rung 1, 2, .. 6.
    pub answered_by_rung: [u64; RUNGS],
    /// Refused: a tensor did not fit.
    pub bad_input: u64,
    /// Refused: the queue was full.
    pub busy: u64,
    /// Given up: the deadline passed.
    pub deadline: u64,
    /// Given up: every rung failed.
    pub failed: u64,
    /// Refused for any other reason.
    pub refused: u64,
    /// Requests that wait now.
    pub queued: u64,
    /// Median time in the engine over the latest 512 answers, in microseconds.
    pub p50_us: u64,
    /// 95th percentile of the same.
    pub p95_us: u64,
}

/// Counters behind a lock that is held for a few additions.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    statistics: Statistics,
    recent: Vec<Duration>,
    next: usize,
}

impl Counters {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn answered(&self, rung: u8, time: Duration) {
        let mut inner = self.lock();
        inner.statistics.answered += 1;
        if let Some(count) = inner.statistics.answered_by_rung.get_mut(usize::from(rung).wrapping_sub(1)) {
            *count += 1;
        }
        let next = inner.next;
        match inner.recent.get_mut(next) {
            Some(place) => *place = time,
            None => inner.recent.push(time),
        }
        inner.next = (next + 1) % RECENT;
    }

    pub(crate) fn refused(&self, error: &InferError) {
        let statistics = &mut self.lock().statistics;
        let counter = match error {
            InferError::BadInput { .. } => &mut statistics.bad_input,
            InferError::Busy { .. } => &mut statistics.busy,
            InferError::Deadline => &mut statistics.deadline,
            InferError::Failed { .. } => &mut statistics.failed,
            _ => &mut statistics.refused,
        };
        *counter += 1;
    }

    pub(crate) fn read(&self) -> Statistics {
        let inner = self.lock();
        let mut latencies = Latencies::default();
        inner.recent.iter().for_each(|time| latencies.add(*time));
        Statistics { p50_us: latencies.p50_us(), p95_us: latencies.p95_us(), ..inner.statistics }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_times_count() {
        let counters = Counters::default();
        for _ in 0..RECENT {
            counters.answered(1, Duration::from_micros(1_000));
        }
        for _ in 0..RECENT {
            counters.answered(3, Duration::from_micros(10));
        }
        counters.refused(&InferError::Deadline);
        let statistics = counters.read();
        assert_eq!((statistics.p50_us, statistics.p95_us), (10, 10));
        assert_eq!(statistics.answered_by_rung, [RECENT as u64, 0, RECENT as u64, 0, 0, 0]);
        assert_eq!((statistics.answered, statistics.deadline), (2 * RECENT as u64, 1));
    }
}
