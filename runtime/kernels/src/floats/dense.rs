//! Rows times a matrix of float weights.

use super::FloatEnd;
use super::tiles::{self, FloatOutput, Panels};
use crate::error::expect_length;
use crate::rows::Rows;
use crate::{AlignedFloats, KernelError, Table};

/// Bytes of rows that one pass over the weights takes: they stay in the second-level cache.
const BLOCK_BYTES: usize = 256 << 10;

/// Float weights in the order in which the tiles read them.
#[derive(Debug)]
pub(crate) struct PackedFloats {
    weights: AlignedFloats,
    /// One a column, padded to whole vectors.
    starts: Vec<f32>,
    pub(crate) columns: usize,
    pub(crate) piece: usize,
}

impl PackedFloats {
    /// Packs the matrix whose element at row k, column c is `weights[k * steps[0] + c * steps[1]]`.
    ///
    /// Its rows are products of one sum; `piece` of them have their inputs beside each other. `bias` is one a column,
    /// or empty.
    pub(crate) fn new(
        table: &Table,
        weights: &[f32],
        steps: [usize; 2],
        (depth, piece, columns): (usize, usize, usize),
        bias: &[f32],
    ) -> Result<Self, KernelError> {
        expect_length("the number of weights", weights.len(), depth.saturating_mul(columns))?;
        if !bias.is_empty() {
            expect_length("the length of the bias", bias.len(), columns)?;
        }
        let shape = &table.float.shape;
        let mut packed = AlignedFloats::zeros(tiles::packed_length(shape, depth, columns));
        if !weights.is_empty() {
            tiles::pack(shape, weights, steps, (depth, columns), 1.0, &mut packed);
        }
        let mut starts = vec![0.0; columns.next_multiple_of(shape.lanes)];
        starts[..bias.len()].copy_from_slice(bias);
        Ok(Self { weights: packed, starts, columns, piece })
    }

    pub(crate) fn add_bias(&mut self, bias: &[f32]) {
        self.starts.iter_mut().zip(bias).for_each(|(start, bias)| *start += bias);
    }

    pub(crate) fn panels(&self) -> Panels<'_> {
        Panels { weights: &self.weights, starts: &self.starts, columns: self.columns, piece: self.piece }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        (self.weights.len() + self.starts.len()) * 4
    }
}

/// A linear layer of floats that is ready to run: rows times weights, and what is fused behind it.
#[derive(Debug)]
pub struct FloatLinear {
    packed: PackedFloats,
    end: FloatEnd,
    table: &'static Table,
}

impl FloatLinear {
    /// Packs a linear layer for the instruction set of `table`.
    ///
    /// The weight of output `c` for input `k` is `weights[k * steps[0] + c * steps[1]]`; there are `depth` inputs and
    /// `columns` outputs. `bias` is one an output, or empty.
    pub fn new(
        table: &'static Table,
        weights: &[f32],
        steps: [usize; 2],
        depth: usize,
        columns: usize,
        bias: &[f32],
    ) -> Result<Self, KernelError> {
        let packed = PackedFloats::new(table, weights, steps, (depth, depth, columns), bias)?;
        Ok(Self { packed, end: FloatEnd::default(), table })
    }

    /// Products in one sum.
    pub fn depth(&self) -> usize {
        self.packed.piece
    }

    /// Outputs of one row.
    pub fn columns(&self) -> usize {
        self.packed.columns
    }

    /// What is fused behind the sums.
    pub fn end(&self) -> FloatEnd {
        self.end
    }

    /// The same, to be changed.
    pub fn end_mut(&mut self) -> &mut FloatEnd {
        &mut self.end
    }

    /// Adds one number to each output before anything that is fused.
    pub fn add_bias(&mut self, bias: &[f32]) -> Result<(), KernelError> {
        expect_length("the length of the bias", bias.len(), self.columns())?;
        self.packed.add_bias(bias);
        Ok(())
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.packed.bytes()
    }

    /// Multiplies the `rows` rows of `input`, which lie without gaps; `added` is added to the outputs.
    pub fn run(&self, input: &[f32], rows: usize, added: Option<&[f32]>, output: &mut [f32]) {
        let (depth, columns) = (self.depth(), self.columns());
        let block = (BLOCK_BYTES / 4 / depth.max(1)).max(16);
        for first in (0..rows).step_by(block) {
            let count = block.min(rows - first);
            let mut output = FloatOutput {
                data: &mut output[first * columns..],
                stride: columns,
                added: added.map(|added| &added[first * columns..]),
                low: self.end.low,
                high: self.end.high,
            };
            let here = Rows::plain(&input[first * depth..], count, depth);
            let kernel = &self.table.float;
            tiles::run((&kernel.shape, kernel.tile), self.packed.panels(), &here, &mut output);
        }
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
        fn every_instruction_set_sums_the_products(
            rows in 0usize..30, depth in 0usize..70, columns in 1usize..90, seed in any::<u64>(), add in any::<bool>(),
            bounds in prop_oneof![Just((f32::NEG_INFINITY, f32::INFINITY)), Just((0.0, 6.0)), Just((-1.0, 0.5))],
        ) {
            let mut next = random(seed);
            let input: Vec<f32> = (0..rows * depth).map(|_| next()).collect();
            let weights: Vec<f32> = (0..columns * depth).map(|_| next()).collect();
            let bias: Vec<f32> = (0..columns).map(|_| next()).collect();
            let added: Vec<f32> = (0..rows * columns).map(|_| next()).collect();
            let added = add.then_some(&added[..]);
            let expected = (0..rows * columns).map(|index| {
                let (row, column) = (index / columns, index % columns);
                let product = |k: usize| f64::from(input[row * depth + k]) * f64::from(weights[k * columns + column]);
                let sum = f64::from(bias[column]) + (0..depth).map(product).sum::<f64>();
                let sum = sum + added.map_or(0.0, |added| f64::from(added[index]));
                sum.max(f64::from(bounds.0)).min(f64::from(bounds.1))
            });
            let expected: Vec<f64> = expected.collect();
            for table in every_available() {
                let mut linear = FloatLinear::new(table, &weights, [columns, 1], depth, columns, &[]).unwrap();
                linear.add_bias(&bias).unwrap();
                linear.end_mut().bound(bounds.0, bounds.1);
                let mut found = vec![f32::NAN; rows * columns];
                linear.run(&input, rows, added, &mut found);
                assert_close(&found, &expected, table.isa.name());
            }
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let table = crate::fastest();
        assert!(FloatLinear::new(table, &[0.0; 5], [2, 1], 3, 2, &[]).is_err());
        assert!(FloatLinear::new(table, &[0.0; 6], [2, 1], 3, 2, &[0.0]).is_err());
        assert!(FloatLinear::new(table, &[0.0; 6], [2, 1], 3, 2, &[]).unwrap().add_bias(&[1.0]).is_err());
    }
}
