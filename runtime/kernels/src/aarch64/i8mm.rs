//! NEON with products of small matrices: two rows of eight `u8` by two columns of eight `i8` in one instruction, exact
//! for all weights.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{by_height, neon};
use crate::dense::PackedDense;
use crate::rows::Rows;
use crate::table::DenseKernel;
use crate::tiles::{self, Tile, TileKernel, TileShape};
use crate::{Isa, Output, Product, Scratch, Table};

pub(crate) const TABLE: Table = Table {
    isa: Isa::I8mm,
    available: || (neon::TABLE.available)() && std::arch::is_aarch64_feature_detected!("i8mm"),
    dense: DenseKernel { pack: |weights| tiles::pack(&Matrices::SHAPE, weights), run },
    depthwise: neon::TABLE.depthwise,
    product: Product::run_plain,
    elementwise: super::ELEMENTWISE,
    stored: super::STORED,
    // The compiler's vectors: every CPU of this architecture has them.
    float: crate::floats::lanes::SCALAR,
};

fn run(packed: &PackedDense, rows: &Rows<'_>, scratch: &mut Scratch, output: Output<'_>) {
    tiles::run::<Matrices>(packed, rows, scratch, output);
}

struct Matrices;

impl TileKernel for Matrices {
    const SHAPE: TileShape = TileShape { rows: 6, lanes: 8, vectors: 2, group: 8, wide: false };
    const SHIFTS: bool = false;

    fn run(tile: Tile<'_>) {
        tile.check(&Self::SHAPE);
        // SAFETY: the row of the table is handed out only where the CPU has these instructions, and `check` has seen
        // that everything that the tile reads and writes is inside of its slices.
        unsafe { by_height!(multiply, tile, tile.rows.div_ceil(2), [1 2 3]) }
    }
}

/// For `P` pairs of rows; where the tile's height is odd, its last row is read twice and written once.
///
/// # Safety
///
/// `tile` must have passed [`Tile::check`].
#[target_feature(enable = "neon,i8mm")]
unsafe fn multiply<const P: usize, const V: usize>(mut tile: Tile<'_>) {
    // Two rows by two columns in each, four of them in a vector of columns.
    let mut sums: [[[int32x4_t; 4]; V]; P] = {
        // SAFETY: `starts` has `V` vectors (`Tile::check`).
        let two = |at: usize| unsafe { vld1_s32(tile.starts.as_ptr().add(at)) };
        let twice = |at: usize| vcombine_s32(two(at), two(at));
        [std::array::from_fn(|vector| std::array::from_fn(|place| twice(8 * vector + 2 * place))); P]
    };
    let mut weights = tile.weights.as_ptr();
    for &piece in tile.pieces {
        let mut from: [[*const u8; 2]; P] = std::array::from_fn(|pair| {
            [2 * pair, 2 * pair + 1]
                .map(|row| tile.input.as_ptr().wrapping_add(piece + row.min(tile.rows - 1) * tile.step))
        });
        for _ in 0..tile.groups {
            // SAFETY: each row's piece and its `groups` groups are inside of the input (`Tile::check`).
            let x: [uint8x16_t; P] =
                std::array::from_fn(|pair| unsafe { vcombine_u8(vld1_u8(from[pair][0]), vld1_u8(from[pair][1])) });
            for vector in 0..V {
                for place in 0..4 {
                    // SAFETY: `weights` has `V` times 64 bytes for every group of every piece (`Tile::check`).
                    let columns = unsafe { vld1q_s8(weights.add(64 * vector + 16 * place)) };
                    for (sums, &x) in sums.iter_mut().zip(&x) {
                        sums[vector][place] = add_product(sums[vector][place], x, columns);
                    }
                }
            }
            weights = weights.wrapping_add(64 * V);
            from = from.map(|pair| pair.map(|row| row.wrapping_add(8)));
        }
    }
    for (pair, sums) in sums.iter().enumerate() {
        let rows = [sums.map(|sums| upper(sums)), sums.map(|sums| lower(sums))];
        let count = (tile.rows - 2 * pair).min(2);
        // SAFETY: the tile's own rows.
        unsafe { neon::store(&rows[..count], 2 * pair, &mut tile.to, tile.columns) };
    }
}

/// The first row of four products.
#[inline]
#[target_feature(enable = "neon")]
fn upper(sums: [int32x4_t; 4]) -> neon::Eight {
    let [a, b, c, d] = sums.map(|sums| vreinterpretq_s64_s32(sums));
    [vreinterpretq_s32_s64(vzip1q_s64(a, b)), vreinterpretq_s32_s64(vzip1q_s64(c, d))]
}

/// The second row of four products.
#[inline]
#[target_feature(enable = "neon")]
fn lower(sums: [int32x4_t; 4]) -> neon::Eight {
    let [a, b, c, d] = sums.map(|sums| vreinterpretq_s64_s32(sums));
    [vreinterpretq_s32_s64(vzip2q_s64(a, b)), vreinterpretq_s32_s64(vzip2q_s64(c, d))]
}

/// Adds to the two by two of `sum` the products of two rows of activations and two columns of weights.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn add_product(mut sum: int32x4_t, x: uint8x16_t, weights: int8x16_t) -> int32x4_t {
    // SAFETY: arithmetic on registers only.
    unsafe {
        asm!(
            "usmmla {sum:v}.4s, {x:v}.16b, {weights:v}.16b",
            sum = inout(vreg) sum,
            x = in(vreg) x,
            weights = in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
