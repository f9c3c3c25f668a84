//! The threads of one run, and how the large steps are cut into parts for them.

use runtime_kernels::{Add, Convolution, Isa, Linear, Output, Requantization, Scratch, Table};
use runtime_threads::Team;

/// Products below which a step is faster on one thread than shared out: those of about eight microseconds.
pub(crate) fn products_min(isa: Isa) -> usize {
    match isa {
        Isa::Scalar => 60_000,
        Isa::Avx512Vnni => 1_500_000,
        _ => 400_000,
    }
}

/// Bytes below which an element-wise step is.
pub(super) const BYTES_MIN: usize = 64 << 10;
/// Parts for each thread: one that is late holds the others up by a part of a part only.
const PARTS_EACH: usize = 2;

/// What steps run on.
pub(crate) struct Workers<'a> {
    pub(crate) table: &'static Table,
    pub(crate) team: Team<'a>,
    /// One a thread at least; the first is the caller's.
    pub(crate) scratches: &'a mut [Scratch],
}

impl Workers<'_> {
    /// Rows of one part of `rows`, all in one when `products` are few.
    pub(super) fn part(&self, rows: usize, products: usize) -> usize {
        if self.team.size() == 1 || products < products_min(self.table.isa) {
            return rows.max(1);
        }
        rows.div_ceil(self.team.size() * PARTS_EACH).max(1)
    }

    pub(crate) fn convolve(&mut self, convolution: &Convolution, input: &[u8], output: &mut [u8]) {
        let line = convolution.line_bytes().max(1);
        let part = self.part(output.len() / line, convolution.products());
        self.team.share(self.scratches, output, part * line, |scratch, number, output| {
            convolution.run_lines(input, number * part, scratch, output);
        });
    }

    pub(crate) fn linear(
        &mut self,
        linear: &Linear,
        input: &[u8],
        rows: usize,
        requantization: &Requantization,
        output: &mut [u8],
    ) {
        let stride = linear.columns();
        self.rows(linear, input, rows, output, requantization, |data, requantization| Output::Bytes {
            data,
            stride,
            requantization,
        });
    }

    pub(crate) fn linear_to_floats(
        &mut self,
        linear: &Linear,
        input: &[u8],
        rows: usize,
        multipliers: &[f32],
        output: &mut [f32],
    ) {
        self.rows(linear, input, rows, output, multipliers, |data, multipliers| Output::Floats { data, multipliers });
    }

    /// A linear layer of `rows` rows, whose parts are written as `to` says, given `scale`.
    fn rows<T: Send, S: Sync + ?Sized>(
        &mut self,
        linear: &Linear,
        input: &[u8],
        rows: usize,
        output: &mut [T],
        scale: &S,
        to: impl for<'d> Fn(&'d mut [T], &'d S) -> Output<'d> + Sync,
    ) {
        let (depth, columns) = (linear.depth(), linear.columns().max(1));
        let part = self.part(rows, linear.products(rows));
        self.team.share(self.scratches, output, part * columns, |scratch, number, output| {
            let rows = output.len() / columns;
            let input = &input[number * part * depth..][..rows * depth];
            linear.run(input, rows, scratch, to(output, scale));
        });
    }

    pub(crate) fn add(&mut self, add: &Add, a: &[u8], b: &[u8], output: &mut [u8]) {
        let shared = self.team.size() > 1 && output.len() >= BYTES_MIN;
        let length = if shared { output.len().div_ceil(self.team.size()) } else { output.len() };
        let table = self.table;
        self.team.share(self.scratches, output, length.max(1), |_, number, output| {
            let here = number * length..number * length + output.len();
            table.add(add, &a[here.clone()], &b[here], output);
        });
    }
}
