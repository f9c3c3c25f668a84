//! Depthwise convolution: some pixels beside each other at a time, so that a weight is loaded once for all of them and,
//! where windows lie one pixel apart, a pixel once for every window that has it.

use std::ops::Range;

use super::{Vector, each_below, load_some, store_some};
use crate::Window;
use crate::floats::FloatDepthwiseRun;

/// One vector of channels of one line.
struct Strip<'a> {
    window: &'a Window,
    line: usize,
    /// First channel.
    first: usize,
    /// Channels that are there, a vector's at most.
    count: usize,
    channels: usize,
    padded: usize,
    input: *const f32,
    weights: *const f32,
    start: *const f32,
    /// The line's first pixel.
    added: Option<*const f32>,
    output: *mut f32,
    bounds: [f32; 2],
}

/// Convolves the run's lines; `WIDE` pixels of one line at a time where no window hangs over an edge.
///
/// # Safety
///
/// See [`Vector`].
#[inline(always)]
pub(crate) unsafe fn depthwise<V: Vector, const WIDE: usize>(run: FloatDepthwiseRun<'_>) {
    run.check(V::LANES);
    let (window, packed) = (run.window, run.packed);
    let (channels, width) = (packed.channels, window.output[1]);
    let whole = window.whole_columns();
    for line in run.lines.clone() {
        let at = (line - run.lines.start) * width * channels;
        for first in (0..channels).step_by(V::LANES) {
            // SAFETY: `check` has seen that image, filters, output and what is added have every line and channel that
            // the run names; `whole` are columns whose windows lie on the image.
            unsafe {
                let strip = Strip {
                    window,
                    line,
                    first,
                    count: V::LANES.min(channels - first),
                    channels,
                    padded: packed.padded,
                    input: run.input.as_ptr(),
                    weights: packed.weights.as_ptr().add(first),
                    start: packed.starts.as_ptr().add(first),
                    added: run.added.map(|added| added.as_ptr().add(at + first)),
                    output: run.output.as_mut_ptr().add(at + first),
                    bounds: [run.end.low, run.end.high],
                };
                let (start, end) = (whole.start.min(width), whole.end.max(whole.start).min(width));
                for column in (0..start).chain(end..width) {
                    strip.pixels::<V, 1, false>(column, window.inside(1, column));
                }
                if strip.count == V::LANES {
                    strip.inside::<V, WIDE, true>(start..end);
                } else {
                    strip.inside::<V, WIDE, false>(start..end);
                }
            }
        }
    }
}

impl Strip<'_> {
    /// Columns whose windows hang over neither side.
    #[inline(always)]
    unsafe fn inside<V: Vector, const WIDE: usize, const FULL: bool>(&self, columns: Range<usize>) {
        let window = self.window;
        // SAFETY: the caller's.
        unsafe {
            match (window.kernel[1], window.stride[1], window.dilation[1]) {
                (3, 1, 1) => self.columns::<V, 3, WIDE, FULL>(columns),
                (5, 1, 1) => self.columns::<V, 5, WIDE, FULL>(columns),
                _ => self.columns::<V, 0, WIDE, FULL>(columns),
            }
        }
    }

    /// The same, with windows of `KERNEL` columns one pixel apart, or any windows where that is 0.
    #[inline(always)]
    unsafe fn columns<V: Vector, const KERNEL: usize, const WIDE: usize, const FULL: bool>(
        &self,
        columns: Range<usize>,
    ) {
        let mut column = columns.start;
        // SAFETY: the caller's.
        unsafe {
            while column + WIDE <= columns.end {
                self.some::<V, KERNEL, WIDE, FULL>(column);
                column += WIDE;
            }
            if WIDE > 4 && column + 4 <= columns.end {
                self.some::<V, KERNEL, 4, FULL>(column);
                column += 4;
            }
            if column + 2 <= columns.end {
                self.some::<V, KERNEL, 2, FULL>(column);
                column += 2;
            }
            if column < columns.end {
                self.some::<V, KERNEL, 1, FULL>(column);
            }
        }
    }

    #[inline(always)]
    unsafe fn some<V: Vector, const KERNEL: usize, const PIXELS: usize, const FULL: bool>(&self, column: usize) {
        // SAFETY: the caller's.
        unsafe {
            if KERNEL == 0 {
                self.pixels::<V, PIXELS, FULL>(column, 0..self.window.kernel[1]);
            } else {
                self.neighbours::<V, KERNEL, PIXELS, FULL>(column);
            }
        }
    }

    /// `PIXELS` pixels from `column` on, whose windows of `KERNEL` columns hang over neither side and lie one pixel
    /// apart: a pixel of the image is loaded once for all windows that have it.
    #[inline(always)]
    unsafe fn neighbours<V: Vector, const KERNEL: usize, const PIXELS: usize, const FULL: bool>(&self, column: usize) {
        let window = self.window;
        let count = if FULL { V::LANES } else { self.count };
        // SAFETY: the caller's; taps above and below the image are left out, those beside it there are none.
        unsafe {
            let mut sums = [V::load(self.start); PIXELS];
            for row in window.inside(0, self.line) {
                let mut weights = [V::splat(0.0); KERNEL];
                for (tap, weight) in weights.iter_mut().enumerate() {
                    *weight = V::load(self.weights.add((row * KERNEL + tap) * self.padded));
                }
                let pixel = window.index(0, self.line, row) * window.input[1] + window.index(1, column, 0);
                let from = self.input.add(pixel * self.channels + self.first);
                for place in 0..PIXELS - 1 + KERNEL {
                    let x: V = load_some(from.add(place * self.channels), count);
                    for (tap, weight) in weights.iter().enumerate() {
                        if place >= tap && place - tap < PIXELS {
                            sums[place - tap] = x.mul_add(*weight, sums[place - tap]);
                        }
                    }
                }
            }
            for (number, sum) in sums.iter().enumerate() {
                self.write(column + number, *sum, count);
            }
        }
    }

    /// `PIXELS` pixels from `column` on, of whose windows taps `taps` of every line lie beside no edge.
    #[inline(always)]
    unsafe fn pixels<V: Vector, const PIXELS: usize, const FULL: bool>(&self, column: usize, taps: Range<usize>) {
        let window = self.window;
        let count = if FULL { V::LANES } else { self.count };
        let (pixel_step, tap_step) = (window.stride[1] * self.channels, window.dilation[1] * self.channels);
        // SAFETY: the caller's; taps above and below the image are left out.
        unsafe {
            let mut sums = [V::load(self.start); PIXELS];
            for row in window.inside(0, self.line) {
                if taps.is_empty() {
                    break;
                }
                let line = window.index(0, self.line, row) * window.input[1];
                let pixel = line + window.index(1, column, taps.start);
                let mut from = self.input.add(pixel * self.channels + self.first);
                let mut weights = self.weights.add((row * window.kernel[1] + taps.start) * self.padded);
                for _ in taps.clone() {
                    let weight = V::load(weights);
                    each_below!(PIXELS, number => {
                        let x: V = load_some(from.wrapping_add(number * pixel_step), count);
                        sums[number] = x.mul_add(weight, sums[number]);
                    });
                    from = from.wrapping_add(tap_step);
                    weights = weights.wrapping_add(self.padded);
                }
            }
            each_below!(PIXELS, number => { self.write(column + number, sums[number], count) });
        }
    }

    #[inline(always)]
    unsafe fn write<V: Vector>(&self, column: usize, sum: V, count: usize) {
        // SAFETY: the caller's.
        unsafe {
            let at = column * self.channels;
            let mut sum = sum;
            if let Some(added) = self.added {
                sum = sum.add(load_some(added.add(at), count));
            }
            let [low, high] = self.bounds;
            store_some(sum.clamp(V::splat(low), V::splat(high)), self.output.add(at), count);
        }
    }
}
