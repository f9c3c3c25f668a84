//! Where a sliding window lies on an image.

use crate::KernelError;

/// A window that slides over an image of height and width, channels last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the window, in taps.
    pub kernel: [usize; 2],
    /// Steps between windows.
    pub stride: [usize; 2],
    /// Steps between taps.
    pub dilation: [usize; 2],
    /// Elements before the image: top and left.
    pub pad: [usize; 2],
    /// Height and width of the output.
    pub output: [usize; 2],
}

impl Window {
    /// Checks that strides, dilations and sizes are not zero and that sizes can be multiplied.
    ///
    /// The output's size is the caller's: ONNX has several rules for it. A window may hang over any edge.
    pub fn check(&self) -> Result<(), KernelError> {
        for axis in 0..2 {
            let [size, kernel, stride, dilation] =
                [self.input[axis], self.kernel[axis], self.stride[axis], self.dilation[axis]];
            let reach = self.output[axis].checked_mul(stride).zip(kernel.checked_mul(dilation));
            let fits = reach.and_then(|(steps, taps)| steps.checked_add(taps)?.checked_add(size));
            if size == 0 || kernel == 0 || stride == 0 || dilation == 0 || fits.is_none_or(|end| end > 1 << 31) {
                return Err(KernelError::Window { kernel, stride, dilation, size });
            }
        }
        Ok(())
    }

    /// Pixels of the output.
    pub fn output_pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Pixels of the input.
    pub fn input_pixels(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// Taps of the window.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The taps of `axis` that lie on the image for the window at `position`, as a range of tap numbers.
    #[inline(always)]
    pub(crate) fn inside(&self, axis: usize, position: usize) -> std::ops::Range<usize> {
        let (dilation, pad) = (self.dilation[axis], self.pad[axis]);
        let from = position * self.stride[axis];
        // Tap t lies at from + t * dilation - pad.
        let first = pad.saturating_sub(from).div_ceil(dilation);
        let end = (self.input[axis] + pad).saturating_sub(from).div_ceil(dilation).min(self.kernel[axis]);
        first.min(end)..end
    }

    /// The input index of tap `tap` of `axis`, which must be inside.
    #[inline(always)]
    pub(crate) fn index(&self, axis: usize, position: usize, tap: usize) -> usize {
        position * self.stride[axis] + tap * self.dilation[axis] - self.pad[axis]
    }

    /// Calls `visit(tap, input pixel)` for every tap of the window at `position` that lies on the image, row by row.
    #[inline(always)]
    pub(crate) fn for_each_tap(&self, position: [usize; 2], mut visit: impl FnMut(usize, usize)) {
        let columns = self.inside(1, position[1]);
        for row in self.inside(0, position[0]) {
            let line = self.index(0, position[0], row) * self.input[1];
            for column in columns.clone() {
                visit(row * self.kernel[1] + column, line + self.index(1, position[1], column));
            }
        }
    }

    /// Whether every window is one whole pixel and every pixel has one: the input is its own patches.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.pad == [0, 0] && self.input == self.output
    }

    /// Writes the patch of each output pixel of `pixels`: for every tap the channels `from..from + count` of its
    /// pixel, or `zero_point` outside of the image.
    pub(crate) fn gather(
        &self,
        input: &[u8],
        channels: usize,
        part: std::ops::Range<usize>,
        pixels: std::ops::Range<usize>,
        zero_point: u8,
        patches: &mut [u8],
    ) {
        let count = part.len();
        let whole = count == channels && self.dilation[1] == 1;
        for (pixel, patch) in pixels.zip(patches.chunks_exact_mut(self.taps() * count)) {
            let position = [pixel / self.output[1], pixel % self.output[1]];
            let (rows, columns) = (self.inside(0, position[0]), self.inside(1, position[1]));
            if rows.len() != self.kernel[0] || columns.len() != self.kernel[1] {
                patch.fill(zero_point);
            }
            for row in rows {
                let line = self.index(0, position[0], row) * self.input[1];
                let taps = row * self.kernel[1];
                if whole && !columns.is_empty() {
                    // Neighbouring taps are neighbouring pixels: one copy a line.
                    let from = (line + self.index(1, position[1], columns.start)) * channels;
                    let length = columns.len() * channels;
                    patch[(taps + columns.start) * channels..][..length].copy_from_slice(&input[from..from + length]);
                    continue;
                }
                for column in columns.clone() {
                    let from = (line + self.index(1, position[1], column)) * channels + part.start;
                    patch[(taps + column) * count..][..count].copy_from_slice(&input[from..from + count]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn taps_inside_are_those_whose_index_is_on_the_image(
            size in 1usize..12, kernel in 1usize..6, stride in 1usize..4, dilation in 1usize..4, pad in 0usize..8,
            position in 0usize..8
        ) {
            let window = Window {
                input: [size, 1], kernel: [kernel, 1], stride: [stride, 1], dilation: [dilation, 1], pad: [pad, 0],
                output: [8, 1],
            };
            let expected: Vec<usize> = (0..kernel)
                .filter(|tap| {
                    let index = (position * stride + tap * dilation) as i64 - pad as i64;
                    (0..size as i64).contains(&index)
                })
                .collect();
            prop_assert_eq!(window.inside(0, position).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn a_patch_has_every_tap_or_the_zero_point(
            height in 1usize..6, width in 1usize..6, channels in 1usize..4, kernel in 1usize..4, dilation in 1usize..3,
            pad in 0usize..3
        ) {
            let window = Window {
                input: [height, width], kernel: [kernel, kernel], stride: [1, 2], dilation: [dilation, dilation],
                pad: [pad, pad], output: [height, width.div_ceil(2)],
            };
            let input: Vec<u8> = (0..height * width * channels).map(|index| index as u8).collect();
            let mut patches = vec![0; window.output_pixels() * window.taps() * channels];
            window.gather(&input, channels, 0..channels, 0..window.output_pixels(), 200, &mut patches);
            let mut expected = vec![200; patches.len()];
            for pixel in 0..window.output_pixels() {
                window.for_each_tap([pixel / window.output[1], pixel % window.output[1]], |tap, place| {
                    let to = (pixel * window.taps() + tap) * channels;
                    expected[to..to + channels].copy_from_slice(&input[place * channels..(place + 1) * channels]);
                });
            }
            prop_assert_eq!(patches, expected);
        }
    }

    #[test]
    fn windows_without_a_place_are_refused() {
        let good =
            Window { input: [4, 4], kernel: [2, 2], stride: [1, 1], dilation: [1, 1], pad: [0, 0], output: [3, 3] };
        good.check().unwrap();
        for bad in [
            Window { stride: [0, 1], ..good.clone() },
            Window { input: [4, 0], ..good.clone() },
            Window { kernel: [0, 2], ..good.clone() },
            Window { kernel: [usize::MAX, 2], ..good.clone() },
            Window { output: [usize::MAX / 2, 3], stride: [4, 1], ..good.clone() },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
