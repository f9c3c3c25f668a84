//! AVX-512 with VNNI: four products of `u8` and `i8` a lane in one instruction, exact for all weights.

mod depthwise;

use std::arch::x86_64::*;

use crate::dense::PackedDense;
use crate::rows::Rows;
use crate::table::{DenseKernel, DepthwiseKernel};
use crate::tiles::{self, Tile, TileKernel, TileOutput, TileShape};
use crate::{Isa, Output, Scratch, Table};

pub(crate) const TABLE: Table = Table {
    isa: Isa::Avx512Vnni,
    available,
    dense: DenseKernel { pack: |weights| tiles::pack(&Vnni::SHAPE, weights), run },
    depthwise: DepthwiseKernel { pack: depthwise::pack, run: depthwise::run },
    product: super::elementwise::product::<Vnni>,
    elementwise: super::elementwise::WIDE,
    stored: super::stored::WIDE,
    float: super::floats::SIXTEEN,
};

fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

fn run(packed: &PackedDense, rows: &Rows<'_>, scratch: &mut Scratch, output: Output<'_>) {
    tiles::run::<Vnni>(packed, rows, scratch, output);
}

struct Vnni;

impl TileKernel for Vnni {
    const SHAPE: TileShape = TileShape { rows: 12, lanes: 16, vectors: 2, group: 4, wide: false };
    const SHIFTS: bool = true;

    fn run(tile: Tile<'_>) {
        tile.check(&Self::SHAPE);
        // SAFETY: the row of the table is handed out only where the CPU has these instructions, and `check` has seen
        // that everything that the tile reads and writes is inside of its slices.
        unsafe {
            match tile.vectors {
                1 => by_rows::<1>(tile),
                _ => by_rows::<2>(tile),
            }
        }
    }
}

/// The code for each height: accumulators live in registers only if their number is known.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn by_rows<const V: usize>(tile: Tile<'_>) {
    match tile.rows {
        1 => multiply::<1, V>(tile),
        2 => multiply::<2, V>(tile),
        3 => multiply::<3, V>(tile),
        4 => multiply::<4, V>(tile),
        5 => multiply::<5, V>(tile),
        6 => multiply::<6, V>(tile),
        7 => multiply::<7, V>(tile),
        8 => multiply::<8, V>(tile),
        9 => multiply::<9, V>(tile),
        10 => multiply::<10, V>(tile),
        11 => multiply::<11, V>(tile),
        12 => multiply::<12, V>(tile),
        _ => {}
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply<const R: usize, const V: usize>(tile: Tile<'_>) {
    let mut sums = [[_mm512_setzero_si512(); V]; R];
    for vector in 0..V {
        // SAFETY: `starts` has `V` vectors (`Tile::check`).
        let start = unsafe { _mm512_loadu_si512(tile.starts.as_ptr().add(16 * vector).cast()) };
        sums.iter_mut().for_each(|row| row[vector] = start);
    }
    if !tile.shifts.is_empty() {
        // As many steps as the tile has rows, a known number: the sums stay in registers.
        for (row, sums) in sums.iter_mut().enumerate() {
            let shift = _mm512_set1_epi32(tile.shifts[row]);
            sums.iter_mut().for_each(|sum| *sum = _mm512_add_epi32(*sum, shift));
        }
    }
    let mut weights = tile.weights.as_ptr();
    let step = tile.step;
    for &piece in tile.pieces {
        // Four pointers of three rows each: an address has one scaled index, and twelve pointers are too many.
        // Those beyond the tile's rows are never read.
        // SAFETY: each row's piece and its `groups` groups are inside of the input (`Tile::check`).
        let mut x: [*const u8; 4] =
            std::array::from_fn(|three| tile.input.as_ptr().wrapping_add(piece + three * 3 * step));
        for _ in 0..tile.groups {
            // SAFETY: `weights` has `V` vectors for every group of every piece (`Tile::check`).
            let columns: [__m512i; V] =
                std::array::from_fn(|vector| unsafe { _mm512_loadu_si512(weights.add(64 * vector).cast()) });
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above; four bytes of this row's group.
                let four = unsafe { x[row / 3].add(row % 3 * step).cast::<i32>().read_unaligned() };
                let four = _mm512_set1_epi32(four);
                for (sum, &columns) in sums.iter_mut().zip(&columns) {
                    *sum = _mm512_dpbusd_epi32(*sum, four, columns);
                }
            }
            weights = weights.wrapping_add(64 * V);
            x = x.map(|x| x.wrapping_add(4));
        }
    }
    // A copy: what a reference is taken of does not stay in registers in the loop above.
    let done = sums;
    store(&done, tile.to, tile.columns);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn store<const R: usize, const V: usize>(sums: &[[__m512i; V]; R], to: TileOutput<'_>, columns: usize) {
    match to {
        TileOutput::Bytes { data, stride, multipliers, zero_point, low, high } => {
            let requantize = Requantize::new(zero_point, low, high);
            // SAFETY: `multipliers` has `V` vectors (`Tile::check`).
            let multipliers: [__m512; V] =
                std::array::from_fn(|vector| unsafe { _mm512_loadu_ps(multipliers.as_ptr().add(16 * vector)) });
            // Four vectors at a time: of four rows, or of two rows with two each.
            for first in (0..R * V).step_by(4) {
                let four = std::array::from_fn(|slot| {
                    let place = (first + slot).min(R * V - 1);
                    requantize.integers(sums[place / V][place % V], multipliers[place % V])
                });
                let bytes = requantize.bytes(four);
                let four = [
                    _mm512_castsi512_si128(bytes),
                    _mm512_extracti32x4_epi32::<1>(bytes),
                    _mm512_extracti32x4_epi32::<2>(bytes),
                    _mm512_extracti32x4_epi32::<3>(bytes),
                ];
                for (slot, bytes) in four.into_iter().enumerate().take(R * V - first) {
                    let (row, vector) = ((first + slot) / V, (first + slot) % V);
                    let left = columns.saturating_sub(16 * vector);
                    // SAFETY: `data` has `columns` bytes in every row (`Tile::check`). A whole store is many times
                    // faster than one through a mask.
                    unsafe {
                        let place = data.as_mut_ptr().add(row * stride + 16 * vector);
                        if left >= 16 {
                            _mm_storeu_si128(place.cast(), bytes);
                        } else {
                            _mm_mask_storeu_epi8(place.cast(), ((1u32 << left) - 1) as __mmask16, bytes);
                        }
                    }
                }
            }
        }
        TileOutput::Sums { data, stride } => {
            for (row, sums) in sums.iter().enumerate() {
                for (vector, &sums) in sums.iter().enumerate() {
                    let left = columns.saturating_sub(16 * vector).min(16);
                    // SAFETY: as above, in elements of four bytes.
                    unsafe {
                        let place = data.as_mut_ptr().add(row * stride + 16 * vector);
                        _mm512_mask_storeu_epi32(place, ((1u32 << left) - 1) as __mmask16, sums);
                    }
                }
            }
        }
    }
}

/// The one arithmetic of [`Requantization`](crate::Requantization), sixteen accumulators at a time.
///
/// The upper bound is applied before rounding, because a float that is too large for an integer becomes the smallest
/// integer; the lower one after it, on bytes: all bounds are integers, so rounding does not cross them.
struct Requantize {
    zero_point: __m512i,
    lowest: __m512i,
    high: __m512,
}

impl Requantize {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn new(zero_point: i32, low: f32, high: f32) -> Self {
        // From 0 to 255.
        let lowest = (low as i32 + zero_point) as i8;
        Self {
            zero_point: _mm512_set1_epi16(zero_point as i16),
            lowest: _mm512_set1_epi8(lowest),
            high: _mm512_set1_ps(high),
        }
    }

    /// Rounded products, bounded above.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn integers(&self, sums: __m512i, multipliers: __m512) -> __m512i {
        let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), multipliers);
        // Rounds half to even: Rust never changes the rounding of the CPU.
        _mm512_cvtps_epi32(_mm512_min_ps(product, self.high))
    }

    /// Four vectors of integers, bytes in the order of the quarters: quarter q has the q-th four lanes of each.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn quarters(&self, [a, b, c, d]: [__m512i; 4]) -> __m512i {
        let words = [_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d)];
        let words = words.map(|words| _mm512_adds_epi16(words, self.zero_point));
        _mm512_max_epu8(_mm512_packus_epi16(words[0], words[1]), self.lowest)
    }

    /// The same, one vector's sixteen after the other's.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn bytes(&self, four: [__m512i; 4]) -> __m512i {
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        _mm512_permutexvar_epi32(order, self.quarters(four))
    }
}
