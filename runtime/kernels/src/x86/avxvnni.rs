//! AVX-VNNI: AVX-512's VNNI in vectors of 32 bytes, on CPUs without AVX-512.

use std::arch::x86_64::*;

use super::{avx2, ymm};
use crate::dense::PackedDense;
use crate::rows::Rows;
use crate::table::DenseKernel;
use crate::tiles::{self, Tile, TileKernel, TileShape};
use crate::{Isa, Output, Scratch, Table};

pub(crate) const TABLE: Table = Table {
    isa: Isa::AvxVnni,
    available: || (avx2::TABLE.available)() && is_x86_feature_detected!("avxvnni"),
    dense: DenseKernel { pack: |weights| tiles::pack(&Vnni::SHAPE, weights), run },
    depthwise: avx2::TABLE.depthwise,
    product: super::elementwise::product::<Vnni>,
    elementwise: super::elementwise::KERNEL,
    stored: super::stored::KERNEL,
    float: super::floats::EIGHT,
};

fn run(packed: &PackedDense, rows: &Rows<'_>, scratch: &mut Scratch, output: Output<'_>) {
    tiles::run::<Vnni>(packed, rows, scratch, output);
}

struct Vnni;

impl TileKernel for Vnni {
    const SHAPE: TileShape = TileShape { rows: 6, lanes: 8, vectors: 2, group: 4, wide: false };
    const SHIFTS: bool = true;

    fn run(tile: Tile<'_>) {
        tile.check(&Self::SHAPE);
        // SAFETY: the row of the table is handed out only where the CPU has these instructions, and `check` has seen
        // that everything that the tile reads and writes is inside of its slices.
        unsafe { ymm::by_height!(multiply, tile) }
    }
}

ymm::tile_of_rows!(
    multiply,
    "avx2,fma,avxvnni",
    input,
    4,
    4,
    |lanes| _mm256_loadu_si256(lanes),
    |sum, group, columns| _mm256_dpbusd_avx_epi32(sum, group, columns)
);
