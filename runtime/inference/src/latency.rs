//! Medians and percentiles of measured times.

use std::time::Duration;

/// Measured times of one thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies {
    times_ns: Vec<u64>,
}

impl Latencies {
    pub(crate) fn add(&mut self, time: Duration) {
        self.times_ns.push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        self.times_ns.extend_from_slice(&other.times_ns);
    }

    /// The smallest time that at least `percent` of the times do not exceed (nearest rank), in nanoseconds; 0 when
    /// nothing was measured.
    fn percentile_ns(&self, percent: u64) -> u64 {
        let mut sorted = self.times_ns.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() as u64 * percent).div_ceil(100).max(1);
        sorted.get(rank as usize - 1).copied().unwrap_or(0)
    }

    pub(crate) fn p50_us(&self) -> u64 {
        self.percentile_ns(50) / 1_000
    }

    pub(crate) fn p95_us(&self) -> u64 {
        self.percentile_ns(95) / 1_000
    }

    pub(crate) fn p50_us_exact(&self) -> f64 {
        self.percentile_ns(50) as f64 / 1e3
    }

    pub(crate) fn p95_us_exact(&self) -> f64 {
        self.percentile_ns(95) as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut latencies = Latencies::default();
        assert_eq!((latencies.p50_us(), latencies.p95_us()), (0, 0));
        for us in (1..=20).rev() {
            latencies.add(Duration::from_micros(us));
        }
        assert_eq!((latencies.p50_us(), latencies.p95_us()), (10, 19));
        latencies.add(Duration::from_micros(1_000));
        assert_eq!((latencies.p50_us(), latencies.p95_us()), (11, 20));
    }
}
