//! Float pools: the largest, or the mean, under each window.

use crate::{KernelError, Window};

/// A pool, prepared for running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloatPool {
    window: Window,
    channels: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Max,
    Average { count_padding: bool },
}

impl FloatPool {
    /// The largest under each window; what lies outside does not count.
    pub fn max(window: Window, channels: usize) -> Result<Self, KernelError> {
        window.check()?;
        Ok(Self { window, channels, kind: Kind::Max })
    }

    /// The mean under each window; `count_padding` divides by all taps even where some lie outside.
    pub fn average(window: Window, channels: usize, count_padding: bool) -> Result<Self, KernelError> {
        window.check()?;
        Ok(Self { window, channels, kind: Kind::Average { count_padding } })
    }

    /// Pools whole images.
    #[inline(always)]
    pub(crate) fn run(&self, input: &[f32], output: &mut [f32]) {
        let (window, channels) = (&self.window, self.channels);
        let (from, to) = (window.input_pixels() * channels, window.output_pixels() * channels);
        if from == 0 || to == 0 {
            return;
        }
        for (input, output) in input.chunks_exact(from).zip(output.chunks_exact_mut(to)) {
            for (pixel, y) in output.chunks_exact_mut(channels).enumerate() {
                let position = [pixel / window.output[1], pixel % window.output[1]];
                self.pixel(input, position, y);
            }
        }
    }

    #[inline(always)]
    fn pixel(&self, input: &[f32], position: [usize; 2], y: &mut [f32]) {
        let channels = self.channels;
        let from = |place: usize| &input[place * channels..(place + 1) * channels];
        match self.kind {
            Kind::Max => {
                y.fill(f32::NEG_INFINITY);
                self.window.for_each_tap(position, |_, place| {
                    y.iter_mut().zip(from(place)).for_each(|(y, &x)| *y = if x > *y { x } else { *y });
                });
            }
            Kind::Average { count_padding } => {
                y.fill(0.0);
                let mut inside = 0;
                self.window.for_each_tap(position, |_, place| {
                    inside += 1;
                    y.iter_mut().zip(from(place)).for_each(|(y, x)| *y += x);
                });
                // A window wholly outside has sum 0; its mean is 0, not 0 / 0.
                let count = if count_padding { self.window.taps() } else { inside.max(1) };
                let share = 1.0 / count as f32;
                y.iter_mut().for_each(|y| *y *= share);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::every_available;

    #[test]
    fn largest_and_mean_count_padding_only_when_asked() {
        let window =
            Window { input: [2, 2], kernel: [2; 2], stride: [2; 2], dilation: [1; 2], pad: [1; 2], output: [2, 2] };
        let x = [-4.0, 1.0, -8.0, 2.0, -12.0, 3.0, -16.0, 4.0];
        for table in every_available() {
            let pool = |pool: Result<FloatPool, KernelError>| {
                let mut y = [f32::NAN; 8];
                table.float_pool(&pool.unwrap(), &x, &mut y);
                y
            };
            assert_eq!(pool(FloatPool::max(window.clone(), 2)), x);
            assert_eq!(pool(FloatPool::average(window.clone(), 2, false)), x);
            assert_eq!(pool(FloatPool::average(window.clone(), 2, true)), x.map(|x| x / 4.0));
            let whole = Window { pad: [0; 2], output: [1, 1], ..window.clone() };
            let mut y = [0.0; 2];
            table.float_pool(&FloatPool::average(whole.clone(), 2, false).unwrap(), &x, &mut y);
            assert_eq!(y, [-10.0, 2.5]);
            table.float_pool(&FloatPool::max(whole, 2).unwrap(), &x, &mut y);
            assert_eq!(y, [-4.0, 4.0]);
        }
    }
}
