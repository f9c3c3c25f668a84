//! Pair-safe weights.
//!
//! AVX2's `vpmaddubsw` multiplies unsigned activations by signed weights and adds neighbours in 16 bits, with
//! saturation. With activations up to 255 it is exact when in each pair the positive weights sum to at most 128
//! and the negative ones to at least -128 (255 * 128 < 32,768). Which weights are neighbours depends on the order
//! in which a kernel runs over its window: channels last (kh, kw, c) or channels first (c, kh, kw); both are made
//! safe here, so that any kernel is exact.

/// What the weights of one sign in a pair may sum to.
const PAIR_MAX: i32 = 128;

/// Positions of the pairs of one output channel whose weights lie as (channel, place).
///
/// First the pairs of neighbours as they lie, then those of neighbours when places come before channels. A last
/// weight without a neighbour is in no pair.
fn pairs(channels: usize, places: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = channels * places;
    let as_stored = move |position: usize| (position % channels) * places + position / channels;
    let first = (0..count / 2).map(|pair| (2 * pair, 2 * pair + 1));
    let last = (0..count / 2).map(move |pair| (as_stored(2 * pair), as_stored(2 * pair + 1)));
    first.chain(last)
}

fn excess(left: i8, right: i8) -> i32 {
    if (left < 0) != (right < 0) {
        return 0;
    }
    (i32::from(left).abs() + i32::from(right).abs() - PAIR_MAX).max(0)
}

/// Whether no pair of these weights can saturate, in either order.
pub fn is_pair_safe(codes: &[i8], channels: usize, places: usize) -> bool {
    // A single weight of -128 beside a positive one is safe as well; `excess` counts signs apart.
    codes.len() == channels * places
        && pairs(channels, places).all(|(left, right)| excess(codes[left], codes[right]) == 0)
}

/// Shrinks the weights of pairs that could saturate, both by half of what is too much; returns how many weights
/// changed. `codes` holds one output channel as (channel, place).
///
/// # Panics
/// When `codes` does not have `channels * places` entries.
pub fn make_pair_safe(codes: &mut [i8], channels: usize, places: usize) -> u64 {
    assert_eq!(codes.len(), channels * places, "one output channel has channels * places weights");
    let before = codes.to_vec();
    let toward_zero = |code: i8, by: i32| (i32::from(code) - i32::from(code).signum() * by) as i8;
    // Weights only get smaller, so a pair that is safe stays safe and one pass is enough.
    for (left, right) in pairs(channels, places) {
        let excess = excess(codes[left], codes[right]);
        if excess > 0 {
            codes[left] = toward_zero(codes[left], (excess + 1) / 2);
            codes[right] = toward_zero(codes[right], excess / 2);
        }
    }
    before.iter().zip(codes.iter()).filter(|(before, after)| before != after).count() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The largest sum that `vpmaddubsw` could meet, computed as the instruction does but without saturating.
    fn worst_sum(codes: &[i8]) -> (i32, i32) {
        let pair = |pair: &[i8]| {
            let sum = |keep: fn(&i32) -> bool| pair.iter().map(|&code| 255 * i32::from(code)).filter(keep).sum::<i32>();
            (sum(|product| *product < 0), sum(|product| *product > 0))
        };
        codes.chunks(2).map(pair).fold((0, 0), |worst, sum| (worst.0.min(sum.0), worst.1.max(sum.1)))
    }

    #[test]
    fn both_orders_are_made_safe() {
        // Neighbours in storage are fine; channels last would put 100 beside 100.
        let mut codes = [100, -100, 100, -100];
        assert!(!is_pair_safe(&codes, 2, 2));
        assert_eq!(make_pair_safe(&mut codes, 2, 2), 4);
        assert_eq!(codes, [64, -64, 64, -64]);
        assert!(is_pair_safe(&codes, 2, 2));
    }

    #[test]
    fn safe_weights_stay() {
        let mut codes = [127, 1, -127, 127, 64, 64, -128, 5, 127];
        assert_eq!(make_pair_safe(&mut codes, 9, 1), 0);
        assert!(is_pair_safe(&codes, 9, 1));
    }

    proptest! {
        #[test]
        fn no_sum_saturates_afterwards(channels in 1usize..7, places in 1usize..10, seed in proptest::collection::vec(-127i8..=127, 60)) {
            let mut codes = seed[..channels * places].to_vec();
            let before = codes.clone();
            make_pair_safe(&mut codes, channels, places);
            prop_assert!(is_pair_safe(&codes, channels, places));
            let last: Vec<i8> =
                (0..codes.len()).map(|position| codes[(position % channels) * places + position / channels]).collect();
            for order in [&codes, &last] {
                let (low, high) = worst_sum(order);
                prop_assert!(low >= -32_768 && high <= 32_767, "{low} {high}");
            }
            for (before, after) in before.iter().zip(&codes) {
                prop_assert!(before.signum() * after.signum() >= 0 && after.unsigned_abs() <= before.unsigned_abs());
            }
        }
    }
}
