//! The entropy observer: the range whose integers say most about the distribution of values.
//!
//! Migacz 2017, "8-bit Inference with TensorRT": among ranges that cut off more and more, the one with the least
//! Kullback-Leibler divergence of the values as integers from the values as they are, with what is cut off at the ends.

use crate::Range;

/// Levels of the integers, as in the source: half of what eight bits have, so that bins are finer than levels.
const LEVELS: usize = 128;
/// Ranges tried, each this much smaller than the one before, while bins are finer than levels.
const SHRINK: f64 = 0.97;
const SHRINKS: i32 = 100;

/// The range for a histogram of `counts` over bins of `width`, the first of which begins at `start`.
pub(crate) fn least_divergence(counts: &[u64], start: f64, width: f64, seen: Range) -> Range {
    let mut best = (f64::INFINITY, seen);
    for shrink in 0..SHRINKS {
        let factor = SHRINK.powi(shrink);
        let range = Range { low: (f64::from(seen.low) * factor) as f32, high: (f64::from(seen.high) * factor) as f32 };
        let (low, high) = (f64::from(range.low.min(0.0)), f64::from(range.high.max(0.0)));
        let bin = |value: f64| (((value - start) / width).max(0.0) as usize).min(counts.len() - 1);
        let (first, last) = (bin(low), bin(high));
        if last - first + 1 < 2 * LEVELS && shrink > 0 {
            break;
        }
        let divergence = divergence(counts, first, last);
        if divergence < best.0 {
            best = (divergence, range);
        }
    }
    best.1
}

fn divergence(counts: &[u64], first: usize, last: usize) -> f64 {
    let inside = &counts[first..=last];
    let cut = |part: &[u64]| part.iter().sum::<u64>() as f64;
    let mut values: Vec<f64> = inside.iter().map(|&count| count as f64).collect();
    values[0] += cut(&counts[..first]);
    let end = values.len() - 1;
    values[end] += cut(&counts[last + 1..]);
    // What integers know: the sum of a level, spread evenly over the bins of it that hold anything.
    let mut known = vec![0.0; values.len()];
    for level in 0..LEVELS {
        let (from, to) = (level * values.len() / LEVELS, (level + 1) * values.len() / LEVELS);
        let filled = inside[from..to].iter().filter(|&&count| count > 0).count();
        let sum: f64 = inside[from..to].iter().map(|&count| count as f64).sum();
        for (known, _) in known[from..to].iter_mut().zip(&inside[from..to]).filter(|(_, count)| **count > 0) {
            *known = sum / filled as f64;
        }
    }
    let (total, total_known) = (values.iter().sum::<f64>(), known.iter().sum::<f64>());
    if total == 0.0 || total_known == 0.0 {
        return f64::INFINITY;
    }
    // A bin that the integers know nothing of gets a share too small to count, not zero: divergence stays finite.
    let one = |(value, known): (&f64, &f64)| {
        let (value, known) = (value / total, (known / total_known).max(1e-9));
        if value > 0.0 { value * (value / known).ln() } else { 0.0 }
    };
    values.iter().zip(&known).map(one).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bell of 1025 bins from -8 to 8, with its values within 4 deviations, and a single value at 8.
    fn bell(outlier: u64) -> (Vec<u64>, f64, f64) {
        let width = 16.0 / 1024.0;
        let mut counts: Vec<u64> = (0..1025)
            .map(|bin| {
                let value = bin as f64 * width - 8.0;
                if value.abs() < 4.0 { (1e6 * (-value * value / 2.0).exp()) as u64 } else { 0 }
            })
            .collect();
        counts[1024] = outlier;
        (counts, -8.0 - width / 2.0, width)
    }

    #[test]
    fn a_lonely_value_is_cut_off_and_a_crowd_is_not() {
        let seen = Range { low: -8.0, high: 8.0 };
        let (counts, start, width) = bell(1);
        let found = least_divergence(&counts, start, width, seen);
        assert!((3.0..6.5).contains(&found.high) && found.low == -found.high, "{found:?}");
        let (counts, start, width) = bell(20_000_000);
        assert_eq!(least_divergence(&counts, start, width, seen), seen);
    }

    #[test]
    fn few_bins_are_left_whole() {
        let seen = Range { low: 0.0, high: 1.0 };
        assert_eq!(least_divergence(&[5, 0, 1], 0.0, 0.4, seen), seen);
        assert_eq!(least_divergence(&[0; 600], 0.0, 0.01, seen), seen, "nothing was seen");
    }
}
