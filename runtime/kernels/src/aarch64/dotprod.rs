//! NEON with dot products: four products of signed bytes a lane in one instruction.
//!
//! Both sides of `sdot` are signed, so activations are read 128 less than stored ([`pack_signed`]).

use std::arch::aarch64::*;
use std::arch::asm;

use super::{by_height, neon, pack_signed};
use crate::dense::PackedDense;
use crate::rows::Rows;
use crate::table::DenseKernel;
use crate::tiles::{self, Tile, TileKernel, TileShape};
use crate::{Isa, Output, Product, Scratch, Table};

pub(crate) const TABLE: Table = Table {
    isa: Isa::Dotprod,
    available: || (neon::TABLE.available)() && std::arch::is_aarch64_feature_detected!("dotprod"),
    dense: DenseKernel { pack: |weights| pack_signed(&Dots::SHAPE, weights), run },
    depthwise: neon::TABLE.depthwise,
    product: Product::run_plain,
    elementwise: super::ELEMENTWISE,
    stored: super::STORED,
    // The compiler's vectors: every CPU of this architecture has them.
    float: crate::floats::lanes::SCALAR,
};

fn run(packed: &PackedDense, rows: &Rows<'_>, scratch: &mut Scratch, output: Output<'_>) {
    tiles::run::<Dots>(packed, rows, scratch, output);
}

struct Dots;

impl TileKernel for Dots {
    // A sixth row would not fit the registers.
    const SHAPE: TileShape = TileShape { rows: 5, lanes: 8, vectors: 2, group: 4, wide: false };
    const SHIFTS: bool = false;

    fn run(tile: Tile<'_>) {
        tile.check(&Self::SHAPE);
        // SAFETY: the row of the table is handed out only where the CPU has these instructions, and `check` has seen
        // that everything that the tile reads and writes is inside of its slices.
        unsafe { by_height!(multiply, tile, tile.rows, [1 2 3 4 5]) }
    }
}

/// # Safety
///
/// `tile` must have passed [`Tile::check`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn multiply<const R: usize, const V: usize>(mut tile: Tile<'_>) {
    let mut sums = neon::starts::<R, V>(&tile);
    let mut weights = tile.weights.as_ptr();
    // Adds the products of one group, whose activations are the named four of the 16 in each of `x`.
    macro_rules! add_group {
        ($x:ident, $four:literal) => {
            for vector in 0..V {
                for half in 0..2 {
                    // SAFETY: `weights` has `V` times 32 bytes for every group of every piece (`Tile::check`).
                    let columns = unsafe { vld1q_s8(weights.add(32 * vector + 16 * half)) };
                    for (sums, &x) in sums.iter_mut().zip(&$x) {
                        sums[vector][half] = add_dots::<$four>(sums[vector][half], columns, x);
                    }
                }
            }
            weights = weights.wrapping_add(32 * V);
        };
    }
    for &piece in tile.pieces {
        let mut from: [*const u8; R] = neon::row_pointers(&tile, piece);
        for _ in 0..tile.groups / 4 {
            // SAFETY: each row's piece and its `groups` groups are inside of the input (`Tile::check`).
            let x: [int8x16_t; R] = std::array::from_fn(|row| signed(unsafe { vld1q_u8(from[row]) }));
            add_group!(x, 0);
            add_group!(x, 1);
            add_group!(x, 2);
            add_group!(x, 3);
            from = from.map(|from| from.wrapping_add(16));
        }
        for _ in 0..tile.groups % 4 {
            // SAFETY: as above; four bytes.
            let four = |from: *const u8| unsafe { from.cast::<u32>().read_unaligned() };
            let x: [int8x16_t; R] = from.map(|from| signed(vreinterpretq_u8_u32(vdupq_n_u32(four(from)))));
            add_group!(x, 0);
            from = from.map(|from| from.wrapping_add(4));
        }
    }
    // SAFETY: the tile's own rows.
    unsafe { neon::store(&{ sums }, 0, &mut tile.to, tile.columns) };
}

/// Stored bytes less 128.
#[inline]
#[target_feature(enable = "neon")]
fn signed(stored: uint8x16_t) -> int8x16_t {
    vreinterpretq_s8_u8(veorq_u8(stored, vdupq_n_u8(0x80)))
}

/// Adds to each lane of `sum` the dot product of that lane's four weights and the four activations of lane `FOUR`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn add_dots<const FOUR: i32>(mut sum: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: arithmetic on registers only.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {weights:v}.16b, {x:v}.4b[{four}]",
            sum = inout(vreg) sum,
            weights = in(vreg) weights,
            x = in(vreg) x,
            four = const FOUR,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
