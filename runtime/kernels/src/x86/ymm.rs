//! What the levels with vectors of 32 bytes share: the loop over a tile, how it begins and how it is written.

use std::arch::x86_64::*;

use crate::tiles::{Tile, TileOutput};

/// Calls the code for a tile's height and width: accumulators live in registers only if their number is known.
macro_rules! by_height {
    ($multiply:ident, $tile:ident) => {
        match ($tile.rows, $tile.vectors) {
            (1, 1) => $multiply::<1, 1>($tile),
            (2, 1) => $multiply::<2, 1>($tile),
            (3, 1) => $multiply::<3, 1>($tile),
            (4, 1) => $multiply::<4, 1>($tile),
            (5, 1) => $multiply::<5, 1>($tile),
            (6, 1) => $multiply::<6, 1>($tile),
            (1, _) => $multiply::<1, 2>($tile),
            (2, _) => $multiply::<2, 2>($tile),
            (3, _) => $multiply::<3, 2>($tile),
            (4, _) => $multiply::<4, 2>($tile),
            (5, _) => $multiply::<5, 2>($tile),
            (6, _) => $multiply::<6, 2>($tile),
            _ => {}
        }
    };
}
pub(super) use by_height;

/// The loop over a tile of 32-byte vectors. An activation group is four bytes of a row, broadcast to every lane; a lane
/// of weights is `$lane` bytes, brought into a vector by `$load`, and `$add` adds a group's products to the sums.
macro_rules! tile_of_rows {
    ($name:ident, $features:literal, $input:ident, $group:literal, $lane:literal, $load:expr, $add:expr) => {
        #[target_feature(enable = $features)]
        fn $name<const R: usize, const V: usize>(tile: Tile<'_>) {
            let mut sums = ymm::starts::<R, V>(&tile);
            let mut weights = tile.weights.as_ptr();
            for &piece in tile.pieces {
                // Two pointers of three rows each: an address has one scaled index. The second may be beyond the
                // tile's rows, and is not read then.
                let mut x: [_; 2] =
                    std::array::from_fn(|three| tile.$input.as_ptr().wrapping_add(piece + three * 3 * tile.step));
                for _ in 0..tile.groups {
                    let columns: [__m256i; V] = std::array::from_fn(|vector| {
                        let lanes = weights.wrapping_add(8 * $lane * vector);
                        // SAFETY: `weights` has `V` vectors for every group of every piece (`Tile::check`).
                        unsafe { $load(lanes.cast()) }
                    });
                    for (row, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: each row's piece and its `groups` groups are inside of the input (`Tile::check`).
                        let group = unsafe { x[row / 3].add(row % 3 * tile.step).cast::<i32>().read_unaligned() };
                        let group = _mm256_set1_epi32(group);
                        for (sum, &columns) in sums.iter_mut().zip(&columns) {
                            *sum = $add(*sum, group, columns);
                        }
                    }
                    weights = weights.wrapping_add(8 * $lane * V);
                    x = x.map(|x| x.wrapping_add($group));
                }
            }
            // A copy: what a reference is taken of does not stay in registers in the loop above.
            let done = sums;
            ymm::store(&done, tile.to, tile.columns);
        }
    };
}
pub(super) use tile_of_rows;

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn starts<const R: usize, const V: usize>(tile: &Tile<'_>) -> [[__m256i; V]; R] {
    // SAFETY: `starts` has `V` vectors (`Tile::check`).
    let row = std::array::from_fn(|vector| unsafe { _mm256_loadu_si256(tile.starts.as_ptr().add(8 * vector).cast()) });
    let mut rows = [row; R];
    if !tile.shifts.is_empty() {
        // As many steps as the tile has rows, a known number: the sums stay in registers.
        for (row, sums) in rows.iter_mut().enumerate() {
            let shift = _mm256_set1_epi32(tile.shifts[row]);
            sums.iter_mut().for_each(|sum| *sum = _mm256_add_epi32(*sum, shift));
        }
    }
    rows
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn store<const R: usize, const V: usize>(sums: &[[__m256i; V]; R], to: TileOutput<'_>, columns: usize) {
    match to {
        TileOutput::Bytes { data, stride, multipliers, zero_point, low, high } => {
            let requantize = Requantize::new(zero_point, low, high);
            // SAFETY: `multipliers` has `V` vectors (`Tile::check`).
            let multipliers: [__m256; V] =
                std::array::from_fn(|vector| unsafe { _mm256_loadu_ps(multipliers.as_ptr().add(8 * vector)) });
            for (row, sums) in sums.iter().enumerate() {
                for vector in 0..V {
                    let bytes = requantize.bytes(sums[vector], multipliers[vector]);
                    let place = &mut data[row * stride..];
                    if columns >= 8 * vector + 8 {
                        place[8 * vector..8 * vector + 8].copy_from_slice(&bytes.to_le_bytes());
                    } else if columns > 8 * vector {
                        let left = columns - 8 * vector;
                        place[8 * vector..columns].copy_from_slice(&bytes.to_le_bytes()[..left]);
                    }
                }
            }
        }
        TileOutput::Sums { data, stride } => {
            for (row, sums) in sums.iter().enumerate() {
                for vector in 0..V {
                    let mut eight = [0i32; 8];
                    // SAFETY: eight accumulators go into eight.
                    unsafe { _mm256_storeu_si256(eight.as_mut_ptr().cast(), sums[vector]) };
                    let left = columns.saturating_sub(8 * vector).min(8);
                    data[row * stride + 8 * vector..][..left].copy_from_slice(&eight[..left]);
                }
            }
        }
    }
}

/// The one arithmetic of [`Requantization`](crate::Requantization), eight accumulators at a time.
pub(super) struct Requantize {
    zero_point: __m256i,
    low: __m256,
    high: __m256,
}

impl Requantize {
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn new(zero_point: i32, low: f32, high: f32) -> Self {
        Self { zero_point: _mm256_set1_epi32(zero_point), low: _mm256_set1_ps(low), high: _mm256_set1_ps(high) }
    }

    /// Eight integers from 0 to 255.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn integers(&self, sums: __m256i, multipliers: __m256) -> __m256i {
        let product = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), multipliers);
        let bounded = _mm256_min_ps(_mm256_max_ps(product, self.low), self.high);
        // Rounds half to even: Rust never changes the rounding of the CPU.
        _mm256_add_epi32(_mm256_cvtps_epi32(bounded), self.zero_point)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn bytes(&self, sums: __m256i, multipliers: __m256) -> u64 {
        let integers = self.integers(sums, multipliers);
        let halves = _mm_packs_epi32(_mm256_castsi256_si128(integers), _mm256_extracti128_si256::<1>(integers));
        _mm_cvtsi128_si64(_mm_packus_epi16(halves, halves)) as u64
    }
}
