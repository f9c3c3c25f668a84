//! Where the rows that a dense kernel multiplies lie in memory.

use crate::scratch::room;
use crate::{Scratch, Table};

/// A block of rows on lines: row r of line l begins at `l * line_step + r * step`, and its depth is pieces of equal
/// length, each at its offset from there.
///
/// A linear layer is one line of rows in one piece. A convolution is one line for each line of its output, one row
/// for each pixel of it, and one piece for each line of its window (neighbouring taps of a window are neighbouring
/// elements): no patch is ever copied together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a, T = u8> {
    pub(crate) input: &'a [T],
    pub(crate) lines: usize,
    pub(crate) line_step: usize,
    /// Rows of one line.
    pub(crate) count: usize,
    pub(crate) step: usize,
    /// Offset of each piece.
    pub(crate) pieces: &'a [usize],
}

impl Rows<'_> {
    /// Calls `run` with the sum of each row's bytes, `length` of every piece.
    pub(crate) fn with_sums(
        &self,
        table: &Table,
        length: usize,
        scratch: &mut Scratch,
        run: impl FnOnce(&mut [i32], &mut Scratch),
    ) {
        // Taken out for the time of the run: the kernels have the rest of the scratch.
        let mut row_sums = std::mem::take(&mut scratch.row_sums);
        let sums = room(&mut row_sums, self.lines * self.count);
        (table.elementwise.sum_rows)(self, length, sums);
        run(sums, scratch);
        scratch.row_sums = row_sums;
    }

    /// The sum of each row's bytes, `length` of every piece, which `sum` sums.
    #[inline(always)]
    pub(crate) fn sums(&self, length: usize, sums: &mut [i32], sum: impl Fn(&[u8]) -> u32) {
        let places =
            (0..self.lines).flat_map(|line| (0..self.count).map(move |row| line * self.line_step + row * self.step));
        for (whole, place) in sums.iter_mut().zip(places) {
            let of = |&piece: &usize| sum(&self.input[place + piece..][..length]);
            *whole = self.pieces.iter().map(of).sum::<u32>() as i32;
        }
    }
}

impl<'a, T> Rows<'a, T> {
    /// Rows of one piece each, one after the other.
    pub(crate) fn plain(input: &'a [T], count: usize, depth: usize) -> Self {
        Self { input, lines: 1, line_step: 0, count, step: depth, pieces: &[0] }
    }

    /// Elements that must be there when `length` elements of every piece are read.
    pub(crate) fn reach(&self, length: usize) -> usize {
        if self.lines == 0 || self.count == 0 {
            return 0;
        }
        let piece = self.pieces.iter().copied().max().unwrap_or(0);
        (self.lines - 1) * self.line_step + (self.count - 1) * self.step + piece + length
    }
}
