//! AVX2 with FMA: pairs of products in 16 bits where the weights allow it, else pairs of widened activations.
//!
//! `vpmaddubsw` adds two products of `u8` and `i8` in 16 bits with saturation. It is exact for a pair of weights whose
//! positive part sums to at most 128 and whose negative part to at least -128 (255 * 128 < 32,768). Weights of which
//! every pair is so take this way, found out while packing; any others are multiplied with activations widened to
//! 16 bits by `vpmaddwd`, which cannot overflow.

mod depthwise;

use std::arch::x86_64::*;

use super::ymm;
use crate::dense::{DenseForm, PackedDense};
use crate::rows::Rows;
use crate::table::{DenseKernel, DepthwiseKernel};
use crate::tiles::{self, Tile, TileKernel, TileShape};
use crate::{DenseWeights, Isa, KernelError, Output, Scratch, Table};

pub(crate) const TABLE: Table = Table {
    isa: Isa::Avx2,
    available: || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
    dense: DenseKernel { pack, run },
    depthwise: DepthwiseKernel { pack: depthwise::pack, run: depthwise::run },
    product: super::elementwise::product::<Wide>,
    elementwise: super::elementwise::KERNEL,
    stored: super::stored::KERNEL,
    float: super::floats::EIGHT,
};

fn pack(weights: &DenseWeights<'_>) -> Result<PackedDense, KernelError> {
    weights.check()?;
    let shape = if weights.is_pair_safe() { &Pairs::SHAPE } else { &Wide::SHAPE };
    tiles::pack(shape, weights)
}

fn run(packed: &PackedDense, rows: &Rows<'_>, scratch: &mut Scratch, output: Output<'_>) {
    match packed.form {
        DenseForm::Tiles { wide: true, .. } => tiles::run::<Wide>(packed, rows, scratch, output),
        _ => tiles::run::<Pairs>(packed, rows, scratch, output),
    }
}

/// For pair-safe weights.
struct Pairs;

impl TileKernel for Pairs {
    const SHAPE: TileShape = TileShape { rows: 6, lanes: 8, vectors: 2, group: 4, wide: false };
    const SHIFTS: bool = true;

    fn run(tile: Tile<'_>) {
        tile.check(&Self::SHAPE);
        // SAFETY: the row of the table is handed out only where the CPU has these instructions, and `check` has seen
        // that everything that the tile reads and writes is inside of its slices.
        unsafe { ymm::by_height!(multiply_pairs, tile) }
    }
}

/// For any weights.
struct Wide;

impl TileKernel for Wide {
    const SHAPE: TileShape = TileShape { rows: 6, lanes: 8, vectors: 2, group: 2, wide: true };
    const SHIFTS: bool = true;

    fn run(tile: Tile<'_>) {
        tile.check(&Self::SHAPE);
        // SAFETY: as above.
        unsafe { ymm::by_height!(multiply_wide, tile) }
    }
}

ymm::tile_of_rows!(
    multiply_pairs,
    "avx2,fma",
    input,
    4,
    4,
    |lanes| _mm256_loadu_si256(lanes),
    |sum, group, columns| {
        let products = _mm256_madd_epi16(_mm256_maddubs_epi16(group, columns), _mm256_set1_epi16(1));
        _mm256_add_epi32(sum, products)
    }
);

ymm::tile_of_rows!(
    multiply_wide,
    "avx2,fma",
    wide,
    2,
    2,
    |lanes| _mm256_cvtepi8_epi16(_mm_loadu_si128(lanes)),
    |sum, group, columns| _mm256_add_epi32(sum, _mm256_madd_epi16(group, columns))
);
