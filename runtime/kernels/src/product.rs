//! Products of two matrices that are both known at run time only: attention's.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg_attr(target_arch = "aarch64", allow(dead_code))]
mod on_tiles;

use std::ops::Range;

use crate::dense::DEPTH_MAX;
use crate::error::expect_length;
use crate::requantize::Requantization;
use crate::scratch::room;
use crate::{Affine, KernelError, ProductSide, Scratch, Table};

/// A batch of products of stored bytes, prepared for running: exact sums of (a - zero point) * (b - zero point),
/// requantized by `(a_scale * b_scale) / y_scale`.
#[derive(Debug)]
pub struct Product {
    batch: Vec<usize>,
    rows: usize,
    depth: usize,
    columns: usize,
    /// Of `a`, `b` and the result.
    sides: [ProductSide; 3],
    a_zero: i32,
    b_zero: i32,
    requantization: Requantization,
    table: &'static Table,
}

/// The rows of some matrices of the batch: what one call makes.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) matrices: Range<usize>,
    pub(crate) rows: Range<usize>,
}

/// Products of two bytes less their zero points that one sum may have.
pub(crate) const PRODUCT_DEPTH_MAX: usize = (i32::MAX as usize) / (255 * 255);
const _: () = assert!(PRODUCT_DEPTH_MAX < DEPTH_MAX);

impl Product {
    /// `batch` times (rows x depth) * (depth x columns), the three of `sizes`. `sides` say how `a`, `b` and the result
    /// lie; the columns of `a` and of the result must lie beside each other. `bounds` are the smallest and largest
    /// stored output.
    pub fn new(
        table: &'static Table,
        batch: &[usize],
        sizes: [usize; 3],
        sides: [ProductSide; 3],
        [a, b, y]: [&Affine; 3],
        bounds: [u8; 2],
    ) -> Result<Self, KernelError> {
        let [rows, depth, columns] = sizes;
        if depth > PRODUCT_DEPTH_MAX {
            return Err(KernelError::Depth { found: depth, max: PRODUCT_DEPTH_MAX });
        }
        for side in &sides {
            expect_length("the number of batch axes", side.batch.len(), batch.len())?;
        }
        expect_length("the step of columns", sides[0].columns, 1)?;
        expect_length("the step of columns", sides[2].columns, 1)?;
        let scales = vec![b.scale; columns];
        let requantization = Requantization::new(a.scale, &scales, y.scale, y.zero_point, bounds[0], bounds[1])?;
        let (a_zero, b_zero) = (a.zero_point, b.zero_point);
        Ok(Self { batch: batch.to_vec(), rows, depth, columns, sides, a_zero, b_zero, requantization, table })
    }

    /// Products of all matrices.
    pub fn products(&self) -> usize {
        self.matrices() * self.rows * self.depth * self.columns
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.requantization.bytes()
    }

    /// How many parts the result can be made in, one after the other in memory, and the bytes of one: rows where all
    /// matrices' rows lie together, matrices where each lies by itself, else everything at once.
    pub fn parts(&self) -> (usize, usize) {
        let (y, matrices, matrix) = (&self.sides[2], self.matrices(), self.rows * self.columns);
        if self.rows > 1 && y.reach(&self.batch, 1, self.columns) + 1 == y.rows {
            return (self.rows, y.rows);
        }
        let mut step = matrix;
        let apart = self.batch.iter().zip(&y.batch).rev().all(|(&size, &own)| {
            let fits = size == 1 || own == step;
            step *= size;
            fits
        });
        if apart && y.reach(&[], self.rows, self.columns) + 1 == matrix {
            (matrices, matrix)
        } else {
            (1, matrices * matrix)
        }
    }

    /// Multiplies every matrix of the batch.
    ///
    /// Panics when `a`, `b` or `output` are shorter than the steps reach.
    pub fn run(&self, a: &[u8], b: &[u8], scratch: &mut Scratch, output: &mut [u8]) {
        self.run_parts(0..self.parts().0, [a, b], scratch, output);
    }

    /// Makes some of the [`parts`](Self::parts); `output` begins with the first of them.
    ///
    /// Panics when `sides` or `output` are shorter than the steps reach.
    pub fn run_parts(&self, parts: Range<usize>, sides: [&[u8]; 2], scratch: &mut Scratch, output: &mut [u8]) {
        let (depth, columns) = (self.depth, self.columns);
        if self.matrices() * self.rows * columns == 0 || parts.is_empty() {
            return;
        }
        let [a_side, b_side, _] = &self.sides;
        assert!(sides[0].len() > a_side.reach(&self.batch, self.rows, depth) || depth == 0);
        assert!(sides[1].len() > b_side.reach(&self.batch, depth, columns) || depth == 0);
        let (count, length) = self.parts();
        assert!(parts.end <= count && output.len() >= parts.len() * length);
        let span = if count == self.rows && length == self.sides[2].rows {
            Span { matrices: 0..self.matrices(), rows: parts }
        } else if count == self.matrices() {
            Span { matrices: parts, rows: 0..self.rows }
        } else {
            Span { matrices: 0..self.matrices(), rows: 0..self.rows }
        };
        (self.table.product)(self, &span, sides, scratch, output);
    }

    fn matrices(&self) -> usize {
        self.batch.iter().product()
    }

    /// Where the result of a span begins.
    fn origin(&self, span: &Span) -> usize {
        self.place(span.matrices.start)[2] + span.rows.start * self.sides[2].rows
    }

    /// Where matrix `number` of the batch begins in `a`, in `b` and in the result.
    fn place(&self, mut number: usize) -> [usize; 3] {
        let mut places = [0; 3];
        for axis in (0..self.batch.len()).rev() {
            let at = number % self.batch[axis];
            number /= self.batch[axis];
            places.iter_mut().zip(&self.sides).for_each(|(place, side)| *place += at * side.batch[axis]);
        }
        places
    }

    /// The definition.
    pub(crate) fn run_plain(&self, span: &Span, [a, b]: [&[u8]; 2], scratch: &mut Scratch, output: &mut [u8]) {
        let [a_side, b_side, y_side] = &self.sides;
        let origin = self.origin(span);
        let (depth, columns) = (self.depth, self.columns);
        let sums = room(&mut scratch.sums, columns);
        let line = room(&mut scratch.patches, columns);
        for number in span.matrices.clone() {
            let [a_place, b_place, y_place] = self.place(number);
            for row in span.rows.clone() {
                sums.fill(0);
                for k in 0..depth {
                    let x = i32::from(a[a_place + row * a_side.rows + k]) - self.a_zero;
                    let b = &b[b_place + k * b_side.rows..];
                    let b = if b_side.columns == 1 {
                        &b[..columns]
                    } else {
                        let from = b.iter().step_by(b_side.columns.max(1));
                        line.iter_mut().zip(from).for_each(|(place, &byte)| *place = byte);
                        &*line
                    };
                    sums.iter_mut().zip(b).for_each(|(sum, &b)| *sum += x * (i32::from(b) - self.b_zero));
                }
                let output = &mut output[y_place + row * y_side.rows - origin..][..columns];
                self.requantization.apply_row(sums, 0, output);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::every_available;

    /// Bytes of all kinds, or the ends of the type only.
    fn bytes(seed: u64, edges: bool) -> impl FnMut(usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            let byte = (state >> 40) as u8;
            if edges { if byte > 127 { 255 } else { 0 } } else { byte }
        };
        move |count| (0..count).map(|_| next()).collect()
    }

    proptest! {
        #[test]
        fn every_instruction_set_gives_the_sum_of_products(
            [heads, rows, depth, columns] in [1usize..4, 1usize..30, 1usize..70, 1usize..90],
            zeros in prop::array::uniform3(0i32..=255), seed in any::<u64>(), edges in any::<bool>(), lies in 0usize..4,
            heads_apart in any::<bool>()
        ) {
            // As attention has them: row, head, column; `b` in plain order or transposed.
            let side = |columns: usize| ProductSide { batch: vec![columns], rows: heads * columns, columns: 1 };
            let b_side = match lies {
                0 => side(columns),
                1 => ProductSide { batch: vec![depth], rows: 1, columns: heads * depth },
                2 => ProductSide { batch: vec![depth * columns], rows: columns, columns: 1 },
                // One for all heads.
                _ => ProductSide { batch: vec![0], rows: 1, columns: depth },
            };
            let mut bytes = bytes(seed, edges);
            let (a, b) = (bytes(heads * rows * depth), bytes(heads * depth * columns));
            let affine = |zero: i32| Affine::new(0.02, zero, false).unwrap();
            let [x, w, y] = zeros.map(affine);
            let requantization = Requantization::new(x.scale, &[w.scale], y.scale, y.zero_point, 3, 250).unwrap();
            let apart = ProductSide { batch: vec![rows * columns], rows: columns, columns: 1 };
            let (a_side, y_side) = (side(depth), if heads_apart { apart } else { side(columns) });
            let mut expected = vec![0; heads * rows * columns];
            let places = (0..heads).flat_map(|head| (0..rows).map(move |row| (head, row)));
            for ((head, row), column) in places.flat_map(|place| (0..columns).map(move |column| (place, column))) {
                let at = |side: &ProductSide, row: usize, column: usize| {
                    head * side.batch[0] + row * side.rows + column * side.columns
                };
                let product = |k: usize| {
                    let (a, b) = (i64::from(a[at(&a_side, row, k)]), i64::from(b[at(&b_side, k, column)]));
                    (a - i64::from(x.zero_point)) * (b - i64::from(w.zero_point))
                };
                let sum = (0..depth).map(product).sum::<i64>();
                expected[at(&y_side, row, column)] = requantization.apply(i32::try_from(sum).unwrap(), 0);
            }
            for table in every_available() {
                let (sides, sizes) = ([a_side.clone(), b_side.clone(), y_side.clone()], [rows, depth, columns]);
                let product = Product::new(table, &[heads], sizes, sides, [&x, &w, &y], [3, 250]).unwrap();
                let mut scratch = Scratch::new();
                let (parts, length) = product.parts();
                prop_assert_eq!(parts * length, expected.len());
                for at_once in [parts, 2, 1] {
                    let mut output = vec![0; expected.len()];
                    for (number, output) in output.chunks_mut(at_once * length).enumerate() {
                        let first = number * at_once;
                        let here = first..(first + at_once).min(parts);
                        product.run_parts(here, [&a, &b], &mut scratch, output);
                    }
                    prop_assert_eq!(&output, &expected, "{} {}", table.isa.name(), at_once);
                }
            }
        }
    }

    #[test]
    fn sums_that_an_i32_might_not_hold_are_refused() {
        let unit = Affine::new(1.0, 0, false).unwrap();
        let side = || ProductSide { batch: Vec::new(), rows: 1, columns: 1 };
        let of = |depth| {
            let sides = [side(), side(), side()];
            Product::new(crate::fastest(), &[], [1, depth, 1], sides, [&unit; 3], [0, 255])
        };
        assert!(of(33_025).is_ok());
        assert!(matches!(of(33_026), Err(KernelError::Depth { .. })));
    }

    #[test]
    fn the_largest_sums_are_exact() {
        let (low, high) = (Affine::new(1.0, 0, false).unwrap(), Affine::new(1.0, 255, false).unwrap());
        let y = Affine::new(1e9, 3, false).unwrap();
        let depth = PRODUCT_DEPTH_MAX;
        let side = |rows| ProductSide { batch: Vec::new(), rows, columns: 1 };
        for (a, b, expected) in [(&low, &low, 5), (&high, &low, 1), (&low, &high, 1), (&high, &high, 5)] {
            let byte = |affine: &Affine| if affine.zero_point == 0 { 255 } else { 0 };
            for table in every_available() {
                let sides = [side(depth), side(1), side(1)];
                let product = Product::new(table, &[], [1, depth, 1], sides, [a, b, &y], [0, 255]).unwrap();
                let mut output = [0];
                product.run(&vec![byte(a); depth], &vec![byte(b); depth], &mut Scratch::new(), &mut output);
                assert_eq!(output, [expected], "{}", table.isa.name());
            }
        }
    }
}
