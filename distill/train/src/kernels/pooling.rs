//! Maximum and average pooling over image planes, and their gradients.

use rayon::prelude::*;

use super::window::Window;

/// Planes that one task takes at least: a plane of a small image is too little work for a task.
const PLANES_PER_TASK_MIN: usize = 16;

/// The shapes of one pooling: `planes` is images times channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pooling {
    pub(crate) planes: usize,
    pub(crate) input: [usize; 2],
    pub(crate) output: [usize; 2],
    pub(crate) window: Window,
    /// Average only: padding counts in the divisor (ONNX `count_include_pad`).
    pub(crate) includes_padding: bool,
}

impl Pooling {
    fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn output_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// The input rows (axis 0) or columns (axis 1) under the window at output position `at`.
    fn covered(&self, axis: usize, at: usize) -> impl Iterator<Item = usize> + Clone {
        let (start, dilation) = (at * self.window.stride[axis], self.window.dilation[axis]);
        let (pad, size) = (self.window.pads_begin[axis], self.input[axis]);
        (0..self.window.kernel[axis])
            .map(move |tap| (start + tap * dilation).wrapping_sub(pad))
            .filter(move |at| *at < size)
    }

    /// Maxima, and for each the index of the chosen element inside its input plane (the first one among equals).
    pub(crate) fn max_forward(&self, x: &[f32]) -> (Vec<f32>, Vec<u32>) {
        assert_eq!(x.len(), self.planes * self.input_plane());
        let mut y = vec![0.0f32; self.planes * self.output_plane()];
        let mut chosen = vec![0u32; y.len()];
        if y.is_empty() {
            return (y, chosen);
        }
        y.par_chunks_mut(self.output_plane())
            .zip(chosen.par_chunks_mut(self.output_plane()))
            .zip(x.par_chunks(self.input_plane()))
            .with_min_len(PLANES_PER_TASK_MIN)
            .for_each(|((y, chosen), x)| self.max_plane(x, y, chosen));
        (y, chosen)
    }

    fn max_plane(&self, x: &[f32], y: &mut [f32], chosen: &mut [u32]) {
        for row in 0..self.output[0] {
            let rows = self.covered(0, row);
            for column in 0..self.output[1] {
                let (mut best, mut best_at) = (f32::NEG_INFINITY, None);
                for iy in rows.clone() {
                    for ix in self.covered(1, column) {
                        let at = iy * self.input[1] + ix;
                        // NaN wins, so that a broken network is seen instead of masked.
                        if best_at.is_none() || x[at] > best || x[at].is_nan() {
                            (best, best_at) = (x[at], Some(at));
                        }
                    }
                }
                let out = row * self.output[1] + column;
                y[out] = best;
                chosen[out] = best_at.unwrap_or(0) as u32;
            }
        }
    }

    /// Routes each gradient to the element that was the maximum.
    pub(crate) fn max_backward(&self, dy: &[f32], chosen: &[u32]) -> Vec<f32> {
        let mut dx = vec![0.0f32; self.planes * self.input_plane()];
        if dy.is_empty() {
            return dx;
        }
        dx.par_chunks_mut(self.input_plane())
            .zip(dy.par_chunks(self.output_plane()))
            .zip(chosen.par_chunks(self.output_plane()))
            .with_min_len(PLANES_PER_TASK_MIN)
            .for_each(|((dx, dy), chosen)| {
                for (gradient, at) in dy.iter().zip(chosen) {
                    dx[*at as usize] += gradient;
                }
            });
        dx
    }

    /// What the sum of a window is divided by.
    fn divisor(&self, row: usize, column: usize) -> f32 {
        let inside = self.covered(0, row).count() * self.covered(1, column).count();
        if !self.includes_padding {
            return inside.max(1) as f32;
        }
        // Declared padding counts; what a rounded-up window covers beyond it does not.
        let counted = |axis: usize, at: usize| {
            let padded = self.input[axis] + self.window.pads_begin[axis] + self.window.pads_end[axis];
            (0..self.window.kernel[axis])
                .filter(|tap| at * self.window.stride[axis] + tap * self.window.dilation[axis] < padded)
                .count()
        };
        (counted(0, row) * counted(1, column)).max(1) as f32
    }

    /// Averages.
    pub(crate) fn average_forward(&self, x: &[f32]) -> Vec<f32> {
        assert_eq!(x.len(), self.planes * self.input_plane());
        let mut y = vec![0.0f32; self.planes * self.output_plane()];
        if y.is_empty() {
            return y;
        }
        let divisors = self.divisors();
        y.par_chunks_mut(self.output_plane())
            .zip(x.par_chunks(self.input_plane()))
            .with_min_len(PLANES_PER_TASK_MIN)
            .for_each(|(y, x)| {
                for (out, value) in y.iter_mut().enumerate() {
                    let (row, column) = (out / self.output[1], out % self.output[1]);
                    let mut total = 0.0;
                    for iy in self.covered(0, row) {
                        for ix in self.covered(1, column) {
                            total += x[iy * self.input[1] + ix];
                        }
                    }
                    *value = total / divisors[out];
                }
            });
        y
    }

    /// Spreads each gradient evenly over the window that it came from.
    pub(crate) fn average_backward(&self, dy: &[f32]) -> Vec<f32> {
        let mut dx = vec![0.0f32; self.planes * self.input_plane()];
        if dy.is_empty() {
            return dx;
        }
        let divisors = self.divisors();
        dx.par_chunks_mut(self.input_plane())
            .zip(dy.par_chunks(self.output_plane()))
            .with_min_len(PLANES_PER_TASK_MIN)
            .for_each(|(dx, dy)| {
                for (out, gradient) in dy.iter().enumerate() {
                    let share = gradient / divisors[out];
                    for iy in self.covered(0, out / self.output[1]) {
                        for ix in self.covered(1, out % self.output[1]) {
                            dx[iy * self.input[1] + ix] += share;
                        }
                    }
                }
            });
        dx
    }

    fn divisors(&self) -> Vec<f32> {
        (0..self.output_plane()).map(|out| self.divisor(out / self.output[1], out % self.output[1])).collect()
    }
}
