//! Rows times weights in plain Rust.
//!
//! Weights are widened to `i16` and laid in panels of 32 columns, two of the depth beside each other, which LLVM
//! turns into `pmaddwd` on any x86-64 (19 billion products a second where the obvious loop over columns reaches 5;
//! panels of 8 or 16 columns are unrolled before the vectorizer sees them, and are slow). Columns that fill no
//! panel are dot products, four at a time (16 billion).

use crate::dense::DenseForm;
use crate::scratch::room;
use crate::{DenseWeights, KernelError, Output, PackedDense, Scratch};

/// Columns of one panel.
const PANEL: usize = 32;
/// Columns of the rest that share one pass over a row.
const TOGETHER: usize = 4;
/// Bytes of widened input worked on at once, so that it stays in the first-level cache with one panel.
const BLOCK_BYTES: usize = 16 << 10;

fn padded(depth: usize) -> usize {
    depth.next_multiple_of(2)
}

pub(super) fn pack(weights: &DenseWeights<'_>) -> Result<PackedDense, KernelError> {
    weights.check()?;
    let (depth, columns) = (weights.depth, weights.columns);
    let padded = padded(depth);
    let whole = columns / PANEL * PANEL;
    let mut panels = vec![0; whole * padded];
    let mut rest = vec![0; (columns - whole).next_multiple_of(TOGETHER) * padded];
    for column in 0..columns {
        for k in 0..depth {
            let weight = i16::from(weights.weights[column * depth + k]);
            if column < whole {
                let (panel, lane) = (column / PANEL, column % PANEL);
                panels[panel * PANEL * padded + k / 2 * 2 * PANEL + 2 * lane + k % 2] = weight;
            } else {
                rest[(column - whole) * padded + k] = weight;
            }
        }
    }
    Ok(PackedDense { depth, columns, starts: weights.starts(), form: DenseForm::Pairs { panels, rest } })
}

pub(super) fn run(packed: &PackedDense, input: &[u8], rows: usize, scratch: &mut Scratch, mut output: Output<'_>) {
    let DenseForm::Pairs { panels, rest } = &packed.form;
    let (depth, padded) = (packed.depth, padded(packed.depth));
    if depth == 0 {
        (0..rows).for_each(|row| output.write(row, 0, packed.columns, &packed.starts));
        return;
    }
    let block_rows = (BLOCK_BYTES / (2 * padded)).max(1);
    for (block, bytes) in input[..rows * depth].chunks(block_rows * depth).enumerate() {
        let wide = room(&mut scratch.wide, bytes.len() / depth * padded);
        for (wide, bytes) in wide.chunks_exact_mut(padded).zip(bytes.chunks_exact(depth)) {
            widen(bytes, wide);
        }
        let row = block * block_rows;
        panel_columns(packed, panels, wide, row, &mut output);
        rest_columns(packed, rest, wide, row, &mut output);
    }
}

/// `wide` may be one longer; its weight is zero there, so its value is of no consequence.
fn widen(bytes: &[u8], wide: &mut [i16]) {
    for (place, &byte) in wide.iter_mut().zip(bytes) {
        *place = i16::from(byte);
    }
}

fn panel_columns(packed: &PackedDense, panels: &[i16], wide: &[i16], first_row: usize, output: &mut Output<'_>) {
    let padded = padded(packed.depth);
    for (panel, weights) in panels.chunks_exact(PANEL * padded).enumerate() {
        let column = panel * PANEL;
        let starts = &packed.starts[column..column + PANEL];
        for (row, x) in wide.chunks_exact(padded).enumerate() {
            let sums = panel_sums(starts, weights, x);
            output.write(first_row + row, column, packed.columns, &sums);
        }
    }
}

#[inline(always)]
fn panel_sums(starts: &[i32], weights: &[i16], x: &[i16]) -> [i32; PANEL] {
    let mut sums = [0; PANEL];
    sums.copy_from_slice(starts);
    for (x, weights) in x.chunks_exact(2).zip(weights.chunks_exact(2 * PANEL)) {
        let (first, second) = (i32::from(x[0]), i32::from(x[1]));
        for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(2)) {
            let pair =
                first.wrapping_mul(i32::from(weights[0])).wrapping_add(second.wrapping_mul(i32::from(weights[1])));
            *sum = sum.wrapping_add(pair);
        }
    }
    sums
}

fn rest_columns(packed: &PackedDense, rest: &[i16], wide: &[i16], first_row: usize, output: &mut Output<'_>) {
    let padded = padded(packed.depth);
    let first = packed.columns / PANEL * PANEL;
    let starts = &packed.starts[first..];
    if starts.is_empty() {
        return;
    }
    for (row, x) in wide.chunks_exact(padded).enumerate() {
        let mut sums = [0; PANEL];
        sums[..starts.len()].copy_from_slice(starts);
        for (sums, weights) in sums.chunks_exact_mut(TOGETHER).zip(rest.chunks_exact(TOGETHER * padded)) {
            add_products(sums, weights, x);
        }
        output.write(first_row + row, first, packed.columns, &sums[..starts.len()]);
    }
}

/// Adds the dot products of `x` with four rows of weights.
#[inline(always)]
fn add_products(sums: &mut [i32], weights: &[i16], x: &[i16]) {
    let (a, rest) = weights.split_at(x.len());
    let (b, rest) = rest.split_at(x.len());
    let (c, d) = rest.split_at(x.len());
    let mut dots = [0i32; TOGETHER];
    for ((((&x, &a), &b), &c), &d) in x.iter().zip(a).zip(b).zip(c).zip(d) {
        let x = i32::from(x);
        dots[0] = dots[0].wrapping_add(x.wrapping_mul(i32::from(a)));
        dots[1] = dots[1].wrapping_add(x.wrapping_mul(i32::from(b)));
        dots[2] = dots[2].wrapping_add(x.wrapping_mul(i32::from(c)));
        dots[3] = dots[3].wrapping_add(x.wrapping_mul(i32::from(d)));
    }
    for (sum, dot) in sums.iter_mut().zip(dots) {
        *sum = sum.wrapping_add(dot);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Requantization;

    /// The definition, one product after the other.
    fn expected(weights: &DenseWeights<'_>, input: &[u8], requantization: &Requantization) -> Vec<u8> {
        let mut output = Vec::new();
        for x in input.chunks_exact(weights.depth) {
            for column in 0..weights.columns {
                let filter = &weights.weights[column * weights.depth..][..weights.depth];
                let products =
                    x.iter().zip(filter).map(|(&x, &w)| (i64::from(x) - i64::from(weights.zero_point)) * i64::from(w));
                let sum = products.sum::<i64>() + i64::from(weights.bias.get(column).copied().unwrap_or(0));
                output.push(requantization.apply(i32::try_from(sum).unwrap(), column));
            }
        }
        output
    }

    proptest! {
        #[test]
        fn it_is_the_sum_of_products(
            depth in 1usize..70, columns in 1usize..100, rows in 1usize..5, zero_point in 0i32..=255, seed in any::<u64>()
        ) {
            let mut state = seed;
            let mut next = || { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); (state >> 40) as u8 };
            let raw: Vec<i8> = (0..depth * columns).map(|_| next() as i8).collect();
            let input: Vec<u8> = (0..rows * depth).map(|_| next()).collect();
            let bias: Vec<i32> = (0..columns).map(|_| i32::from(next()) * 50 - 6_000).collect();
            let scales: Vec<f32> = (0..columns).map(|_| 0.001 + f32::from(next()) * 1e-4).collect();
            let weights = DenseWeights { weights: &raw, depth, columns, bias: &bias, zero_point };
            let requantization = Requantization::new(0.02, &scales, 0.05, 7, 0, 255).unwrap();
            let packed = pack(&weights).unwrap();
            let mut output = vec![0; rows * columns];
            run(&packed, &input, rows, &mut Scratch::new(),
                Output::Bytes { data: &mut output, stride: columns, requantization: &requantization });
            prop_assert_eq!(output, expected(&weights, &input, &requantization));
        }
    }

    #[test]
    fn floats_are_accumulators_times_multipliers() {
        let weights =
            DenseWeights { weights: &[1, 2, 3, -4, 5, -6], depth: 3, columns: 2, bias: &[10, 20], zero_point: 1 };
        let packed = pack(&weights).unwrap();
        let mut output = [0.0; 2];
        run(
            &packed,
            &[1, 2, 3],
            1,
            &mut Scratch::new(),
            Output::Floats { data: &mut output, multipliers: &[0.5, 2.0] },
        );
        assert_eq!(output, [(2 + 6 + 10) as f32 * 0.5, (5 - 12 + 20) as f32 * 2.0]);
    }

    #[test]
    fn the_largest_depth_does_not_overflow() {
        let depth = crate::DEPTH_MAX;
        let raw = vec![-128i8; depth];
        let weights = DenseWeights { weights: &raw, depth, columns: 1, bias: &[], zero_point: 0 };
        let mut output = [0.0];
        let packed = pack(&weights).unwrap();
        run(
            &packed,
            &vec![255; depth],
            1,
            &mut Scratch::new(),
            Output::Floats { data: &mut output, multipliers: &[1.0] },
        );
        assert_eq!(output[0], -(depth as f32 * 255.0 * 128.0));
        let longer = vec![0i8; depth + 1];
        let refused = pack(&DenseWeights { weights: &longer, depth: depth + 1, columns: 1, bias: &[], zero_point: 0 });
        assert!(matches!(refused, Err(KernelError::Depth { .. })));
    }
}
