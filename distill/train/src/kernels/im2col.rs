//! Unfolding of windows into the rows of a matrix, and its transpose.

use super::window::Window;

/// Sizes of one group of one image: `channels` planes of `input` become `channels * taps` rows of `output` columns.
#[derive(Clone, Copy)]
pub(super) struct Unfolding {
    pub(super) channels: usize,
    pub(super) input: [usize; 2],
    pub(super) output: [usize; 2],
    pub(super) window: Window,
}

impl Unfolding {
    /// True when the unfolded matrix is the input itself (a 1x1 kernel that touches each element once).
    pub(super) fn is_identity(&self) -> bool {
        let w = &self.window;
        w.kernel == [1, 1] && w.stride == [1, 1] && w.pads_begin == [0, 0] && w.pads_end == [0, 0]
    }

    /// Elements of the unfolded matrix.
    pub(super) fn len(&self) -> usize {
        self.channels * self.window.taps() * self.output[0] * self.output[1]
    }

    /// Calls `visit(matrix range, input start, input row range)` for each output row of each tap; the matrix range is
    /// the part that reads the input, the rest of the row is padding.
    fn for_each_row(&self, mut visit: impl FnMut(Row)) {
        let [height, width] = self.input;
        let [rows, columns] = self.output;
        for channel in 0..self.channels {
            for tap in 0..self.window.taps() {
                let (ky, kx) = (tap / self.window.kernel[1], tap % self.window.kernel[1]);
                let (dy, dx) = (self.window.offset(0, ky), self.window.offset(1, kx));
                let valid_rows = self.window.inside(0, dy, height, rows);
                let valid = self.window.inside(1, dx, width, columns);
                for row in 0..rows {
                    let matrix = ((channel * self.window.taps() + tap) * rows + row) * columns;
                    let inside = if valid_rows.contains(&row) { valid.clone() } else { 0..0 };
                    let input = if inside.is_empty() {
                        0
                    } else {
                        let y = (row * self.window.stride[0]) as isize + dy;
                        let x = (inside.start * self.window.stride[1]) as isize + dx;
                        (channel * height + y as usize) * width + x as usize
                    };
                    visit(Row { matrix, inside, input });
                }
            }
        }
    }

    /// Writes the whole matrix; padding becomes zero.
    pub(super) fn unfold(&self, image: &[f32], matrix: &mut [f32]) {
        let (columns, stride) = (self.output[1], self.window.stride[1]);
        self.for_each_row(|row| {
            let target = &mut matrix[row.matrix..row.matrix + columns];
            target[..row.inside.start].fill(0.0);
            target[row.inside.end..].fill(0.0);
            let count = row.inside.len();
            let target = &mut target[row.inside];
            if stride == 1 {
                target.copy_from_slice(&image[row.input..row.input + count]);
            } else {
                let source = image[row.input..].iter().step_by(stride);
                for (t, s) in target.iter_mut().zip(source) {
                    *t = *s;
                }
            }
        });
    }

    /// Adds every element of the matrix to the input element that it was read from.
    pub(super) fn fold_add(&self, matrix: &[f32], image: &mut [f32]) {
        let stride = self.window.stride[1];
        self.for_each_row(|row| {
            let source = &matrix[row.matrix + row.inside.start..row.matrix + row.inside.end];
            if stride == 1 {
                let target = &mut image[row.input..row.input + source.len()];
                for (t, s) in target.iter_mut().zip(source) {
                    *t += s;
                }
            } else {
                let target = image[row.input..].iter_mut().step_by(stride);
                for (t, s) in target.zip(source) {
                    *t += s;
                }
            }
        });
    }
}

/// One output row of one tap.
struct Row {
    /// Where the row begins in the matrix.
    matrix: usize,
    /// The columns of the row that read the input.
    inside: std::ops::Range<usize>,
    /// The input element that the first of them reads.
    input: usize,
}
