//! Streaming observers: what range of values a tensor takes, in memory that does not grow with the samples.

use crate::ObserverKind;
use crate::entropy::least_divergence;

/// Bins of the histogram; a power of two, so that doubling the range joins bins in pairs.
const BINS: usize = 2048;
/// Levels of the 8-bit grid between the ends of a range.
const STEPS: f64 = 255.0;
/// How many ends the squared-error search tries on each side, down to a fiftieth of the largest value.
const SHRINKS: i32 = 130;
/// Each relative to the one before.
const SHRINK: f64 = 0.97;

/// What [`ObserverKind::Best`] chooses from.
const CANDIDATES: [ObserverKind; 5] = [
    ObserverKind::MinMax,
    ObserverKind::Percentile(0.999_99),
    ObserverKind::Percentile(0.9999),
    ObserverKind::SquaredError,
    ObserverKind::Entropy,
];

/// A closed range of real values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Smallest value.
    pub low: f32,
    /// Largest value.
    pub high: f32,
}

impl Range {
    /// The smallest range that holds both.
    pub fn join(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }
}

/// Watches the values of one tensor over many batches.
///
/// The result does not depend on how values are divided into batches.
#[derive(Clone, Debug)]
pub struct Observer {
    kind: ObserverKind,
    seen: Option<Range>,
    histogram: Option<Histogram>,
}

impl Observer {
    /// An observer that has seen nothing.
    pub fn new(kind: ObserverKind) -> Self {
        let histogram = match kind {
            ObserverKind::MinMax => None,
            _ => Some(Histogram::default()),
        };
        Self { kind, seen: None, histogram }
    }

    /// Takes note of values; `false`, and nothing is noted, when one of them is NaN or infinite.
    #[must_use]
    pub fn observe(&mut self, values: &[f32]) -> bool {
        if !values.iter().all(|value| value.is_finite()) {
            return false;
        }
        let Some(&first) = values.first() else { return true };
        let start = self.seen.unwrap_or(Range { low: first, high: first });
        let seen = values.iter().fold(start, |range, &value| range.join(Range { low: value, high: value }));
        self.seen = Some(seen);
        if let Some(histogram) = &mut self.histogram {
            histogram.reach(seen.low.abs().max(seen.high.abs()));
            values.iter().for_each(|&value| histogram.add(value));
        }
        true
    }

    /// The chosen range; `None` when nothing was seen.
    pub fn range(&self) -> Option<Range> {
        self.range_of(self.kind)
    }

    /// What other observers would choose, with their kinds; empty unless this one is [`ObserverKind::Best`].
    pub fn candidates(&self) -> Vec<(ObserverKind, Range)> {
        let kinds = if self.kind == ObserverKind::Best { CANDIDATES.as_slice() } else { &[] };
        kinds.iter().filter_map(|&kind| Some((kind, self.range_of(kind)?))).collect()
    }

    fn range_of(&self, kind: ObserverKind) -> Option<Range> {
        let seen = self.seen?;
        let Some(histogram) = &self.histogram else { return Some(seen) };
        Some(match kind {
            ObserverKind::MinMax | ObserverKind::Best => seen,
            ObserverKind::Percentile(share) => histogram.percentile(share, seen),
            ObserverKind::SquaredError => histogram.least_error(seen),
            ObserverKind::Entropy => least_divergence(&histogram.counts, -histogram.reach, histogram.width(), seen),
        })
    }
}

/// Counts in bins over a symmetric range that is a power of two: growing it moves whole bins.
#[derive(Clone, Debug)]
struct Histogram {
    /// Half of the range covered.
    reach: f64,
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        // The smallest normal number; a tensor of zeros stays here.
        Self { reach: f64::from(f32::MIN_POSITIVE), counts: vec![0; BINS] }
    }
}

impl Histogram {
    /// Doubles the range until it covers `value`.
    fn reach(&mut self, value: f32) {
        while self.reach <= f64::from(value) {
            let mut joined = vec![0; BINS];
            for (bin, count) in self.counts.iter().enumerate() {
                joined[BINS / 4 + bin / 2] += count;
            }
            self.counts = joined;
            self.reach *= 2.0;
        }
    }

    fn width(&self) -> f64 {
        2.0 * self.reach / BINS as f64
    }

    fn add(&mut self, value: f32) {
        let bin = ((f64::from(value) + self.reach) / self.width()) as usize;
        self.counts[bin.min(BINS - 1)] += 1;
    }

    /// Lower edge of a bin.
    fn edge(&self, bin: usize) -> f64 {
        bin as f64 * self.width() - self.reach
    }

    /// Cuts off equal shares on both sides; one side only where all values have one sign.
    fn percentile(&self, share: f64, seen: Range) -> Range {
        let total: u64 = self.counts.iter().sum();
        let cut = (1.0 - share.clamp(0.5, 1.0)) * total as f64;
        let side = if seen.low >= 0.0 || seen.high <= 0.0 { cut } else { cut / 2.0 };
        let beyond = |mut bins: Box<dyn Iterator<Item = usize>>| {
            let mut passed = 0.0;
            bins.find(|&bin| {
                passed += self.counts[bin] as f64;
                passed > side
            })
        };
        let low = match beyond(Box::new(0..BINS)) {
            Some(bin) if seen.low < 0.0 => (self.edge(bin) as f32).max(seen.low),
            _ => seen.low,
        };
        let high = match beyond(Box::new((0..BINS).rev())) {
            Some(bin) if seen.high > 0.0 => (self.edge(bin + 1) as f32).min(seen.high),
            _ => seen.high,
        };
        Range { low: low.min(high), high }
    }

    /// Draws in one end after the other, twice, to where the error is least; the larger range of equals.
    fn least_error(&self, seen: Range) -> Range {
        let filled: Vec<(f64, f64)> = (0..BINS)
            .filter(|&bin| self.counts[bin] > 0)
            .map(|bin| (self.edge(bin) + self.width() / 2.0, self.counts[bin] as f64))
            .collect();
        let best = |candidates: &mut dyn Iterator<Item = Range>| {
            let start = (f64::INFINITY, seen);
            candidates
                .map(|range| (error(&filled, range), range))
                .fold(start, |best, next| if next.0 < best.0 { next } else { best })
                .1
        };
        let factors = || (0..SHRINKS).map(|shrink| SHRINK.powi(shrink));
        let mut range = seen;
        for _ in 0..2 {
            range = best(&mut factors().map(|factor| Range { high: (f64::from(seen.high) * factor) as f32, ..range }));
            range = best(&mut factors().map(|factor| Range { low: (f64::from(seen.low) * factor) as f32, ..range }));
        }
        Range { low: range.low.min(range.high), high: range.high.max(range.low) }
    }
}

/// Expected squared error over values with their counts: the noise of rounding inside the range, the distance to
/// its end outside.
fn error(values: &[(f64, f64)], range: Range) -> f64 {
    let (low, high) = (f64::from(range.low.min(0.0)), f64::from(range.high.max(0.0)));
    let step = (high - low) / STEPS;
    let noise = step * step / 12.0;
    let one = |&(value, count): &(f64, f64)| {
        let outside = (low - value).max(value - high).max(0.0);
        count * if outside > 0.0 { outside * outside } else { noise }
    };
    values.iter().map(one).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn observed(kind: ObserverKind, batches: &[&[f32]]) -> Option<Range> {
        let mut observer = Observer::new(kind);
        assert!(batches.iter().all(|batch| observer.observe(batch)));
        observer.range()
    }

    /// A bell of 100,000 values and one far away.
    fn bell_with_outlier() -> Vec<f32> {
        let mut values: Vec<f32> = (0..100_000u32)
            .map(|index| (0..6).map(|round| ((index * 7919 + round * 104_729) % 1000) as f32 / 1000.0 - 0.5).sum())
            .collect();
        values.push(50.0);
        values
    }

    #[test]
    fn extremes_are_the_extremes() {
        assert_eq!(observed(ObserverKind::MinMax, &[&[1.0, -2.0], &[0.5]]), Some(Range { low: -2.0, high: 1.0 }));
        assert_eq!(observed(ObserverKind::MinMax, &[]), None);
        assert_eq!(observed(ObserverKind::MinMax, &[&[]]), None);
    }

    #[test]
    fn an_outlier_is_cut_off() {
        let values = bell_with_outlier();
        let percentile = observed(ObserverKind::Percentile(0.9999), &[&values]).unwrap();
        assert!((0.5..1.0).contains(&percentile.high) && percentile.low < -0.5, "{percentile:?}");
        // One value in 100,000 is worth a little coarser steps for all others, not much coarser ones.
        let squared = observed(ObserverKind::SquaredError, &[&values]).unwrap();
        assert!((40.0..47.0).contains(&squared.high) && squared.low < -0.5, "{squared:?}");
        assert_eq!(observed(ObserverKind::Percentile(1.0), &[&values]).unwrap().high, 50.0);
    }

    #[test]
    fn the_best_is_chosen_later_from_what_all_would_choose() {
        let mut observer = Observer::new(ObserverKind::Best);
        assert!(observer.observe(&bell_with_outlier()));
        let ranges: Vec<(ObserverKind, Range)> = observer.candidates();
        assert_eq!(ranges.len(), 5);
        for (kind, range) in ranges {
            assert_eq!(observed(kind, &[&bell_with_outlier()]), Some(range), "{kind:?}");
        }
        assert_eq!(observer.range().unwrap().high, 50.0, "until then it is the whole range");
        assert!(Observer::new(ObserverKind::MinMax).candidates().is_empty());
    }

    #[test]
    fn values_of_one_sign_lose_one_side() {
        let values: Vec<f32> = (0..10_000).map(|index| index as f32 / 10_000.0).collect();
        let range = observed(ObserverKind::Percentile(0.99), &[&values]).unwrap();
        assert_eq!(range.low, 0.0);
        assert!((range.high - 0.99).abs() < 0.002, "{range:?}");
    }

    #[test]
    fn what_is_no_number_is_refused_and_forgotten() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut observer = Observer::new(ObserverKind::SquaredError);
            assert!(!observer.observe(&[1.0, bad]));
            assert_eq!(observer.range(), None);
        }
    }

    #[test]
    fn zeros_and_the_largest_floats_have_a_range() {
        for kind in
            [ObserverKind::MinMax, ObserverKind::Percentile(0.999), ObserverKind::SquaredError, ObserverKind::Entropy]
        {
            assert_eq!(observed(kind, &[&[0.0, 0.0]]), Some(Range { low: 0.0, high: 0.0 }));
            let range = observed(kind, &[&[f32::MAX, f32::MIN]]).unwrap();
            assert!(range.low < 0.0 && range.high > 0.0 && range.high.is_finite(), "{kind:?}: {range:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn batches_do_not_matter(values in proptest::collection::vec(-1e6f32..1e6, 1..60), cut in any::<prop::sample::Index>()) {
            let cut = cut.index(values.len());
            for kind in [ObserverKind::MinMax, ObserverKind::Percentile(0.95), ObserverKind::SquaredError, ObserverKind::Entropy] {
                let whole = observed(kind, &[&values]);
                let parts = observed(kind, &[&values[..cut], &values[cut..]]);
                prop_assert_eq!(whole, parts);
                let range = whole.unwrap();
                prop_assert!(range.low <= range.high);
            }
        }
    }
}
