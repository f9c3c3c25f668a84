//! Pooling, channels last.

use crate::requantize::{clamp, round_half_even};
use crate::scratch::room;
use crate::{Affine, KernelError, Requantization, Scratch, Window};

/// The largest byte under each window; what lies outside of the image does not count.
///
/// `input` and `output` are whole images of `channels` channels.
#[inline(always)]
pub(crate) fn max_pool(window: &Window, channels: usize, input: &[u8], output: &mut [u8]) {
    for_each_image(window, channels, input, output, |input, output| {
        let width = window.output[1];
        for (pixel, largest) in output.chunks_exact_mut(channels).enumerate() {
            largest.fill(0);
            window.for_each_tap([pixel / width, pixel % width], |_, place| {
                let x = &input[place * channels..(place + 1) * channels];
                largest.iter_mut().zip(x).for_each(|(largest, &x)| *largest = (*largest).max(x));
            });
        }
    });
}

#[inline(always)]
fn for_each_image(
    window: &Window,
    channels: usize,
    input: &[u8],
    output: &mut [u8],
    mut run: impl FnMut(&[u8], &mut [u8]),
) {
    let (input_bytes, output_bytes) = (window.input_pixels() * channels, window.output_pixels() * channels);
    if input_bytes == 0 || output_bytes == 0 {
        return;
    }
    let images = input.chunks_exact(input_bytes).zip(output.chunks_exact_mut(output_bytes));
    images.for_each(|(input, output)| run(input, output));
}

/// The mean under each window.
///
/// ONNX Runtime's arithmetic: dequantize, add in `f32` row by row, divide by the count in `f32`, divide by the output's
/// scale, add the model's zero point in `f32`, round half to even. The zero point is added before rounding, so an
/// odd one turns ties the other way.
#[derive(Clone, Debug, PartialEq)]
pub struct AveragePool {
    window: Window,
    channels: usize,
    x: Affine,
    y: Affine,
    bounds: [u8; 2],
    count_padding: bool,
}

impl AveragePool {
    /// `count_padding` divides by all taps even where some lie outside; `bounds` is a fused activation.
    pub fn new(
        window: Window,
        channels: usize,
        x: Affine,
        y: Affine,
        bounds: [u8; 2],
        count_padding: bool,
    ) -> Result<Self, KernelError> {
        window.check()?;
        Ok(Self { window, channels, x, y, bounds, count_padding })
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
    pub(crate) fn run(&self, input: &[u8], scratch: &mut Scratch, output: &mut [u8]) {
        let channels = self.channels;
        let sums = room(&mut scratch.floats, channels);
        for_each_image(&self.window, channels, input, output, |input, output| {
            let width = self.window.output[1];
            for (pixel, output) in output.chunks_exact_mut(channels).enumerate() {
                sums.fill(0.0);
                let mut inside = 0;
                self.window.for_each_tap([pixel / width, pixel % width], |_, place| {
                    inside += 1;
                    let x = &input[place * channels..(place + 1) * channels];
                    sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum += self.x.dequantize(x));
                });
                // A window wholly outside has sum 0; its mean is 0, not 0 / 0.
                let count = if self.count_padding { self.window.taps() } else { inside.max(1) };
                self.finish(sums, count as f32, output);
            }
        });
    }

    #[inline(always)]
    fn finish(&self, sums: &[f32], count: f32, output: &mut [u8]) {
        let (zero_point, offset) = (self.y.model_zero_point() as f32, self.y.offset());
        let bound = |stored: u8| (i32::from(stored) - offset) as f32;
        let (low, high) = (bound(self.bounds[0]), bound(self.bounds[1]));
        for (place, &sum) in output.iter_mut().zip(sums) {
            let real = sum / count / self.y.scale + zero_point;
            *place = (round_half_even(clamp(real, low, high)) + offset) as u8;
        }
    }
}

/// The mean over all pixels of an image: an exact sum and one requantization by
/// `x_scale / (y_scale * pixels)`, as ONNX Runtime has it.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalAveragePool {
    pixels: usize,
    channels: usize,
    zero_point: i32,
    requantization: Requantization,
}

impl GlobalAveragePool {
    /// `bounds` is a fused activation.
    pub fn new(pixels: usize, channels: usize, x: Affine, y: Affine, bounds: [u8; 2]) -> Result<Self, KernelError> {
        // 255 * 2^23 fits an i32, and 2^23 fits an f32.
        if pixels == 0 || pixels > 1 << 23 {
            return Err(KernelError::Depth { found: pixels, max: 1 << 23 });
        }
        let multiplier = x.scale / (y.scale * pixels as f32);
        if !multiplier.is_finite() {
            return Err(KernelError::Scale { found: format!("{} / ({} * {pixels})", x.scale, y.scale) });
        }
        let requantization =
            Requantization::with_multipliers(vec![multiplier; channels], y.zero_point, bounds[0], bounds[1]);
        Ok(Self { pixels, channels, zero_point: x.zero_point, requantization })
    }

    /// Pools whole images.
    #[inline(always)]
    pub(crate) fn run(&self, input: &[u8], scratch: &mut Scratch, output: &mut [u8]) {
        let channels = self.channels.max(1);
        let start = -self.zero_point * self.pixels as i32;
        let sums = room(&mut scratch.sums, channels);
        for (input, output) in input.chunks_exact(self.pixels * channels).zip(output.chunks_exact_mut(channels)) {
            sums.fill(start);
            for pixel in input.chunks_exact(channels) {
                sums.iter_mut().zip(pixel).for_each(|(sum, &x)| *sum += i32::from(x));
            }
            self.requantization.apply_row(sums, 0, output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(input: [usize; 2], kernel: usize, stride: usize, pad: usize, output: [usize; 2]) -> Window {
        Window { input, kernel: [kernel; 2], stride: [stride; 2], dilation: [1; 2], pad: [pad; 2], output }
    }

    fn unit(zero_point: i32) -> Affine {
        Affine::new(1.0, zero_point, false).unwrap()
    }

    #[test]
    fn the_largest_counts_only_inside() {
        let window = window([2, 2], 2, 2, 1, [2, 2]);
        let mut output = [9; 8];
        max_pool(&window, 1, &[1, 2, 3, 4, 5, 6, 7, 8], &mut output);
        assert_eq!(output, [1, 2, 3, 4, 5, 6, 7, 8]);
        let whole = Window { pad: [0, 0], output: [1, 1], ..window };
        let mut one = [0; 2];
        max_pool(&whole, 2, &[1, 80, 3, 60, 5, 40, 7, 20], &mut one);
        assert_eq!(one, [7, 80]);
    }

    #[test]
    fn means_count_padding_only_when_asked() {
        let window = window([2, 2], 2, 2, 1, [2, 2]);
        let mean = |count_padding| {
            let pool = AveragePool::new(window.clone(), 1, unit(0), unit(0), [0, 255], count_padding).unwrap();
            let mut output = [0; 4];
            pool.run(&[4, 8, 12, 16], &mut Scratch::new(), &mut output);
            output
        };
        assert_eq!(mean(false), [4, 8, 12, 16]);
        assert_eq!(mean(true), [1, 2, 3, 4]);
    }

    #[test]
    fn an_odd_zero_point_turns_ties() {
        let mean = |zero_point| {
            let window = window([1, 2], 2, 1, 0, [1, 1]);
            let window = Window { kernel: [1, 2], ..window };
            let pool = AveragePool::new(window, 1, unit(0), unit(zero_point), [0, 255], false).unwrap();
            let mut output = [0];
            pool.run(&[2, 3], &mut Scratch::new(), &mut output);
            output[0]
        };
        assert_eq!((mean(0), mean(1)), (2, 4));
    }

    #[test]
    fn the_global_mean_is_one_requantized_sum() {
        let pool = GlobalAveragePool::new(4, 2, unit(1), unit(0), [0, 255]).unwrap();
        let mut output = [0; 4];
        pool.run(&[1, 5, 3, 5, 5, 5, 7, 7, 1, 1, 1, 1, 1, 1, 1, 255], &mut Scratch::new(), &mut output);
        // Means less one: 3, 4.5 (to even), 0, 63.5 (to even).
        assert_eq!(output, [3, 4, 0, 64]);
        assert!(GlobalAveragePool::new(0, 2, unit(1), unit(0), [0, 255]).is_err());
    }
}
