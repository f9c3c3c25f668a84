//! Rows times a matrix of float weights.

use super::FloatEnd;
use super::tiles::{self, FloatOutput, FloatTileShape, Panels};
use crate::error::expect_length;
use crate::rows::Rows;
use crate::{AlignedFloats, KernelError, Table, WeightOrder};

/// Bytes of rows that one pass over the weights takes: they stay in the second-level cache.
const BLOCK_BYTES: usize = 256 << 10;

/// A weight as it lies before packing: a float, or the little-endian bytes of one, which may lie anywhere in a file.
pub trait FloatWeight: Copy {
    /// The weight.
    fn float(self) -> f32;
}

impl FloatWeight for f32 {
    fn float(self) -> f32 {
        self
    }
}

impl FloatWeight for [u8; 4] {
    fn float(self) -> f32 {
        f32::from_le_bytes(self)
    }
}

/// Brings a matrix into panels. `packed` has zeros where there is nothing.
fn pack<W: FloatWeight>(
    shape: &FloatTileShape,
    weights: &[W],
    order: WeightOrder,
    (depth, columns): (usize, usize),
    packed: &mut [f32],
) {
    let width = columns.next_multiple_of(shape.lanes);
    let panels = (0..width).step_by(shape.lanes * shape.vectors);
    let mut room = Vec::new();
    for first in panels {
        let panel = (shape.lanes * shape.vectors).min(width - first);
        let places = &mut packed[first * depth..(first + panel) * depth];
        if order == WeightOrder::Rows {
            let there = panel.min(columns - first);
            for (line, row) in places.chunks_exact_mut(panel).zip(weights.chunks_exact(columns)) {
                line.iter_mut().zip(&row[first..first + there]).for_each(|(to, from)| *to = from.float());
            }
            continue;
        }
        // As many columns as a vector has lanes: they write whole cache lines.
        for inner in (0..panel).step_by(shape.lanes) {
            let own = first + inner..(first + inner + shape.lanes).min(columns);
            let own = order.columns(weights, (depth, columns), own, &mut room);
            for (k, line) in places.chunks_exact_mut(panel).enumerate() {
                let column = own[k..].iter().step_by(depth);
                line[inner..].iter_mut().zip(column).for_each(|(to, from)| *to = from.float());
            }
        }
    }
}

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
    /// Packs a matrix whose weights lie in `order`.
    ///
    /// Its rows are products of one sum; `piece` of them have their inputs beside each other. `bias` is one a column,
    /// or empty.
    pub(crate) fn new<W: FloatWeight>(
        table: &Table,
        weights: &[W],
        order: WeightOrder,
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
            pack(shape, weights, order, (depth, columns), &mut packed);
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
    /// The weights of `depth` inputs for `columns` outputs lie in `order`. `bias` is one an output, or empty.
    pub fn new<W: FloatWeight>(
        table: &'static Table,
        weights: &[W],
        order: WeightOrder,
        depth: usize,
        columns: usize,
        bias: &[f32],
    ) -> Result<Self, KernelError> {
        let packed = PackedFloats::new(table, weights, order, (depth, depth, columns), bias)?;
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
                let mut linear = FloatLinear::new(table, &weights, WeightOrder::Rows, depth, columns, &[]).unwrap();
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
        assert!(FloatLinear::new(table, &[0.0; 5], WeightOrder::Rows, 3, 2, &[]).is_err());
        assert!(FloatLinear::new(table, &[0.0; 6], WeightOrder::Rows, 3, 2, &[0.0]).is_err());
        assert!(FloatLinear::new(table, &[0.0; 6], WeightOrder::Rows, 3, 2, &[]).unwrap().add_bias(&[1.0]).is_err());
    }
}
