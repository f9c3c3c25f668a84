//! How steps without products are cut into parts for the threads of a run.

use runtime_kernels::{AveragePool, FloatPool, Lookup, Scratch, Window, concat_rows};

use super::Workers;
use super::workers::BYTES_MIN;

/// What is added, multiplied or compared in a pool from which on it is shared out: some microseconds.
const TAPS_MIN: usize = 128 << 10;

impl Workers<'_> {
    /// Rows of one part of `rows`, all in one where fewer than [`BYTES_MIN`] bytes are written.
    fn part_of_bytes(&self, rows: usize, bytes: usize) -> usize {
        if self.team.size() == 1 || bytes < BYTES_MIN {
            return rows.max(1);
        }
        rows.div_ceil(self.team.size()).max(1)
    }

    /// `work` on rows of `width`, of as many elements in `input` as in `output`.
    pub(super) fn each_row<I: Sync, O: Send>(
        &mut self,
        width: usize,
        input: &[I],
        output: &mut [O],
        work: impl Fn(&[I], &mut [O]) + Sync,
    ) {
        let width = width.max(1);
        let bytes = output.len() * size_of::<I>().max(size_of::<O>());
        let part = self.part_of_bytes(output.len() / width, bytes) * width;
        self.team.share(self.scratches, output, part, |_, number, output| {
            work(&input[number * part..][..output.len()], output);
        });
    }

    /// `work` on each element.
    pub(super) fn each<I: Sync, O: Send>(
        &mut self,
        input: &[I],
        output: &mut [O],
        work: impl Fn(&[I], &mut [O]) + Sync,
    ) {
        self.each_row(1, input, output, work);
    }

    /// Rows of `width` bytes into rows of `stride`, `first` after their beginning.
    pub(super) fn concat(
        &mut self,
        input: &[u8],
        width: usize,
        (output, stride, first): (&mut [u8], usize, usize),
        lookup: Option<&Lookup>,
    ) {
        let rows = output.len() / stride.max(1);
        let part = self.part_of_bytes(rows, rows * width);
        self.team.share(self.scratches, output, (part * stride).max(1), |_, number, output| {
            concat_rows(&input[number * part * width..], width, output, stride, first, lookup);
        });
    }

    pub(super) fn max_pool(&mut self, window: &Window, channels: usize, input: &[u8], output: &mut [u8]) {
        let table = self.table;
        self.pool(window, channels, input, output, |_, window, input, output| {
            table.max_pool(window, channels, input, output);
        });
    }

    pub(super) fn average_pool(&mut self, pool: &AveragePool, input: &[u8], output: &mut [u8]) {
        let table = self.table;
        self.pool(pool.window(), pool.channels(), input, output, |scratch, window, input, output| {
            table.average_pool(&pool.over(window.clone()), input, scratch, output);
        });
    }

    pub(super) fn float_pool(&mut self, pool: &FloatPool, input: &[f32], output: &mut [f32]) {
        let table = self.table;
        self.pool(pool.window(), pool.channels(), input, output, |_, window, input, output| {
            table.float_pool(&pool.over(window.clone()), input, output);
        });
    }

    /// `work` on some lines of the output of an image, with the window over these lines alone.
    fn pool<T: Send + Sync>(
        &mut self,
        window: &Window,
        channels: usize,
        input: &[T],
        output: &mut [T],
        work: impl Fn(&mut Scratch, &Window, &[T], &mut [T]) + Sync,
    ) {
        let lines = window.output[0];
        let line = window.output[1] * channels;
        let part = lines.div_ceil(self.team.size()).max(1);
        let one = self.team.size() == 1 || output.len() != lines * line;
        // The last part begins lowest.
        let last = lines.saturating_sub(1) / part * part;
        if one || output.len() * window.taps() < TAPS_MIN || window.part(last..lines).is_none() {
            return work(&mut self.scratches[0], window, input, output);
        }
        self.team.share(self.scratches, output, part * line, |scratch, number, output| {
            let first = number * part;
            if let Some((own, top)) = window.part(first..first + output.len() / line) {
                work(scratch, &own, &input[top * window.input[1] * channels..], output);
            }
        });
    }
}
