//! Local response normalization: each channel of a pixel divided by a power of its neighbours' squares.

/// `x / (bias + scale * (sum of the squares of the channels around x))^power`.
///
/// Each element goes through the same IEEE operations in the same order whatever the vectors are, and the general power
/// is `libm`'s: the answers are the same bytes on every CPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AcrossChannels {
    /// Channels of one pixel.
    pub channels: usize,
    /// Channels before x that are summed.
    pub before: usize,
    /// Channels behind x that are.
    pub behind: usize,
    /// Factor of the sum.
    pub scale: f32,
    /// Summand, usually 1.
    pub bias: f32,
    /// The power, usually 0.75.
    pub power: f32,
}

impl AcrossChannels {
    /// Of pixels whose channels lie side by side; `output` is as long as `input`.
    #[inline(always)]
    pub(crate) fn run(&self, input: &[f32], output: &mut [f32]) {
        let channels = self.channels.max(1);
        for (x, y) in input.chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
            self.sum_squares(x, y);
            let base = |sum: f32| self.bias + self.scale * sum;
            // Roots become vectors, as no general power does.
            if self.power == 0.75 {
                each(x, y, |x, sum| {
                    let root = base(sum).sqrt();
                    x / (root * root.sqrt())
                });
            } else if self.power == 0.5 {
                each(x, y, |x, sum| x / base(sum).sqrt());
            } else if self.power == 1.0 {
                each(x, y, |x, sum| x / base(sum));
            } else {
                each(x, y, |x, sum| x / libm::powf(base(sum), self.power));
            }
        }
    }

    /// Into each element of `sums` the squares of the channels around it, in the order of the channels.
    #[inline(always)]
    fn sum_squares(&self, x: &[f32], sums: &mut [f32]) {
        sums.fill(0.0);
        let add = |sums: &mut [f32], x: &[f32]| sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x * x);
        for distance in (1..=self.before.min(x.len() - 1)).rev() {
            add(&mut sums[distance..], x);
        }
        for distance in 0..=self.behind.min(x.len() - 1) {
            add(sums, &x[distance..]);
        }
    }
}

#[inline(always)]
fn each(x: &[f32], y: &mut [f32], of: impl Fn(f32, f32) -> f32) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = of(x, *y));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::floats::lanes::tests::{assert_close, random};
    use crate::table::every_available;

    proptest! {
        #[test]
        fn channels_are_divided_by_their_neighbours(
            pixels in 0usize..4,
            channels in 1usize..70,
            before in 0usize..80,
            behind in 0usize..5,
            power in prop::sample::select(vec![0.75f32, 0.5, 1.0, 0.6]),
            seed in any::<u64>(),
        ) {
            let mut next = random(seed);
            let x: Vec<f32> = (0..pixels * channels).map(|_| next()).collect();
            let norm = AcrossChannels { channels, before, behind, scale: 0.3, bias: 1.5, power };
            let mut expected = Vec::new();
            for pixel in x.chunks_exact(channels) {
                for channel in 0..channels {
                    let around = &pixel[channel.saturating_sub(before)..(channel + behind + 1).min(channels)];
                    let sum: f64 = around.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
                    let base = 1.5 + f64::from(norm.scale) * sum;
                    expected.push(f64::from(pixel[channel]) / base.powf(f64::from(power)));
                }
            }
            let mut scalar: Option<Vec<f32>> = None;
            for table in every_available() {
                let mut found = vec![f32::NAN; x.len()];
                table.across_channels(&norm, &x, &mut found);
                assert_close(&found, &expected, table.isa.name());
                prop_assert_eq!(scalar.get_or_insert_with(|| found.clone()), &found, "{}", table.isa.name());
            }
        }
    }
}
