//! NEON: products of two bytes in 16 bits, added in pairs to 32 bits.
//!
//! Activations become signed by flipping their highest bit, which makes them 128 less ([`pack_signed`]). One product
//! of two signed bytes fits 16 bits always. The sum of two fits unless both are -128 * -128: weights of which none is
//! -128, found out while packing, take the kernel that adds two products before it widens them.

mod depthwise;

use std::arch::aarch64::*;

use super::{by_height, pack_signed};
use crate::dense::{DenseForm, PackedDense};
use crate::rows::Rows;
use crate::table::{DenseKernel, DepthwiseKernel};
use crate::tiles::{self, Tile, TileKernel, TileOutput, TileShape};
use crate::{DenseWeights, Isa, KernelError, Output, Product, Scratch, Table};

pub(crate) const TABLE: Table = Table {
    isa: Isa::Neon,
    available: || std::arch::is_aarch64_feature_detected!("neon"),
    dense: DenseKernel { pack, run },
    depthwise: DepthwiseKernel { pack: crate::scalar::depthwise::pack, run: depthwise::run },
    product: Product::run_plain,
    elementwise: super::ELEMENTWISE,
    stored: super::STORED,
    // The compiler's vectors: every CPU of this architecture has them.
    float: crate::floats::lanes::SCALAR,
};

fn pack(weights: &DenseWeights<'_>) -> Result<PackedDense, KernelError> {
    if weights.weights.contains(&i8::MIN) {
        return pack_signed(&Singles::SHAPE, weights);
    }
    let mut packed = pack_signed(&Pairs::SHAPE, weights)?;
    if let DenseForm::Tiles { weights, .. } = &mut packed.form {
        weights.chunks_exact_mut(8 * 4).for_each(by_pairs);
    }
    Ok(packed)
}

/// From four weights of eight columns, column by column, to the first two of each column and then the last two.
fn by_pairs(weights: &mut [i8]) {
    let before = weights.to_vec();
    for (column, four) in before.chunks_exact(4).enumerate() {
        weights[2 * column..][..2].copy_from_slice(&four[..2]);
        weights[16 + 2 * column..][..2].copy_from_slice(&four[2..]);
    }
}

fn run(packed: &PackedDense, rows: &Rows<'_>, scratch: &mut Scratch, output: Output<'_>) {
    match packed.form {
        DenseForm::Tiles { group: 2, .. } => tiles::run::<Singles>(packed, rows, scratch, output),
        _ => tiles::run::<Pairs>(packed, rows, scratch, output),
    }
}

/// For weights from -127 to 127.
struct Pairs;

impl TileKernel for Pairs {
    // A fourth row would not fit the registers beside the products of two steps.
    const SHAPE: TileShape = TileShape { rows: 3, lanes: 8, vectors: 2, group: 4, wide: false };
    const SHIFTS: bool = false;

    fn run(tile: Tile<'_>) {
        tile.check(&Self::SHAPE);
        // SAFETY: the row of the table is handed out only where the CPU has these instructions, and `check` has seen
        // that everything that the tile reads and writes is inside of its slices.
        unsafe { by_height!(multiply_pairs, tile, tile.rows, [1 2 3]) }
    }
}

/// For any weights.
struct Singles;

impl TileKernel for Singles {
    const SHAPE: TileShape = TileShape { rows: 4, lanes: 8, vectors: 2, group: 2, wide: false };
    const SHIFTS: bool = false;

    fn run(tile: Tile<'_>) {
        tile.check(&Self::SHAPE);
        // SAFETY: as above.
        unsafe { by_height!(multiply_singles, tile, tile.rows, [1 2 3 4]) }
    }
}

/// Eight accumulators: one vector of a tile.
pub(super) type Eight = [int32x4_t; 2];

/// # Safety
///
/// `tile` must have passed [`Tile::check`].
#[target_feature(enable = "neon")]
unsafe fn multiply_pairs<const R: usize, const V: usize>(mut tile: Tile<'_>) {
    let mut sums = starts::<R, V>(&tile);
    let mut weights = tile.weights.as_ptr();
    // Adds the products of one group, whose activations are the named two of the four pairs in each of `x`.
    macro_rules! add_group {
        ($x:ident, $first:literal, $second:literal) => {
            // SAFETY: `weights` has `V` times two vectors for every group of every piece (`Tile::check`).
            let columns: [[int8x16_t; 2]; V] = std::array::from_fn(|vector| unsafe {
                [vld1q_s8(weights.add(32 * vector)), vld1q_s8(weights.add(32 * vector + 16))]
            });
            for (sums, &x) in sums.iter_mut().zip(&$x) {
                let first = vreinterpretq_s8_s16(vdupq_lane_s16::<$first>(x));
                let second = vreinterpretq_s8_s16(vdupq_lane_s16::<$second>(x));
                for (sums, &[a, b]) in sums.iter_mut().zip(&columns) {
                    let low = vmull_s8(vget_low_s8(first), vget_low_s8(a));
                    let low = vmlal_s8(low, vget_low_s8(second), vget_low_s8(b));
                    let high = vmlal_high_s8(vmull_high_s8(first, a), second, b);
                    *sums = [vpadalq_s16(sums[0], low), vpadalq_s16(sums[1], high)];
                }
            }
            weights = weights.wrapping_add(32 * V);
        };
    }
    for &piece in tile.pieces {
        let mut from: [*const u8; R] = row_pointers(&tile, piece);
        for _ in 0..tile.groups / 2 {
            // SAFETY: each row's piece and its `groups` groups are inside of the input (`Tile::check`).
            let x: [int16x4_t; R] = std::array::from_fn(|row| signed(unsafe { vld1_u8(from[row]) }));
            add_group!(x, 0, 1);
            add_group!(x, 2, 3);
            from = from.map(|from| from.wrapping_add(8));
        }
        if tile.groups % 2 == 1 {
            // SAFETY: as above; the last four bytes.
            let four = |from: *const u8| unsafe { from.cast::<u32>().read_unaligned() };
            let x: [int16x4_t; R] = from.map(|from| signed(vreinterpret_u8_u32(vdup_n_u32(four(from)))));
            add_group!(x, 0, 1);
        }
    }
    // SAFETY: the tile's own rows.
    unsafe { store(&{ sums }, 0, &mut tile.to, tile.columns) };
}

/// # Safety
///
/// `tile` must have passed [`Tile::check`].
#[target_feature(enable = "neon")]
unsafe fn multiply_singles<const R: usize, const V: usize>(mut tile: Tile<'_>) {
    let mut sums = starts::<R, V>(&tile);
    let mut weights = tile.weights.as_ptr();
    // Adds the products of one group, whose activations are the named one of the four pairs in each of `x`.
    macro_rules! add_group {
        ($x:ident, $pair:literal) => {
            // SAFETY: `weights` has `V` vectors for every group of every piece (`Tile::check`).
            let columns: [int8x16_t; V] = std::array::from_fn(|vector| unsafe { vld1q_s8(weights.add(16 * vector)) });
            for (sums, &x) in sums.iter_mut().zip(&$x) {
                let pair = vreinterpretq_s8_s16(vdupq_lane_s16::<$pair>(x));
                for (sums, &columns) in sums.iter_mut().zip(&columns) {
                    let low = vmull_s8(vget_low_s8(pair), vget_low_s8(columns));
                    let high = vmull_high_s8(pair, columns);
                    *sums = [vpadalq_s16(sums[0], low), vpadalq_s16(sums[1], high)];
                }
            }
            weights = weights.wrapping_add(16 * V);
        };
    }
    for &piece in tile.pieces {
        let mut from: [*const u8; R] = row_pointers(&tile, piece);
        for _ in 0..tile.groups / 4 {
            // SAFETY: each row's piece and its `groups` groups are inside of the input (`Tile::check`).
            let x: [int16x4_t; R] = std::array::from_fn(|row| signed(unsafe { vld1_u8(from[row]) }));
            add_group!(x, 0);
            add_group!(x, 1);
            add_group!(x, 2);
            add_group!(x, 3);
            from = from.map(|from| from.wrapping_add(8));
        }
        for _ in 0..tile.groups % 4 {
            // SAFETY: as above; two bytes.
            let two = |from: *const u8| unsafe { from.cast::<u16>().read_unaligned() };
            let x: [int16x4_t; R] = from.map(|from| signed(vreinterpret_u8_u16(vdup_n_u16(two(from)))));
            add_group!(x, 0);
            from = from.map(|from| from.wrapping_add(2));
        }
    }
    // SAFETY: the tile's own rows.
    unsafe { store(&{ sums }, 0, &mut tile.to, tile.columns) };
}

/// Eight stored bytes less 128, as four pairs.
#[inline]
#[target_feature(enable = "neon")]
fn signed(stored: uint8x8_t) -> int16x4_t {
    vreinterpret_s16_u8(veor_u8(stored, vdup_n_u8(0x80)))
}

/// Where each row's piece begins. A row beyond the tile's last is the last one.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn row_pointers<const R: usize>(tile: &Tile<'_>, piece: usize) -> [*const u8; R] {
    let last = tile.rows.saturating_sub(1);
    std::array::from_fn(|row| tile.input.as_ptr().wrapping_add(piece + row.min(last) * tile.step))
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn starts<const R: usize, const V: usize>(tile: &Tile<'_>) -> [[Eight; V]; R] {
    // SAFETY: `starts` has `V` vectors (`Tile::check`).
    let four = |at: usize| unsafe { vld1q_s32(tile.starts.as_ptr().add(at)) };
    let row = std::array::from_fn(|vector| [four(8 * vector), four(8 * vector + 4)]);
    [row; R]
}

/// Writes rows from the tile's row `first` on.
///
/// # Safety
///
/// The tile must have passed [`Tile::check`] and have these rows and `V` vectors.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn store<const V: usize>(rows: &[[Eight; V]], first: usize, to: &mut TileOutput<'_>, columns: usize) {
    match to {
        TileOutput::Bytes { data, stride, multipliers, zero_point, low, high } => {
            let requantize = Requantize::new(*zero_point, *low, *high);
            // SAFETY: `multipliers` has `V` vectors (`Tile::check`).
            let four = |at: usize| unsafe { vld1q_f32(multipliers.as_ptr().add(at)) };
            let multipliers: [[float32x4_t; 2]; V] =
                std::array::from_fn(|vector| [four(8 * vector), four(8 * vector + 4)]);
            for (row, sums) in rows.iter().enumerate() {
                let place = (first + row) * *stride;
                for vector in 0..V {
                    let bytes = requantize.bytes(sums[vector], multipliers[vector]);
                    if columns >= 8 * vector + 8 {
                        // SAFETY: `data` has `columns` bytes in every row (`Tile::check`).
                        unsafe { vst1_u8(data.as_mut_ptr().add(place + 8 * vector), bytes) };
                    } else if columns > 8 * vector {
                        let bytes = vget_lane_u64::<0>(vreinterpret_u64_u8(bytes)).to_le_bytes();
                        let left = columns - 8 * vector;
                        data[place + 8 * vector..place + columns].copy_from_slice(&bytes[..left]);
                    }
                }
            }
        }
        TileOutput::Sums { data, stride } => {
            for (row, sums) in rows.iter().enumerate() {
                for vector in 0..V {
                    let mut eight = [0i32; 8];
                    // SAFETY: two times four accumulators go into eight.
                    unsafe {
                        vst1q_s32(eight.as_mut_ptr(), sums[vector][0]);
                        vst1q_s32(eight.as_mut_ptr().add(4), sums[vector][1]);
                    }
                    let left = columns.saturating_sub(8 * vector).min(8);
                    data[(first + row) * *stride + 8 * vector..][..left].copy_from_slice(&eight[..left]);
                }
            }
        }
    }
}

/// The one arithmetic of [`Requantization`](crate::Requantization), eight accumulators at a time.
pub(super) struct Requantize {
    zero_point: int32x4_t,
    low: float32x4_t,
    high: float32x4_t,
}

impl Requantize {
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn new(zero_point: i32, low: f32, high: f32) -> Self {
        Self { zero_point: vdupq_n_s32(zero_point), low: vdupq_n_f32(low), high: vdupq_n_f32(high) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn integers(&self, sums: int32x4_t, multipliers: float32x4_t) -> int32x4_t {
        let product = vmulq_f32(vcvtq_f32_s32(sums), multipliers);
        // No product is NaN: multipliers are finite.
        let bounded = vminq_f32(vmaxq_f32(product, self.low), self.high);
        // Rounds half to even.
        vaddq_s32(vcvtnq_s32_f32(bounded), self.zero_point)
    }

    /// One byte for each accumulator.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn bytes(&self, sums: Eight, multipliers: [float32x4_t; 2]) -> uint8x8_t {
        let low = vqmovn_s32(self.integers(sums[0], multipliers[0]));
        vqmovun_s16(vqmovn_high_s32(low, self.integers(sums[1], multipliers[1])))
    }
}
