//! Products of two matrices that are both known only at run time: attention.

use super::tiles::{self, FloatOutput, Panels};
use crate::error::expect_length;
use crate::rows::Rows;
use crate::scratch::room;
use crate::{KernelError, Scratch, Table};

/// How one operand, or the result, lies in memory: elements from one to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductSide {
    /// For each batch axis.
    pub batch: Vec<usize>,
    /// For the matrix's rows.
    pub rows: usize,
    /// For the matrix's columns.
    pub columns: usize,
}

impl ProductSide {
    /// The last element's place, counted from the first.
    pub(crate) fn reach(&self, batch: &[usize], rows: usize, columns: usize) -> usize {
        let axes = self.batch.iter().zip(batch).chain([(&self.rows, &rows), (&self.columns, &columns)]);
        axes.map(|(step, &size)| step.saturating_mul(size.saturating_sub(1))).fold(0, usize::saturating_add)
    }
}

/// A batch of matrix products, prepared for running.
#[derive(Clone, Debug)]
pub struct FloatProduct {
    batch: Vec<usize>,
    rows: usize,
    depth: usize,
    columns: usize,
    a: ProductSide,
    b: ProductSide,
    y: ProductSide,
    scale: f32,
}

impl FloatProduct {
    /// `batch` times (`rows` x `depth`) * (`depth` x `columns`). The columns of `a` and of `y` must lie beside each
    /// other.
    pub fn new(
        batch: &[usize],
        [rows, depth, columns]: [usize; 3],
        a: ProductSide,
        b: ProductSide,
        y: ProductSide,
    ) -> Result<Self, KernelError> {
        for side in [&a, &b, &y] {
            expect_length("the number of batch axes", side.batch.len(), batch.len())?;
        }
        for side in [&a, &y] {
            expect_length("the step of columns", side.columns, 1)?;
        }
        Ok(Self { batch: batch.to_vec(), rows, depth, columns, a, b, y, scale: 1.0 })
    }

    /// Multiplies the result by one more number.
    pub fn scale(&mut self, by: f32) {
        self.scale *= by;
    }

    /// Products of all batches.
    pub fn products(&self) -> usize {
        self.matrices() * self.rows * self.depth * self.columns
    }

    /// Matrices of the batch.
    pub fn matrices(&self) -> usize {
        self.batch.iter().product()
    }

    /// Whether each matrix of the result lies by itself, one after the other.
    pub fn is_plain(&self) -> bool {
        let matrix = self.rows * self.columns;
        let mut step = matrix;
        let plain = self.batch.iter().zip(&self.y.batch).rev().all(|(&size, &own)| {
            let fits = size == 1 || own == step;
            step *= size;
            fits
        });
        plain && self.y.rows == self.columns
    }

    /// Multiplies matrices `first..` of the batch, as many as `count`; `output` begins at the first one's place.
    ///
    /// Panics when `a`, `b` or `output` are shorter than the steps reach.
    pub fn run(
        &self,
        table: &Table,
        (first, count): (usize, usize),
        (a, b): (&[f32], &[f32]),
        scratch: &mut Scratch,
        output: &mut [f32],
    ) {
        let (depth, columns) = (self.depth, self.columns);
        assert!(a.len() > self.a.reach(&self.batch, self.rows, depth) || self.rows * depth == 0);
        assert!(b.len() > self.b.reach(&self.batch, depth, columns) || depth * columns == 0);
        let kernel = &table.float;
        let packed = room(&mut scratch.packed, tiles::packed_length(&kernel.shape, depth, columns));
        let starts = room(&mut scratch.floats, columns.next_multiple_of(kernel.shape.lanes));
        starts.fill(0.0);
        let origin = self.place(first).2;
        for number in first..first + count {
            let (a_place, b_place, y_place) = self.place(number);
            if depth > 0 {
                let steps = [self.b.rows, self.b.columns];
                (kernel.loops.pack)(&kernel.shape, &b[b_place..], steps, (depth, columns), self.scale, packed);
            }
            let rows = Rows {
                input: &a[a_place..],
                lines: 1,
                line_step: 0,
                count: self.rows,
                step: self.a.rows,
                pieces: &[0],
            };
            let mut output = FloatOutput {
                data: &mut output[y_place - origin..],
                stride: self.y.rows,
                added: None,
                low: f32::NEG_INFINITY,
                high: f32::INFINITY,
            };
            let panels = Panels { weights: packed, starts, columns, piece: depth };
            tiles::run((&kernel.shape, kernel.tile), panels, &rows, &mut output);
        }
    }

    /// Where matrix `number` of the batch begins in both operands and in the result.
    fn place(&self, mut number: usize) -> (usize, usize, usize) {
        let (mut a, mut b, mut y) = (0, 0, 0);
        for axis in (0..self.batch.len()).rev() {
            let at = number % self.batch[axis];
            number /= self.batch[axis];
            a += at * self.a.batch[axis];
            b += at * self.b.batch[axis];
            y += at * self.y.batch[axis];
        }
        (a, b, y)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::floats::lanes::tests::{assert_close, random};
    use crate::table::every_available;

    proptest! {
        #[test]
        fn every_batch_is_the_sum_of_its_products(
            batch in 1usize..4, heads in 1usize..4, rows in 1usize..20, depth in 1usize..40, columns in 1usize..50,
            transposed in any::<bool>(), seed in any::<u64>()
        ) {
            let mut next = random(seed);
            // As attention has them: batch, row, head, column.
            let side = |rows: usize, columns: usize| ProductSide {
                batch: vec![rows * heads * columns, columns], rows: heads * columns, columns: 1,
            };
            let b_side = if transposed {
                let plain = side(columns, depth);
                ProductSide { rows: 1, columns: plain.rows, ..plain }
            } else {
                side(depth, columns)
            };
            let a: Vec<f32> = (0..batch * heads * rows * depth).map(|_| next()).collect();
            let b: Vec<f32> = (0..batch * heads * depth * columns).map(|_| next()).collect();
            let (a_side, y_side) = (side(rows, depth), side(rows, columns));
            let mut expected = vec![f64::NAN; batch * heads * rows * columns];
            for matrix in 0..batch * heads {
                let at = |side: &ProductSide, row: usize, column: usize| {
                    let [one, two] = [side.batch[0], side.batch[1]];
                    matrix / heads * one + matrix % heads * two + row * side.rows + column * side.columns
                };
                for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
                    let product =
                        |k: usize| f64::from(a[at(&a_side, row, k)]) * f64::from(b[at(&b_side, k, column)]);
                    expected[at(&y_side, row, column)] = 0.5 * (0..depth).map(product).sum::<f64>();
                }
            }
            let sizes = [rows, depth, columns];
            let mut product = FloatProduct::new(&[batch, heads], sizes, a_side, b_side, y_side).unwrap();
            product.scale(0.5);
            for table in every_available() {
                let mut found = vec![f32::NAN; expected.len()];
                product.run(table, (0, batch * heads), (&a, &b), &mut Scratch::new(), &mut found);
                assert_close(&found, &expected, table.isa.name());
            }
        }
    }
}
