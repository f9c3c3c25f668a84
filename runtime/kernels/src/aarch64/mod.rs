//! 64-bit ARM: one file for each level, slowest first.
//!
//! A function that needs more than NEON is called only through its row of the table, which is handed out when the CPU
//! has it. Dot products and matrix products are written as assembly: their intrinsics are not in stable Rust.
#![allow(unsafe_code)]

mod dotprod;
mod i8mm;
mod neon;

pub(crate) use dotprod::TABLE as DOTPROD;
pub(crate) use i8mm::TABLE as I8MM;
pub(crate) use neon::TABLE as NEON;

use crate::dense::PackedDense;
use crate::elementwise::ElementwiseKernel;
use crate::stored::StoredKernel;
use crate::tiles::{self, TileShape};
use crate::{DenseWeights, KernelError, Pairwise, SIGNED_OFFSET, scalar};

/// The scalar loops: NEON is there wherever this architecture is, so the compiler has vectorized them already, and a
/// fused multiply-add is one instruction.
const ELEMENTWISE: ElementwiseKernel =
    ElementwiseKernel { add: |add, a, b, y| add.run_fused(a, b, y), ..scalar::TABLE.elementwise };

/// The same for quantized rows.
const STORED: StoredKernel = StoredKernel { pairwise: Pairwise::run::<true>, ..StoredKernel::PLAIN };

/// Packs weights for a kernel that reads activations as signed, 128 less than stored. Their zero point is 128 less too.
fn pack_signed(shape: &TileShape, weights: &DenseWeights<'_>) -> Result<PackedDense, KernelError> {
    let mut packed = tiles::pack(shape, weights)?;
    let signed = DenseWeights { zero_point: weights.zero_point - SIGNED_OFFSET, ..*weights };
    packed.starts[..weights.columns].copy_from_slice(&signed.starts());
    Ok(packed)
}

/// Calls the code for a tile's height and width: accumulators live in registers only if their number is known.
macro_rules! by_height {
    ($multiply:ident, $tile:ident, $height:expr, [$($known:literal)*]) => {
        match ($height, $tile.vectors) {
            $(($known, 1) => $multiply::<$known, 1>($tile),
            ($known, _) => $multiply::<$known, 2>($tile),)*
            _ => {}
        }
    };
}
use by_height;
