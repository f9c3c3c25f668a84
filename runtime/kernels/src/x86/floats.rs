//! The float kernels in vectors of 32 and of 64 bytes.

mod eight;
mod sixteen;

pub(super) use eight::KERNEL as EIGHT;
pub(super) use sixteen::KERNEL as SIXTEEN;

use crate::floats::{self, AcrossChannels, Binary, Broadcast, FloatFunction, FloatLoops, FloatPool, FloatTileShape};

/// The loops, compiled for AVX2 with FMA, which every level of this architecture has.
const LOOPS: FloatLoops = FloatLoops { pack, binary, function, softmax, layer_norm, across_channels, pool };

/// A function of the table around one that needs AVX2 and FMA.
macro_rules! compiled {
    ($name:ident($($argument:ident: $kind:ty),*) $body:block) => {
        fn $name($($argument: $kind),*) {
            #[target_feature(enable = "avx2,fma")]
            fn inner($($argument: $kind),*) $body
            // SAFETY: the rows of the table that have this function are handed out only where the CPU has both.
            unsafe { inner($($argument),*) }
        }
    };
}

compiled!(pack(
    shape: &FloatTileShape, from: &[f32], steps: [usize; 2], sizes: (usize, usize), scale: f32, to: &mut [f32]
) { floats::pack(shape, from, steps, sizes, scale, to) });
compiled!(binary(shape: &Broadcast, operation: Binary, sides: [&[f32]; 2], to: &mut [f32]) {
    shape.run(operation, sides, to)
});
compiled!(function(function: FloatFunction, from: &[f32], to: &mut [f32]) { function.run(from, to) });
compiled!(softmax(from: &[f32], width: usize, to: &mut [f32]) { floats::softmax(from, width, to) });
compiled!(layer_norm(from: &[f32], scale_and_bias: [&[f32]; 2], epsilon: f32, to: &mut [f32]) {
    floats::layer_norm(from, scale_and_bias, epsilon, to)
});
compiled!(across_channels(norm: &AcrossChannels, from: &[f32], to: &mut [f32]) { norm.run(from, to) });
compiled!(pool(pool: &FloatPool, from: &[f32], to: &mut [f32]) { pool.run(from, to) });

/// Calls the code for a tile's height and width: accumulators live in registers only if their number is known.
macro_rules! by_height {
    ($vector:ident, $features:literal, $tile:ident, [$($rows:literal)*]) => {{
        #[target_feature(enable = $features)]
        fn one(tile: FloatTile<'_>) {
            // SAFETY: the caller has checked the tile.
            unsafe {
                match tile.rows {
                    $($rows => multiply::<$vector, $rows, 1>(tile),)*
                    _ => {}
                }
            }
        }
        #[target_feature(enable = $features)]
        fn two(tile: FloatTile<'_>) {
            // SAFETY: the caller has checked the tile.
            unsafe {
                match tile.rows {
                    $($rows => multiply::<$vector, $rows, 2>(tile),)*
                    _ => {}
                }
            }
        }
        // SAFETY: the row of the table is handed out only where the CPU has these instructions.
        unsafe { if $tile.vectors == 1 { one($tile) } else { two($tile) } }
    }};
}
use by_height;
