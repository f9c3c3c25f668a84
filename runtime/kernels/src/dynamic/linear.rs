//! Rows times weights.

use super::{ScaledWeights, Scaling};
use crate::dense::{PackedDense, run_plain};
use crate::rows::Rows;
use crate::{Affine, DenseWeights, KernelError, Output, Scratch, Table};

/// A linear layer over an input that is quantized at run time.
#[derive(Debug)]
pub struct DynamicLinear {
    packed: PackedDense,
    scaling: Scaling,
    table: &'static Table,
}

impl DynamicLinear {
    /// `weights` has `depth` weights for each column.
    pub fn new(table: &'static Table, weights: &ScaledWeights<'_>, depth: usize) -> Result<Self, KernelError> {
        let scaling = Scaling::new(weights, depth)?;
        let (order, weights, columns) = (weights.order, weights.values, weights.scales.len());
        let weights = DenseWeights { weights, order, depth, piece: depth, columns, bias: &[], zero_point: 0 };
        Ok(Self { packed: (table.dense.pack)(&weights)?, scaling, table })
    }

    /// Products in one sum.
    pub fn depth(&self) -> usize {
        self.packed.depth
    }

    /// Outputs of one row.
    pub fn columns(&self) -> usize {
        self.packed.columns
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.packed.bytes() + self.scaling.bytes()
    }

    /// What follows the sums.
    pub fn scaling_mut(&mut self) -> &mut Scaling {
        &mut self.scaling
    }

    /// Multiplies the `rows` rows of `input`, which lie without gaps and are quantized by `x`.
    pub fn run(&self, input: &[u8], x: &Affine, rows: usize, scratch: &mut Scratch, output: &mut [f32]) {
        let (stride, table) = (self.packed.columns, self.table);
        self.scaling.at(x, scratch, |scaled, scratch| {
            let all = Rows::plain(input, rows, self.packed.depth);
            scaled.with_row_sums(table, &all, self.packed.depth, scratch, |scaled, scratch| {
                let to = Output::Scaled { data: output, stride, scaled, table };
                run_plain(table.dense.run, &self.packed, input, rows, scratch, to);
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::WeightOrder;
    use crate::table::every_available;

    proptest! {
        #[test]
        fn every_instruction_set_gives_the_same_floats(
            depth in 1usize..70, columns in 1usize..100, rows in 1usize..30, zero_point in 0i32..=255,
            scale in 1e-4f32..0.5, seed in any::<u64>(), edges in any::<bool>(), has_offsets in any::<bool>()
        ) {
            let mut state = seed;
            let mut next = || { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); (state >> 40) as u8 };
            let mut value = || { let byte = next(); if edges { if byte > 127 { 255 } else { 0 } } else { byte } };
            let values: Vec<i8> = (0..depth * columns).map(|_| (value() ^ 0x80) as i8).collect();
            let input: Vec<u8> = (0..rows * depth).map(|_| value()).collect();
            let scales: Vec<f32> = (0..columns).map(|_| 0.001 + f32::from(value()) * 1e-4).collect();
            let bias: Vec<f32> = (0..columns).map(|_| f32::from(value()) - 100.0).collect();
            let offsets: Vec<i32> =
                if has_offsets { (0..columns).map(|_| 128 - i32::from(value())).collect() } else { vec![] };
            let weights = ScaledWeights { values: &values, order: WeightOrder::Columns, offsets: &offsets, scales: &scales };
            let mut expected = Vec::new();
            for x in input.chunks_exact(depth) {
                for column in 0..columns {
                    let filter = &values[column * depth..][..depth];
                    let offset = offsets.get(column).unwrap_or(&0);
                    let product = |(&x, &w): (&u8, &i8)| (i32::from(x) - zero_point) * (i32::from(w) + offset);
                    let products = x.iter().zip(filter).map(product);
                    let value = products.sum::<i32>() as f32 * (scale * scales[column]) + bias[column];
                    expected.push(value.clamp(-50.0, 60.0));
                }
            }
            let x = Affine { scale, zero_point, signed: false };
            for table in every_available() {
                let mut linear = DynamicLinear::new(table, &weights, depth).unwrap();
                linear.scaling_mut().add_bias(&bias).unwrap();
                linear.scaling_mut().end_mut().bound(-50.0, 60.0);
                let (mut output, mut scratch) = (vec![f32::NAN; rows * columns], Scratch::new());
                for _ in 0..2 {
                    linear.run(&input, &x, rows, &mut scratch, &mut output);
                    prop_assert_eq!(&output, &expected, "{}", table.isa.name());
                }
            }
        }
    }

    #[test]
    fn bad_lengths_and_scales_are_refused() {
        let long = vec![1; 33_026];
        let of = |values, offsets, scales, depth| {
            DynamicLinear::new(
                crate::fastest(),
                &ScaledWeights { values, order: WeightOrder::Columns, offsets, scales },
                depth,
            )
        };
        assert!(matches!(of(&[1, 2, 3], &[], &[1.0, 1.0], 2), Err(KernelError::Shape { .. })));
        assert!(matches!(of(&[1, 2], &[1, 1], &[1.0], 2), Err(KernelError::Shape { .. })));
        assert!(matches!(of(&[1, 2], &[], &[0.0], 2), Err(KernelError::Scale { .. })));
        assert!(matches!(of(&long, &[1], &[1.0], 33_026), Err(KernelError::Depth { .. })));
        let mut linear = of(&[1, 2], &[], &[1.0], 2).unwrap();
        assert!(linear.scaling_mut().add_bias(&[1.0, 2.0]).is_err());
    }
}
