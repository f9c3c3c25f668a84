//! AVX-VNNI: AVX-512's VNNI in vectors of 32 bytes, on CPUs without AVX-512.

use std::arch::x86_64::*;

use super::avx2;
use crate::dense::PackedDense;
use crate::rows::Rows;
use crate::table::DenseKernel;
use crate::tiles::{self, Tile, TileKernel, TileShape};
use crate::{Isa, Output, Product, Scratch, Table};

pub(crate) const TABLE: Table = Table {
    isa: Isa::AvxVnni,
    available: || (avx2::TABLE.available)() && is_x86_feature_detected!("avxvnni"),
    dense: DenseKernel { pack: |weights| tiles::pack(&Vnni::SHAPE, weights), run },
    depthwise: avx2::TABLE.depthwise,
    product: Product::run_tiles::<Vnni>,
    elementwise: super::elementwise::KERNEL,
};

fn run(packed: &PackedDense, rows: &Rows<'_>, scratch: &mut Scratch, output: Output<'_>) {
    tiles::run::<Vnni>(packed, rows, scratch, output);
}

struct Vnni;

impl TileKernel for Vnni {
    const SHAPE: TileShape = TileShape { rows: 6, lanes: 8, vectors: 2, group: 4, wide: false };

    fn run(tile: Tile<'_>) {
        tile.check(&Self::SHAPE);
        // SAFETY: the row of the table is handed out only where the CPU has these instructions, and `check` has seen
        // that everything that the tile reads and writes is inside of its slices.
        unsafe { avx2::by_height!(multiply, tile) }
    }
}

#[target_feature(enable = "avx2,fma,avxvnni")]
fn multiply<const R: usize, const V: usize>(tile: Tile<'_>) {
    let mut sums = avx2::starts::<R, V>(&tile);
    let mut weights = tile.weights.as_ptr();
    for &piece in tile.pieces {
        let mut x: [*const u8; 2] =
            std::array::from_fn(|three| tile.input.as_ptr().wrapping_add(piece + three * 3 * tile.step));
        for _ in 0..tile.groups {
            // SAFETY: `weights` has `V` vectors for every group of every piece (`Tile::check`).
            let columns: [__m256i; V] =
                std::array::from_fn(|vector| unsafe { _mm256_loadu_si256(weights.add(32 * vector).cast()) });
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: each row's piece and its `groups` groups are inside of the input (`Tile::check`).
                let four = unsafe { x[row / 3].add(row % 3 * tile.step).cast::<i32>().read_unaligned() };
                let four = _mm256_set1_epi32(four);
                for (sum, &columns) in sums.iter_mut().zip(&columns) {
                    *sum = _mm256_dpbusd_avx_epi32(*sum, four, columns);
                }
            }
            weights = weights.wrapping_add(32 * V);
            x = x.map(|x| x.wrapping_add(4));
        }
    }
    // A copy: what a reference is taken of does not stay in registers in the loop above.
    let done = sums;
    avx2::store(&done, tile.to, tile.columns);
}
