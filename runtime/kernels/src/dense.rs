//! Rows times a matrix of weights: what linear layers and convolutions come down to.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{expect_length, expect_zero_point};
use crate::product::PRODUCT_DEPTH_MAX;
use crate::rows::Rows;
use crate::scratch::room;
use crate::{KernelError, Output, Scratch, Table, WeightOrder};

/// Products that one sum may have: 65,793 * 255 * 128 is the first that an `i32` might not hold.
pub const DEPTH_MAX: usize = (i32::MAX as usize) / (255 * 128);

/// Columns that are brought into the order of the depth together where nothing asks for another number.
const PACKED_TOGETHER: usize = 16;

/// A matrix of weights before packing.
#[derive(Clone, Copy, Debug)]
pub struct DenseWeights<'a> {
    /// `depth` weights for each of the `columns`.
    pub weights: &'a [i8],
    /// How they lie.
    pub order: WeightOrder,
    /// Products in one sum.
    pub depth: usize,
    /// Products whose inputs lie beside each other; the depth is a multiple of it. The depth itself in a linear layer.
    pub piece: usize,
    /// Outputs of one row.
    pub columns: usize,
    /// One a column, in units of x_scale * w_scale; empty means zeros.
    pub bias: &'a [i32],
    /// Zero point of the input as stored.
    pub zero_point: i32,
}

impl DenseWeights<'_> {
    pub(crate) fn check(&self) -> Result<(), KernelError> {
        if self.depth > DEPTH_MAX {
            return Err(KernelError::Depth { found: self.depth, max: DEPTH_MAX });
        }
        expect_length("the number of weights", self.weights.len(), self.depth.saturating_mul(self.columns))?;
        expect_length("the depth", self.depth, self.pieces() * self.piece)?;
        if !self.bias.is_empty() {
            expect_length("the length of the bias", self.bias.len(), self.columns)?;
        }
        expect_zero_point(self.zero_point)?;
        Ok(())
    }

    pub(crate) fn pieces(&self) -> usize {
        self.depth / self.piece.max(1)
    }

    /// Whether no pair of neighbouring products in a piece can exceed 16 bits.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) fn is_pair_safe(&self) -> bool {
        let safe = |pair: &[i8]| {
            let part = |sign: i32| pair.iter().map(|&weight| (sign * i32::from(weight)).max(0)).sum::<i32>();
            part(1) <= 128 && part(-1) <= 128
        };
        let mut all_safe = true;
        self.for_columns(PACKED_TOGETHER, |_, weights| {
            all_safe &= weights.chunks(self.piece.max(1)).all(|piece| piece.chunks(2).all(safe));
        });
        all_safe
    }

    /// Calls `visit` with `together` columns or less and their weights, column after column in the order of the depth,
    /// for all columns in turn.
    pub(crate) fn for_columns(&self, together: usize, mut visit: impl FnMut(Range<usize>, &[i8])) {
        let mut room = Vec::new();
        for first in (0..self.columns).step_by(together.max(1)) {
            let columns = first..(first + together).min(self.columns);
            let sizes = (self.depth, self.columns);
            visit(columns.clone(), self.order.columns(self.weights, sizes, columns, &mut room));
        }
    }

    /// What each column's accumulator starts from: bias - zero point * sum of weights, so that the sum of
    /// products over stored inputs is the sum over real ones. Wraps as the accumulator does.
    pub(crate) fn starts(&self) -> Vec<i32> {
        let mut starts = Vec::with_capacity(self.columns);
        self.for_columns(PACKED_TOGETHER, |columns, weights| starts.extend(self.starts_of(columns, weights)));
        starts
    }

    /// The starts of `columns`, whose weights are given.
    pub(crate) fn starts_of(&self, columns: Range<usize>, weights: &[i8]) -> impl Iterator<Item = i32> {
        columns.enumerate().map(move |(place, column)| {
            let weights = &weights[place * self.depth..(place + 1) * self.depth];
            let sum: i32 = weights.iter().map(|&weight| i32::from(weight)).sum();
            let bias = self.bias.get(column).copied().unwrap_or(0);
            bias.wrapping_sub(self.zero_point.wrapping_mul(sum))
        })
    }
}

/// Weights in the order in which the kernel of one instruction set reads them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PackedDense {
    pub(crate) depth: usize,
    pub(crate) piece: usize,
    pub(crate) columns: usize,
    /// What each column's accumulator starts from; may be padded.
    pub(crate) starts: Vec<i32>,
    pub(crate) form: DenseForm,
}

/// The order of the packed weights; each instruction set has its own.
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DenseForm {
    /// [`scalar`](crate::scalar).
    Pairs { panels: Vec<i16>, rest: Vec<i16> },
    /// [`tiles`](crate::tiles): groups of `group` weights, for activations that are widened or not.
    Tiles { weights: Vec<i8>, group: usize, wide: bool },
}

impl PackedDense {
    /// Bytes of one piece that the kernel may read: what is over multiplies zeros.
    pub(crate) fn piece_read(&self) -> usize {
        match &self.form {
            DenseForm::Pairs { .. } => self.piece,
            DenseForm::Tiles { group, .. } => self.piece.next_multiple_of(*group),
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        let weights = match &self.form {
            DenseForm::Pairs { panels, rest } => (panels.len() + rest.len()) * 2,
            DenseForm::Tiles { weights, .. } => weights.len(),
        };
        weights + self.starts.len() * 4
    }
}

/// Bytes of rows that one pass over the weights takes: they stay in the second-level cache.
const BLOCK_BYTES: usize = 64 << 10;

/// A linear layer that is ready to run: rows times weights.
#[derive(Debug)]
pub struct Linear {
    packed: PackedDense,
    offset: i32,
    table: &'static Table,
}

impl Linear {
    /// Packs a linear layer for the instruction set of `table`.
    pub fn new(table: &'static Table, weights: &DenseWeights<'_>) -> Result<Self, KernelError> {
        Self::with_offset(table, weights, 0)
    }

    /// The same for a model whose weights are `offset` more than those given: 128 less the zero point of unsigned ones.
    /// It writes bytes only.
    pub fn with_offset(table: &'static Table, weights: &DenseWeights<'_>, offset: i32) -> Result<Self, KernelError> {
        expect_length("the length of a piece", weights.piece, weights.depth)?;
        let bias = offset_bias(weights, offset)?;
        Ok(Self { packed: (table.dense.pack)(&DenseWeights { bias: &bias, ..*weights })?, offset, table })
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
        self.packed.bytes()
    }

    /// Products of `rows` rows.
    pub fn products(&self, rows: usize) -> usize {
        rows * self.depth() * self.columns()
    }

    /// Multiplies the `rows` rows of `input`, which lie without gaps.
    pub fn run(&self, input: &[u8], rows: usize, scratch: &mut Scratch, output: Output<'_>) {
        let (table, packed) = (self.table, &self.packed);
        match output {
            Output::Bytes { data, stride, requantization } if self.offset != 0 => {
                let all = Rows::plain(input, rows, packed.depth);
                with_shifts(table, self.offset, &all, packed.depth, scratch, |shifts, scratch| {
                    let to = Output::Shifted { data, stride, requantization, shifts, table };
                    run_plain(table.dense.run, packed, input, rows, scratch, to);
                });
            }
            output => run_plain(table.dense.run, packed, input, rows, scratch, output),
        }
    }
}

/// The bias of weights that are `offset` less than the model's: what the zero point of the input makes of the offset
/// is the same for every row.
pub(crate) fn offset_bias<'a>(weights: &DenseWeights<'a>, offset: i32) -> Result<Cow<'a, [i32]>, KernelError> {
    if offset == 0 {
        return Ok(Cow::Borrowed(weights.bias));
    }
    if weights.depth > PRODUCT_DEPTH_MAX {
        return Err(KernelError::Depth { found: weights.depth, max: PRODUCT_DEPTH_MAX });
    }
    weights.check()?;
    let all = offset.wrapping_mul(weights.zero_point).wrapping_mul(weights.depth as i32);
    let bias = |column: usize| weights.bias.get(column).copied().unwrap_or(0).wrapping_sub(all);
    Ok((0..weights.columns).map(bias).collect())
}

/// Calls `run` with what `offset` adds to the sums of each of `rows`: as many times the sum of its bytes, `length` of
/// each piece.
pub(crate) fn with_shifts(
    table: &Table,
    offset: i32,
    rows: &Rows<'_>,
    length: usize,
    scratch: &mut Scratch,
    run: impl FnOnce(&[i32], &mut Scratch),
) {
    rows.with_sums(table, length, scratch, |shifts, scratch| {
        shifts.iter_mut().for_each(|sum| *sum = sum.wrapping_mul(offset));
        run(shifts, scratch);
    });
}

/// Multiplies `rows` rows that lie without gaps, a block of them at a time.
pub(crate) fn run_plain(
    run: impl Fn(&PackedDense, &Rows<'_>, &mut Scratch, Output<'_>),
    packed: &PackedDense,
    input: &[u8],
    rows: usize,
    scratch: &mut Scratch,
    mut output: Output<'_>,
) {
    let depth = packed.depth;
    let block = (BLOCK_BYTES / depth.max(1)).max(16);
    for first in (0..rows).step_by(block) {
        let count = block.min(rows - first);
        let output = output.starting_at(first, packed.columns);
        let here = &input[first * depth..];
        let reach = count.saturating_sub(1) * depth + packed.piece_read();
        if reach <= here.len() {
            run(packed, &Rows::plain(here, count, depth), scratch, output);
            continue;
        }
        // The last row's last group reaches over the end.
        let mut patches = std::mem::take(&mut scratch.patches);
        let padded = room(&mut patches, reach);
        padded[..count * depth].copy_from_slice(&here[..count * depth]);
        run(packed, &Rows::plain(padded, count, depth), scratch, output);
        scratch.patches = patches;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Requantization;
    use crate::table::every_available;

    /// The definition, one product after the other.
    fn expected(weights: &DenseWeights<'_>, offset: i32, input: &[u8], requantization: &Requantization) -> Vec<u8> {
        let mut output = Vec::new();
        for x in input.chunks_exact(weights.depth) {
            for column in 0..weights.columns {
                let filter = &weights.weights[column * weights.depth..][..weights.depth];
                let product = |(&x, &w): (&u8, &i8)| {
                    (i64::from(x) - i64::from(weights.zero_point)) * i64::from(i32::from(w) + offset)
                };
                let products = x.iter().zip(filter).map(product);
                let sum = products.sum::<i64>() + i64::from(weights.bias.get(column).copied().unwrap_or(0));
                output.push(requantization.apply(i32::try_from(sum).unwrap(), column));
            }
        }
        output
    }

    proptest! {
        #[test]
        fn every_instruction_set_gives_the_sum_of_products(
            depth in 1usize..70, columns in 1usize..100, rows in 1usize..30, zero_point in 0i32..=255,
            seed in any::<u64>(), edges in any::<bool>(), halved in any::<bool>(),
            offset in prop_oneof![Just(0), -127i32..=128]
        ) {
            let mut state = seed;
            let mut next = || { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); (state >> 40) as u8 };
            // The ends of both types, where 16 bits overflow first.
            let mut value = || { let byte = next(); if edges { if byte > 127 { 255 } else { 0 } } else { byte } };
            let raw: Vec<i8> = (0..depth * columns)
                .map(|_| (value() ^ 0x80) as i8 / if halved { 2 } else { 1 })
                .collect();
            let input: Vec<u8> = (0..rows * depth).map(|_| value()).collect();
            let bias: Vec<i32> = (0..columns).map(|_| i32::from(value()) * 50 - 6_000).collect();
            let scales: Vec<f32> = (0..columns).map(|_| 0.001 + f32::from(value()) * 1e-4).collect();
            let weights = DenseWeights { weights: &raw, order: WeightOrder::Columns, depth, piece: depth, columns, bias: &bias, zero_point };
            let requantization = Requantization::new(0.02, &scales, 0.05, 7, 0, 255).unwrap();
            let expected = expected(&weights, offset, &input, &requantization);
            for table in every_available() {
                let linear = Linear::with_offset(table, &weights, offset).unwrap();
                let mut output = vec![0; rows * columns];
                linear.run(&input, rows, &mut Scratch::new(),
                    Output::Bytes { data: &mut output, stride: columns, requantization: &requantization });
                prop_assert_eq!(&output, &expected, "{}", table.isa.name());
            }
        }
    }

    #[test]
    fn floats_are_accumulators_times_multipliers() {
        let weights = [1, 2, 3, -4, 5, -6];
        let weights = DenseWeights {
            weights: &weights,
            order: WeightOrder::Columns,
            depth: 3,
            piece: 3,
            columns: 2,
            bias: &[10, 20],
            zero_point: 1,
        };
        for table in every_available() {
            let mut output = [0.0; 2];
            let to = Output::Floats { data: &mut output, multipliers: &[0.5, 2.0] };
            Linear::new(table, &weights).unwrap().run(&[1, 2, 3], 1, &mut Scratch::new(), to);
            assert_eq!(output, [(2 + 6 + 10) as f32 * 0.5, (5 - 12 + 20) as f32 * 2.0]);
        }
    }

    #[test]
    fn the_largest_depth_does_not_overflow() {
        let depth = DEPTH_MAX;
        for table in every_available() {
            let raw = vec![-128i8; depth];
            let weights = DenseWeights {
                weights: &raw,
                order: WeightOrder::Columns,
                depth,
                piece: depth,
                columns: 1,
                bias: &[],
                zero_point: 0,
            };
            let mut output = [0.0];
            let to = Output::Floats { data: &mut output, multipliers: &[1.0] };
            Linear::new(table, &weights).unwrap().run(&vec![255; depth], 1, &mut Scratch::new(), to);
            assert_eq!(output[0], -(depth as f32 * 255.0 * 128.0));
            let longer = vec![0i8; depth + 1];
            let longer = DenseWeights {
                weights: &longer,
                order: WeightOrder::Columns,
                depth: depth + 1,
                piece: depth + 1,
                columns: 1,
                bias: &[],
                zero_point: 0,
            };
            assert!(matches!(Linear::new(table, &longer), Err(KernelError::Depth { .. })));
        }
    }

    /// Where sums of two or four products are largest: one step more and 16 bits overflow.
    #[test]
    fn the_ends_of_both_types_do_not_overflow() {
        let (rows, columns) = (5, 19);
        for (depth, weight, x) in (1..20).flat_map(|depth| {
            [-128i8, -127, 127].into_iter().flat_map(move |weight| [0u8, 255].map(move |x| (depth, weight, x)))
        }) {
            let raw = vec![weight; depth * columns];
            let weights = DenseWeights {
                weights: &raw,
                order: WeightOrder::Columns,
                depth,
                piece: depth,
                columns,
                bias: &[],
                zero_point: 128,
            };
            for table in every_available() {
                let mut output = vec![0.0; rows * columns];
                let to = Output::Floats { data: &mut output, multipliers: &[1.0; 19] };
                let linear = Linear::new(table, &weights).unwrap();
                linear.run(&vec![x; rows * depth], rows, &mut Scratch::new(), to);
                let expected = depth as f32 * (f32::from(x) - 128.0) * f32::from(weight);
                assert_eq!(output, vec![expected; rows * columns], "{} {depth} {weight} {x}", table.isa.name());
            }
        }
    }

    #[test]
    fn pairs_are_safe_up_to_one_hundred_and_twenty_eight() {
        let safe = |weights: &[i8]| {
            DenseWeights {
                weights,
                order: WeightOrder::Columns,
                depth: weights.len(),
                piece: weights.len(),
                columns: 1,
                bias: &[],
                zero_point: 0,
            }
            .is_pair_safe()
        };
        assert!(safe(&[127, 1, -128, 127, -1, -127, -128]));
        assert!(!safe(&[127, 2]));
        assert!(!safe(&[-128, -1]));
        assert!(!safe(&[0, 0, 65, 64]));
    }
}
