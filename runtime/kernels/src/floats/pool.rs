//! Float pools: the largest, or the mean, under each window.

use crate::{KernelError, Window};

/// Taps of the largest window whose places are gathered first.
const TAPS_MAX: usize = 64;
/// Channels that are pooled together.
const LANES: usize = 32;

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

    /// The window.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Channels of input and output.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The same over another window that its constructor would take.
    #[must_use]
    pub fn over(&self, window: Window) -> Self {
        Self { window, ..self.clone() }
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
        let larger = |y: f32, x: f32| if x > y { x } else { y };
        let mut inside = 0;
        match self.kind {
            Kind::Max => {
                self.gather(input, position, y, f32::NEG_INFINITY, &mut inside, larger);
            }
            Kind::Average { count_padding } => {
                self.gather(input, position, y, 0.0, &mut inside, |y, x| y + x);
                // A window wholly outside has sum 0; its mean is 0, not 0 / 0.
                let count = if count_padding { self.window.taps() } else { inside.max(1) };
                let share = 1.0 / count as f32;
                y.iter_mut().for_each(|y| *y *= share);
            }
        }
    }

    /// Brings all taps that lie inside together with `with`, from `start` on, and counts them.
    #[inline(always)]
    fn gather(
        &self,
        input: &[f32],
        position: [usize; 2],
        y: &mut [f32],
        start: f32,
        inside: &mut usize,
        with: impl Fn(f32, f32) -> f32 + Copy,
    ) {
        let channels = self.channels;
        if self.window.taps() > TAPS_MAX {
            y.fill(start);
            self.window.for_each_tap(position, |_, place| {
                *inside += 1;
                let x = &input[place * channels..(place + 1) * channels];
                y.iter_mut().zip(x).for_each(|(y, &x)| *y = with(*y, x));
            });
            return;
        }
        let mut places = [0; TAPS_MAX];
        self.window.for_each_tap(position, |_, place| {
            places[*inside] = place * channels;
            *inside += 1;
        });
        let places = &places[..*inside];
        // A few vectors at a time over all taps: then they stay in registers.
        let (whole, rest) = y.as_chunks_mut::<LANES>();
        for (number, y) in whole.iter_mut().enumerate() {
            let mut sums = [start; LANES];
            for &place in places {
                let x = &input[place + number * LANES..][..LANES];
                sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum = with(*sum, x));
            }
            *y = sums;
        }
        let done = channels - rest.len();
        rest.fill(start);
        for &place in places {
            let x = &input[place + done..place + channels];
            rest.iter_mut().zip(x).for_each(|(y, &x)| *y = with(*y, x));
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

    #[test]
    fn every_size_of_window_and_number_of_channels() {
        for (kernel, channels) in [(1, 1), (2, 31), (3, 33), (3, 80), (9, 5)] {
            let window = Window {
                input: [9, 10],
                kernel: [kernel; 2],
                stride: [2, 1],
                dilation: [1; 2],
                pad: [kernel / 2; 2],
                output: [5, 9],
            };
            let x: Vec<f32> = (0..90 * channels).map(|index| (index * 37 % 101) as f32 - 50.0).collect();
            let (mut largest, mut means) = (Vec::new(), Vec::new());
            for (pixel, channel) in (0..45).flat_map(|pixel| (0..channels).map(move |channel| (pixel, channel))) {
                let mut taps = Vec::new();
                window.for_each_tap([pixel / 9, pixel % 9], |_, place| taps.push(x[place * channels + channel]));
                largest.push(taps.iter().copied().fold(f32::NEG_INFINITY, f32::max));
                means.push(f64::from(taps.iter().sum::<f32>()) / taps.len() as f64);
            }
            for table in every_available() {
                let mut y = vec![f32::NAN; largest.len()];
                table.float_pool(&FloatPool::max(window.clone(), channels).unwrap(), &x, &mut y);
                assert_eq!(y, largest, "{}: {kernel} {channels}", table.isa.name());
                table.float_pool(&FloatPool::average(window.clone(), channels, false).unwrap(), &x, &mut y);
                crate::floats::lanes::tests::assert_close(&y, &means, table.isa.name());
            }
        }
    }
}
