//! Rows times one panel of weights.

use std::mem::MaybeUninit;

use super::{Vector, each_below, load_some, store_some};
use crate::floats::FloatTile;

/// Rows that share a pointer: an address has one scaled index, and a pointer for each row is too many.
const ROWS_EACH: usize = 3;
/// The largest tile of any instruction set, in accumulators.
const SUMS_MAX: usize = 12 * 32;
/// Pointers of the highest tile.
const POINTERS: usize = 4;

/// Multiplies a tile of `R` rows and `N` vectors.
///
/// # Safety
///
/// `tile` has `R` rows, 12 at most, and `N` vectors, and has been checked; and see [`Vector`].
#[inline(always)]
pub(crate) unsafe fn multiply<V: Vector, const R: usize, const N: usize>(tile: FloatTile<'_>) {
    const { assert!(R * N * V::LANES <= SUMS_MAX && R <= ROWS_EACH * POINTERS) };
    // SAFETY: starts and weights have `N` vectors, and `N` for every product; each row's pieces are inside of the input
    // (`FloatTile::check`). Pointers beyond the tile's rows are never read.
    unsafe {
        let mut start = [V::splat(0.0); N];
        for (vector, start) in start.iter_mut().enumerate() {
            *start = V::load(tile.starts.as_ptr().add(V::LANES * vector));
        }
        let mut sums = [start; R];
        let mut weights = tile.weights.as_ptr();
        let step = tile.step;
        for &piece in tile.pieces {
            let from = tile.input.as_ptr().wrapping_add(piece);
            let mut x = [from; POINTERS];
            for (number, x) in x.iter_mut().enumerate() {
                *x = from.wrapping_add(number * ROWS_EACH * step);
            }
            for _ in 0..tile.piece {
                let mut columns = [V::splat(0.0); N];
                for (vector, columns) in columns.iter_mut().enumerate() {
                    *columns = V::load(weights.add(V::LANES * vector));
                }
                each_below!(R, row => {
                    let one = V::splat(*x[row / ROWS_EACH].add(row % ROWS_EACH * step));
                    for (sum, columns) in sums[row].iter_mut().zip(&columns) {
                        *sum = columns.mul_add(one, *sum);
                    }
                });
                weights = weights.add(V::LANES * N);
                for x in x.iter_mut() {
                    *x = x.wrapping_add(1);
                }
            }
        }
        // By way of memory: the loop over rows in `finish` need not be unrolled for that.
        let mut written = MaybeUninit::<[f32; SUMS_MAX]>::uninit();
        let place = written.as_mut_ptr().cast::<f32>();
        each_below!(R, row => {
            for (vector, sum) in sums[row].iter().enumerate() {
                sum.store(place.add((row * N + vector) * V::LANES));
            }
        });
        finish::<V, R, N>(place, tile);
    }
}

/// Adds, bounds and writes the `R` rows of `N` vectors from `sums` on.
#[inline(always)]
unsafe fn finish<V: Vector, const R: usize, const N: usize>(sums: *const f32, tile: FloatTile<'_>) {
    // SAFETY: every row's columns are inside of the output, and of what is added (`FloatTile::check`); no lane beyond
    // the tile's columns is read or written.
    unsafe {
        let (low, high) = (V::splat(tile.low), V::splat(tile.high));
        let to = tile.data.as_mut_ptr();
        for row in 0..R {
            for vector in 0..N {
                let first = V::LANES * vector;
                let count = tile.columns.saturating_sub(first);
                if count == 0 {
                    break;
                }
                let at = row * tile.stride + first;
                let mut sum = V::load(sums.add((row * N + vector) * V::LANES));
                if let Some(added) = tile.added {
                    sum = sum.add(load_some(added.as_ptr().add(at), count));
                }
                store_some(sum.clamp(low, high), to.add(at), count);
            }
        }
    }
}
