//! Rows times weights in plain Rust.
//!
//! Weights are widened to `i16` and laid in panels of 32 columns, two of the depth beside each other, which LLVM
//! turns into `pmaddwd` on any x86-64 (19 billion products a second where the obvious loop over columns reaches 5;
//! panels of 8 or 16 columns are unrolled before the vectorizer sees them, and are slow). Columns that fill no
//! panel are dot products, four at a time (16 billion).

use crate::dense::{DenseForm, PackedDense};
use crate::rows::Rows;
use crate::scratch::room;
use crate::{DenseWeights, KernelError, Output, Scratch};

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
    weights.for_columns(1, |columns, weights| {
        let column = columns.start;
        let widened = weights.iter().map(|&weight| i16::from(weight));
        if column < whole {
            let places = &mut panels[column / PANEL * PANEL * padded..][..PANEL * padded];
            let pairs = places.chunks_exact_mut(2 * PANEL);
            let places = pairs.flat_map(|pair| &mut pair[2 * (column % PANEL)..][..2]);
            places.zip(widened).for_each(|(place, weight)| *place = weight);
        } else {
            let places = &mut rest[(column - whole) * padded..][..depth];
            places.iter_mut().zip(widened).for_each(|(place, weight)| *place = weight);
        }
    });
    Ok(PackedDense {
        depth,
        piece: weights.piece,
        columns,
        starts: weights.starts(),
        form: DenseForm::Pairs { panels, rest },
    })
}

pub(super) fn run(packed: &PackedDense, rows: &Rows<'_>, scratch: &mut Scratch, mut output: Output<'_>) {
    let DenseForm::Pairs { panels, rest } = &packed.form else { return };
    let padded = padded(packed.depth);
    if packed.depth == 0 {
        (0..rows.lines * rows.count).for_each(|row| output.write(row, 0, packed.columns, &packed.starts));
        return;
    }
    let block_rows = (BLOCK_BYTES / (2 * padded)).max(1);
    for line in 0..rows.lines {
        for first in (0..rows.count).step_by(block_rows) {
            let count = block_rows.min(rows.count - first);
            let wide = room(&mut scratch.wide, count * padded);
            for (row, wide) in wide.chunks_exact_mut(padded).enumerate() {
                widen(
                    &rows.input[line * rows.line_step + (first + row) * rows.step..],
                    rows.pieces,
                    packed.piece,
                    wide,
                );
            }
            let row = line * rows.count + first;
            panel_columns(packed, panels, wide, row, &mut output);
            rest_columns(packed, rest, wide, row, &mut output);
        }
    }
}

/// `wide` may be one longer than all pieces; its weight is zero there, so its value is of no consequence.
fn widen(row: &[u8], pieces: &[usize], length: usize, wide: &mut [i16]) {
    for (wide, &piece) in wide.chunks_mut(length).zip(pieces) {
        for (place, &byte) in wide.iter_mut().zip(&row[piece..piece + length]) {
            *place = i16::from(byte);
        }
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
