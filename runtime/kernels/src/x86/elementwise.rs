//! The scalar loops, compiled for AVX2 with FMA and again for AVX-512: the compiler vectorizes them, and a fused
//! multiply-add is one instruction.

use std::arch::x86_64::*;

use crate::dynamic::{self, Scaled};
use crate::elementwise::ElementwiseKernel;
use crate::product::Span;
use crate::rows::Rows;
use crate::tiles::TileKernel;
use crate::{
    Add, Affine, AveragePool, GlobalAveragePool, Permutation, Product, Requantization, Scratch, Window, border, pool,
};

/// Every level of this architecture has AVX2 and FMA.
pub(super) const KERNEL: ElementwiseKernel = ElementwiseKernel {
    add: eight::add,
    quantize: eight::quantize,
    dequantize: eight::dequantize,
    requantize: eight::requantize,
    bounds: eight::bounds,
    scale: eight::scale,
    sum_rows: eight::sum_rows,
    scale_floats: eight::scale_floats,
    permute: eight::permute,
    max_pool: eight::max_pool,
    average_pool: eight::average_pool,
    global_average_pool: eight::global_average_pool,
};

/// For the levels with AVX-512.
pub(super) const WIDE: ElementwiseKernel = ElementwiseKernel {
    add: sixteen::add,
    quantize: sixteen::quantize,
    dequantize: sixteen::dequantize,
    requantize: sixteen::requantize,
    bounds: sixteen::bounds,
    scale: sixteen::scale,
    scale_floats: sixteen::scale_floats,
    ..KERNEL
};

/// Functions of the table around ones that are compiled for more instructions.
macro_rules! compiled {
    ($features:literal) => {
        compiled!($features, add(add: &Add, a: &[u8], b: &[u8], y: &mut [u8]) { add.run_fused(a, b, y) });
        compiled!($features, quantize(input: &[f32], affine: &Affine, output: &mut [u8]) {
            border::quantize(input, affine, output)
        });
        compiled!($features, dequantize(input: &[u8], affine: &Affine, output: &mut [f32]) {
            border::dequantize(input, affine, output)
        });
        compiled!(
            $features,
            requantize(scale: &Requantization, sums: &[i32], shift: i32, first: usize, output: &mut [u8]) {
                scale.apply_shifted(sums, shift, first, output)
            }
        );
        compiled!($features, bounds(input: &[f32]) -> [f32; 2] { dynamic::bounds(input) });
        compiled!(
            $features,
            scale(scaled: &Scaled<'_>, first: usize, sums: (&[i32], usize), output: (&mut [f32], usize)) {
                scaled.rows(first, sums, output)
            }
        );
        compiled!($features, scale_floats(scaled: &Scaled<'_>, sums: &[f32], output: &mut [f32]) {
            scaled.row_of_floats(sums, output)
        });
    };
    ($features:literal, $name:ident($($argument:ident: $kind:ty),*) $(-> $answer:ty)? $body:block) => {
        pub(super) fn $name($($argument: $kind),*) $(-> $answer)? {
            #[target_feature(enable = $features)]
            fn inner($($argument: $kind),*) $(-> $answer)? $body
            // SAFETY: the rows of the table that have this function are handed out only where the CPU has these.
            unsafe { inner($($argument),*) }
        }
    };
}

mod eight {
    use super::*;
    compiled!("avx2,fma");
    compiled!("avx2,fma", sum_rows(rows: &Rows<'_>, length: usize, sums: &mut [i32]) {
        rows.sums(length, sums, |bytes| sum_of_bytes(bytes))
    });
    compiled!("avx2,fma", permute(permutation: &Permutation, input: &[u8], output: &mut [u8]) {
        permutation.run_bytes(input, output)
    });
    compiled!("avx2,fma", max_pool(window: &Window, channels: usize, input: &[u8], output: &mut [u8]) {
        pool::max_pool(window, channels, input, output)
    });
    compiled!("avx2,fma", average_pool(pool: &AveragePool, input: &[u8], scratch: &mut Scratch, output: &mut [u8]) {
        pool.run(input, scratch, output)
    });
    compiled!(
        "avx2,fma",
        global_average_pool(pool: &GlobalAveragePool, input: &[u8], scratch: &mut Scratch, output: &mut [u8]) {
            pool.run(input, scratch, output)
        }
    );
}

mod sixteen {
    use super::*;
    compiled!("avx512f,avx512bw,avx512vl,fma");
}

/// Packing vectorized too; the tiles have instructions of their own.
pub(super) fn product<K: TileKernel>(
    product: &Product,
    span: &Span,
    sides: [&[u8]; 2],
    scratch: &mut Scratch,
    output: &mut [u8],
) {
    #[target_feature(enable = "avx2,fma")]
    fn inner<K: TileKernel>(
        product: &Product,
        span: &Span,
        sides: [&[u8]; 2],
        scratch: &mut Scratch,
        output: &mut [u8],
    ) {
        product.run_tiles::<K>(span, sides, scratch, output)
    }
    // SAFETY: every level of this architecture has both.
    unsafe { inner::<K>(product, span, sides, scratch, output) }
}

/// 32 bytes in one instruction.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_of_bytes(bytes: &[u8]) -> u32 {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut sums = _mm256_setzero_si256();
    for block in blocks {
        // SAFETY: a block has 32 bytes.
        let block = unsafe { _mm256_loadu_si256(block.as_ptr().cast()) };
        sums = _mm256_add_epi64(sums, _mm256_sad_epu8(block, _mm256_setzero_si256()));
    }
    let (eights, rest) = rest.as_chunks::<8>();
    let mut halves = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    for &eight in eights {
        let eight = _mm_cvtsi64_si128(i64::from_le_bytes(eight));
        halves = _mm_add_epi64(halves, _mm_sad_epu8(eight, _mm_setzero_si128()));
    }
    let sum = _mm_cvtsi128_si32(halves) as u32 + _mm_extract_epi32::<2>(halves) as u32;
    sum + rest.iter().map(|&byte| u32::from(byte)).sum::<u32>()
}
