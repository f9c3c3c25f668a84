//! When to try again.

/// First pause, in milliseconds.
const PAUSE_MS_MIN: u64 = 2_000;
/// Longest pause before jitter, in milliseconds.
const PAUSE_MS_MAX: u64 = 300_000;

/// The pause before attempt `attempt` (the first retry is 1): doubling, capped, plus up to a quarter that differs
/// between devices (`salt`), so that a fleet that failed together does not return together.
pub(crate) fn pause_ms(attempt: u32, salt: u64) -> u64 {
    let doublings = attempt.saturating_sub(1).min(16);
    let pause = (PAUSE_MS_MIN << doublings).min(PAUSE_MS_MAX);
    pause + mix(salt ^ u64::from(attempt)) % (pause / 4)
}

/// SplitMix64's finalizer: spreads neighbouring inputs over the whole range.
fn mix(value: u64) -> u64 {
    let mut value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_stay_capped_and_differ_between_devices() {
        let mut before = 0;
        for attempt in 1..40 {
            let pause = pause_ms(attempt, 7);
            assert!((PAUSE_MS_MIN..=PAUSE_MS_MAX + PAUSE_MS_MAX / 4).contains(&pause), "{attempt}: {pause}");
            if attempt <= 8 {
                assert!(pause > before, "{attempt}: {pause} after {before}");
            }
            before = pause;
        }
        assert_ne!(pause_ms(5, 1), pause_ms(5, 2));
    }
}
