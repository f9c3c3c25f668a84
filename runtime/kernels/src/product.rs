//! The product of two matrices that are both known at run time only: attention's.

use crate::dense::DEPTH_MAX;
use crate::requantize::Requantization;
use crate::scratch::room;
use crate::{Affine, KernelError, Scratch, Table};

/// `a` times `b`, both stored bytes, `b` with one row for each of its `depth`: exact sums of
/// (a - zero point) * (b - zero point), requantized by `(a_scale * b_scale) / y_scale`.
#[derive(Debug)]
pub struct Product {
    depth: usize,
    columns: usize,
    a_zero: i32,
    b_zero: i32,
    requantization: Requantization,
    table: &'static Table,
}

/// Products of two bytes less their zero points that one sum may have.
pub(crate) const PRODUCT_DEPTH_MAX: usize = (i32::MAX as usize) / (255 * 255);
const _: () = assert!(PRODUCT_DEPTH_MAX < DEPTH_MAX);

impl Product {
    /// `a` has `depth` columns, `b` has `columns`; `bounds` are the smallest and largest stored output.
    pub fn new(
        table: &'static Table,
        depth: usize,
        columns: usize,
        [a, b, y]: [&Affine; 3],
        bounds: [u8; 2],
    ) -> Result<Self, KernelError> {
        if depth > PRODUCT_DEPTH_MAX {
            return Err(KernelError::Depth { found: depth, max: PRODUCT_DEPTH_MAX });
        }
        let scales = vec![b.scale; columns];
        let requantization = Requantization::new(a.scale, &scales, y.scale, y.zero_point, bounds[0], bounds[1])?;
        Ok(Self { depth, columns, a_zero: a.zero_point, b_zero: b.zero_point, requantization, table })
    }

    /// Products of one matrix of `rows` rows.
    pub fn products(&self, rows: usize) -> usize {
        rows * self.depth * self.columns
    }

    /// Columns of `a`, and rows of `b`.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Columns of `b` and of the result.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Multiplies `rows` rows of `a` with `b`. Nothing lies between rows.
    pub fn run(&self, a: &[u8], b: &[u8], rows: usize, scratch: &mut Scratch, output: &mut [u8]) {
        (self.table.product)(self, a, b, rows, scratch, output);
    }

    /// The definition.
    pub(crate) fn run_plain(&self, a: &[u8], b: &[u8], rows: usize, scratch: &mut Scratch, output: &mut [u8]) {
        let sums = room(&mut scratch.sums, self.columns);
        for row in 0..rows {
            sums.fill(0);
            for k in 0..self.depth {
                let x = i32::from(a[row * self.depth + k]) - self.a_zero;
                let b = &b[k * self.columns..(k + 1) * self.columns];
                sums.iter_mut().zip(b).for_each(|(sum, &b)| *sum += x * (i32::from(b) - self.b_zero));
            }
            let output = &mut output[row * self.columns..(row + 1) * self.columns];
            self.requantization.apply_row(sums, 0, output);
        }
    }
}

/// Where there are tiles.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg_attr(target_arch = "aarch64", allow(dead_code))]
mod on_tiles {
    use super::Product;
    use crate::dense::{DenseForm, PackedDense, run_plain};
    use crate::scratch::room;
    use crate::tiles::{self, TileKernel};
    use crate::{Output, SIGNED_OFFSET, Scratch};

    impl Product {
        /// The same on tiles: `b` less 128 takes the weights' place, and what its zero point is then off by comes to every
        /// sum of a row as that many times the row's sum.
        pub(crate) fn run_tiles<K: TileKernel>(
            &self,
            a: &[u8],
            b: &[u8],
            rows: usize,
            scratch: &mut Scratch,
            output: &mut [u8],
        ) {
            let (depth, columns) = (self.depth, self.columns);
            if depth == 0 || columns == 0 {
                return self.run_plain(a, b, rows, scratch, output);
            }
            let offset = self.b_zero - SIGNED_OFFSET;
            let mut shifts = std::mem::take(&mut scratch.sums);
            let packed = self.packed::<K>(b, scratch, offset);
            let shifts_here = room(&mut shifts, rows);
            for (shift, row) in shifts_here.iter_mut().zip(a.chunks_exact(depth)) {
                *shift = -offset * row.iter().map(|&x| i32::from(x)).sum::<i32>();
            }
            let requantization = &self.requantization;
            let to = Output::Shifted {
                data: output,
                stride: columns,
                requantization,
                shifts: shifts_here,
                table: self.table,
            };
            run_plain(tiles::run::<K>, &packed, a, rows, scratch, to);
            if let DenseForm::Tiles { weights, .. } = packed.form {
                scratch.panels = weights;
            }
            (scratch.starts, scratch.sums) = (packed.starts, shifts);
        }

        /// `b` in the order of the tiles, in the scratch's memory.
        fn packed<K: TileKernel>(&self, b: &[u8], scratch: &mut Scratch, offset: i32) -> PackedDense {
            let (depth, columns) = (self.depth, self.columns);
            let (mut weights, mut starts) = (std::mem::take(&mut scratch.panels), std::mem::take(&mut scratch.starts));
            let width = columns.next_multiple_of(K::SHAPE.lanes);
            let padded = depth.next_multiple_of(K::SHAPE.group);
            weights.clear();
            weights.resize(padded * width, 0);
            starts.clear();
            starts.resize(width, 0);
            tiles::pack_bytes(&K::SHAPE, b, depth, columns, &mut weights);
            for row in b.chunks_exact(columns).take(depth) {
                starts.iter_mut().zip(row).for_each(|(sum, &b)| *sum += i32::from(b) - SIGNED_OFFSET);
            }
            let all = depth as i32 * self.a_zero * offset;
            starts[..columns].iter_mut().for_each(|sum| *sum = all - self.a_zero * *sum);
            let form = DenseForm::Tiles { weights, group: K::SHAPE.group, wide: K::SHAPE.wide };
            PackedDense { depth, piece: depth, columns, starts, form }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::every_available;

    proptest! {
        #[test]
        fn every_instruction_set_gives_the_sum_of_products(
            depth in 1usize..70, columns in 1usize..90, rows in 1usize..30, zeros in prop::array::uniform3(0i32..=255),
            seed in any::<u64>(), edges in any::<bool>()
        ) {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                let byte = (state >> 40) as u8;
                if edges { if byte > 127 { 255 } else { 0 } } else { byte }
            };
            let a: Vec<u8> = (0..rows * depth).map(|_| next()).collect();
            let b: Vec<u8> = (0..depth * columns).map(|_| next()).collect();
            let affine = |zero: i32| Affine::new(0.02, zero, false).unwrap();
            let [x, w, y] = zeros.map(affine);
            let requantization = Requantization::new(x.scale, &[w.scale], y.scale, y.zero_point, 3, 250).unwrap();
            let mut expected = Vec::new();
            for row in 0..rows {
                for column in 0..columns {
                    let product = |k: usize| {
                        let (a, b) = (i64::from(a[row * depth + k]), i64::from(b[k * columns + column]));
                        (a - i64::from(x.zero_point)) * (b - i64::from(w.zero_point))
                    };
                    let sum = (0..depth).map(product).sum::<i64>();
                    expected.push(requantization.apply(i32::try_from(sum).unwrap(), 0));
                }
            }
            for table in every_available() {
                let product = Product::new(table, depth, columns, [&x, &w, &y], [3, 250]).unwrap();
                let mut scratch = Scratch::new();
                for _ in 0..2 {
                    let mut output = vec![0; rows * columns];
                    product.run(&a, &b, rows, &mut scratch, &mut output);
                    prop_assert_eq!(&output, &expected, "{}", table.isa.name());
                }
            }
        }
    }

    #[test]
    fn sums_that_an_i32_might_not_hold_are_refused() {
        let unit = Affine::new(1.0, 0, false).unwrap();
        let of = |depth| Product::new(crate::fastest(), depth, 1, [&unit; 3], [0, 255]);
        assert!(of(33_025).is_ok());
        assert!(matches!(of(33_026), Err(KernelError::Depth { .. })));
    }
}
