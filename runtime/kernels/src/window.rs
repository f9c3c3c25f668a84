//! Where a sliding window lies on an image.

use std::ops::Range;

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
    /// Calls `visit` for every image that the lines in `output` belong to, with its number, those of its lines, and
    /// their place. The first line of `output` is line `first`, counted through all images; a line has `length`
    /// elements.
    pub(crate) fn for_each_image<T>(
        &self,
        mut first: usize,
        length: usize,
        mut output: &mut [T],
        mut visit: impl FnMut(usize, Range<usize>, &mut [T]),
    ) {
        let lines = self.output[0];
        while lines * length > 0 && output.len() >= length {
            let (image, line) = (first / lines, first % lines);
            let count = (output.len() / length).min(lines - line);
            let (here, rest) = output.split_at_mut(count * length);
            visit(image, line..line + count, here);
            (first, output) = (first + count, rest);
        }
    }

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

    /// The window over lines `lines` of the output alone, over the input from the line on that comes second; `None`
    /// when that would have no line.
    pub fn part(&self, lines: std::ops::Range<usize>) -> Option<(Self, usize)> {
        let from = lines.start * self.stride[0];
        let top = from.saturating_sub(self.pad[0]);
        let left = self.input[0].checked_sub(top).filter(|&left| left > 0)?;
        let part = Self {
            input: [left, self.input[1]],
            pad: [self.pad[0].saturating_sub(from), self.pad[1]],
            output: [lines.len(), self.output[1]],
            ..self.clone()
        };
        Some((part, top))
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

    /// The output columns whose windows hang over no edge.
    pub(crate) fn whole_columns(&self) -> std::ops::Range<usize> {
        let first = self.pad[1].div_ceil(self.stride[1]);
        let taps = (self.kernel[1] - 1) * self.dilation[1];
        let end = match (self.input[1] + self.pad[1]).checked_sub(taps + 1) {
            Some(last) => last / self.stride[1] + 1,
            None => 0,
        };
        first..end.min(self.output[1])
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

    /// Writes line `line` of the padded image, counted from the top of the padding: what lies outside of the image is
    /// `outside`. `place` is one line of as many elements as windows reach over.
    pub(crate) fn copy_line<T: Copy>(&self, input: &[T], channels: usize, line: usize, outside: T, place: &mut [T]) {
        let image_line = self.input[1] * channels;
        let Some(line) = line.checked_sub(self.pad[0]).filter(|&line| line < self.input[0]) else {
            place.fill(outside);
            return;
        };
        let from = &input[line * image_line..(line + 1) * image_line];
        let before = (self.pad[1] * channels).min(place.len());
        let count = from.len().min(place.len() - before);
        place[..before].fill(outside);
        place[before..before + count].copy_from_slice(&from[..count]);
        place[before + count..].fill(outside);
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
            let sideways = Window {
                input: [1, size], kernel: [1, kernel], stride: [1, stride], dilation: [1, dilation], pad: [0, pad],
                output: [1, 8],
            };
            let whole = (0..8).filter(|&column| sideways.inside(1, column).len() == kernel).collect::<Vec<_>>();
            prop_assert_eq!(sideways.whole_columns().collect::<Vec<_>>(), whole);
        }

        #[test]
        fn a_padded_line_is_the_image_between_zero_points(
            height in 1usize..5, width in 1usize..5, channels in 1usize..4, pad in 0usize..3, over in 0usize..3
        ) {
            let window = Window {
                input: [height, width], kernel: [1, 1], stride: [1, 1], dilation: [1, 1], pad: [pad, pad],
                output: [height + 2 * pad, width + pad + over],
            };
            let input: Vec<u8> = (0..height * width * channels).map(|index| index as u8).collect();
            let mut place = vec![0; window.output[1] * channels];
            for line in 0..window.output[0] {
                window.copy_line(&input, channels, line, 200, &mut place);
                for (index, &byte) in place.iter().enumerate() {
                    let at = (line.wrapping_sub(pad), (index / channels).wrapping_sub(pad));
                    let inside = at.0 < height && at.1 < width;
                    let expected =
                        if inside { input[(at.0 * width + at.1) * channels + index % channels] } else { 200 };
                    prop_assert_eq!(byte, expected);
                }
            }
        }
    }

    #[test]
    fn lines_of_the_output_have_a_window_of_their_own() {
        for (size, kernel, stride, dilation, pad) in
            [(9, 3, 2, 1, 1), (7, 2, 1, 3, 4), (5, 1, 3, 1, 0), (6, 4, 2, 1, 3)]
        {
            let count = (size + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1;
            let whole = Window {
                input: [size, 2],
                kernel: [kernel, 1],
                stride: [stride, 1],
                dilation: [dilation, 1],
                pad: [pad, 0],
                output: [count, 2],
            };
            let taps = |window: &Window, line: usize| {
                let mut places = Vec::new();
                window.for_each_tap([line, 1], |tap, place| places.push((tap, place)));
                places
            };
            for first in 0..count {
                let Some((part, top)) = whole.part(first..count) else {
                    assert!(first * stride >= size + pad, "line {first} reads the image");
                    continue;
                };
                assert_eq!((part.output, part.input[0] + top), ([count - first, 2], size));
                for line in first..count {
                    let moved: Vec<_> =
                        taps(&part, line - first).into_iter().map(|(tap, place)| (tap, place + top * 2)).collect();
                    assert_eq!(moved, taps(&whole, line), "{whole:?}, line {line} from {first}");
                }
            }
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
