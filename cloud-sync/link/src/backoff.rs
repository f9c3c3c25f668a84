//! How long to wait before the next attempt: exponential, bounded, with jitter from a caller's random numbers.

use std::time::Duration;

use rand::Rng;

/// Bounds of the waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffSettings {
    /// Wait before the second attempt.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// A connection that stood this long makes the next wait the first one again.
    pub stable_after: Duration,
}

impl Default for BackoffSettings {
    /// 1 s, doubling to 60 s; forgotten after 30 s of a standing connection.
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(60), stable_after: Duration::from_secs(30) }
    }
}

/// The waits of one connection.
#[derive(Clone, Debug)]
pub struct Backoff {
    settings: BackoffSettings,
    attempts: u32,
}

impl Backoff {
    /// Begins with the first wait.
    pub fn new(settings: BackoffSettings) -> Self {
        Self { settings, attempts: 0 }
    }

    /// The next wait: between half of the exponential step and all of it, so that many clients that lost one
    /// broker do not come back together.
    pub fn wait(&mut self, random: &mut impl Rng) -> Duration {
        // 2^20 times the first wait is past every sensible longest wait; the cap keeps the shift in range.
        let factor = 1_u32 << self.attempts.min(20);
        self.attempts = self.attempts.saturating_add(1);
        let step = self.settings.first.saturating_mul(factor).min(self.settings.longest);
        step / 2 + step.mul_f64(0.5 * random.random::<f64>())
    }

    /// Tells how long the connection stood that just ended.
    pub fn stood(&mut self, duration: Duration) {
        if duration >= self.settings.stable_after {
            self.attempts = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn waits_double_to_the_longest_and_jitter_stays_in_the_upper_half() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut backoff = Backoff::new(BackoffSettings::default());
        for step_s in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let wait = backoff.wait(&mut random);
            let step = Duration::from_secs(step_s);
            assert!(wait >= step / 2 && wait <= step, "{wait:?} for a step of {step:?}");
        }
        for _ in 0..100 {
            assert!(backoff.wait(&mut random) <= Duration::from_secs(60));
        }
    }

    #[test]
    fn only_a_stable_connection_starts_over() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut backoff = Backoff::new(BackoffSettings::default());
        for _ in 0..5 {
            backoff.wait(&mut random);
        }
        backoff.stood(Duration::from_secs(29));
        assert!(backoff.wait(&mut random) > Duration::from_secs(10));
        backoff.stood(Duration::from_secs(30));
        assert!(backoff.wait(&mut random) <= Duration::from_secs(1));
    }

    #[test]
    fn two_seeds_wait_differently_and_one_seed_repeats() {
        let waits = |seed| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut backoff = Backoff::new(BackoffSettings::default());
            (0..4).map(|_| backoff.wait(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
