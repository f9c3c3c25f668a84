//! How many requests are on the way at a time, and how long to wait for each: both follow what comes back.

use std::time::Duration;

/// The number of requests on the way. It halves on trouble, at most once per round trip, and grows by one for
/// every window of answers, as TCP does.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    size: usize,
    size_max: usize,
    size_min_seen: usize,
    answers: usize,
    /// Trouble of requests sent before this number was already counted.
    counted_before: u64,
}

impl Window {
    pub(crate) fn new(size_max: usize) -> Self {
        let size_max = size_max.max(1);
        Self { size: size_max, size_max, size_min_seen: size_max, answers: 0, counted_before: 0 }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn size_min_seen(&self) -> usize {
        self.size_min_seen
    }

    pub(crate) fn answered(&mut self) {
        self.answers += 1;
        if self.answers >= self.size {
            self.answers = 0;
            self.size = (self.size + 1).min(self.size_max);
        }
    }

    /// Trouble with request `number`; `next_number` is the next one to be sent. Requests that were on the way
    /// together count as one trouble.
    pub(crate) fn trouble(&mut self, number: u64, next_number: u64) {
        if number < self.counted_before {
            return;
        }
        self.counted_before = next_number;
        self.answers = 0;
        self.size = (self.size / 2).max(1);
        self.size_min_seen = self.size_min_seen.min(self.size);
    }
}

/// The time to wait for an answer: smoothed round trip plus four deviations (RFC 6298), doubled per attempt.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    smoothed: Option<(Duration, Duration)>,
    first: Duration,
}

/// Shortest and longest time to wait for one answer.
const PATIENCE_MIN: Duration = Duration::from_millis(500);
const PATIENCE_MAX: Duration = Duration::from_secs(30);

impl Patience {
    pub(crate) fn new(first: Duration) -> Self {
        Self { smoothed: None, first }
    }

    /// Takes the round trip of a request that was sent once.
    pub(crate) fn measured(&mut self, round_trip: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => (round_trip, round_trip / 2),
            Some((smoothed, deviation)) => {
                let difference = smoothed.abs_diff(round_trip);
                (smoothed * 7 / 8 + round_trip / 8, deviation * 3 / 4 + difference / 4)
            }
        });
    }

    /// How long to wait for attempt number `attempt`, counted from 1.
    pub(crate) fn wait(&self, attempt: u32) -> Duration {
        let base = match self.smoothed {
            None => self.first,
            Some((smoothed, deviation)) => smoothed + deviation * 4,
        };
        let doubled = base.clamp(PATIENCE_MIN, PATIENCE_MAX).saturating_mul(1 << attempt.saturating_sub(1).min(10));
        doubled.min(PATIENCE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_halves_once_per_round_trip_and_grows_back() {
        let mut window = Window::new(16);
        window.trouble(3, 16);
        window.trouble(4, 16);
        window.trouble(15, 16);
        assert_eq!(window.size(), 8, "three troubles of one window are one");
        window.trouble(16, 20);
        assert_eq!(window.size(), 4);
        for _ in 0..4 {
            window.answered();
        }
        assert_eq!(window.size(), 5);
        for _ in 0..1000 {
            window.answered();
        }
        assert_eq!(window.size(), 16);
        assert_eq!(window.size_min_seen(), 4);
    }

    #[test]
    fn the_window_never_closes() {
        let mut window = Window::new(2);
        for number in 0..10 {
            window.trouble(number, number + 1);
        }
        assert_eq!(window.size(), 1);
    }

    #[test]
    fn patience_follows_the_round_trip_within_bounds() {
        let mut patience = Patience::new(Duration::from_secs(5));
        assert_eq!(patience.wait(1), Duration::from_secs(5));
        assert_eq!(patience.wait(2), Duration::from_secs(10));
        for _ in 0..50 {
            patience.measured(Duration::from_millis(10));
        }
        assert_eq!(patience.wait(1), PATIENCE_MIN);
        for _ in 0..50 {
            patience.measured(Duration::from_secs(4));
        }
        assert!(patience.wait(1) >= Duration::from_secs(4) && patience.wait(1) < Duration::from_secs(8));
        assert_eq!(patience.wait(100), PATIENCE_MAX);
    }
}
