//! The loops over quantized rows, compiled for AVX2 with FMA and again for AVX-512: the compiler vectorizes them.
//! Look-ups are of 64 bytes at a time where the CPU has AVX-512's byte permutations.

use std::arch::x86_64::*;

use crate::stored::StoredKernel;
use crate::{Broadcast, LayerNorm, Lookup, Pairwise, Scratch, StoredSoftmax};

/// Every level of this architecture has AVX2 and FMA.
pub(super) const KERNEL: StoredKernel = StoredKernel {
    lookup: Lookup::run,
    pairwise: eight::pairwise,
    layer_norm: eight::layer_norm,
    layer_norm_floats: eight::layer_norm_floats,
    softmax: eight::softmax,
    softmax_floats: eight::softmax_floats,
};

/// For the levels with AVX-512.
pub(super) const WIDE: StoredKernel = StoredKernel {
    lookup,
    pairwise: sixteen::pairwise,
    layer_norm: sixteen::layer_norm,
    layer_norm_floats: sixteen::layer_norm_floats,
    softmax: sixteen::softmax,
    softmax_floats: sixteen::softmax_floats,
};

/// Functions of the table around ones that are compiled for more instructions.
macro_rules! compiled {
    ($features:literal) => {
        compiled!($features, pairwise(pairwise: &Pairwise, shape: &Broadcast, sides: [&[u8]; 2], to: &mut [u8]) {
            pairwise.run::<true>(shape, sides, to)
        });
        compiled!($features, layer_norm(norm: &LayerNorm, from: &[u8], to: &mut [u8]) { norm.run(from, to) });
        compiled!($features, layer_norm_floats(norm: &LayerNorm, from: &[u8], to: &mut [f32]) {
            norm.run_floats(from, to)
        });
        compiled!($features, softmax(softmax: &StoredSoftmax, from: &[u8], scratch: &mut Scratch, to: &mut [u8]) {
            softmax.run(from, scratch, to)
        });
        compiled!($features, softmax_floats(softmax: &StoredSoftmax, from: &[u8], to: &mut [f32]) {
            softmax.run_floats(from, to)
        });
    };
    ($features:literal, $name:ident($($argument:ident: $kind:ty),*) $body:block) => {
        pub(super) fn $name($($argument: $kind),*) {
            #[target_feature(enable = $features)]
            fn inner($($argument: $kind),*) $body
            // SAFETY: the rows of the table that have this function are handed out only where the CPU has these.
            unsafe { inner($($argument),*) }
        }
    };
}

mod eight {
    use super::*;
    compiled!("avx2,fma");
}

mod sixteen {
    use super::*;
    compiled!("avx512f,avx512bw,avx512vl,fma");
}

fn lookup(lookup: &Lookup, input: &[u8], output: &mut [u8]) {
    if !is_x86_feature_detected!("avx512vbmi") {
        return lookup.run(input, output);
    }
    // SAFETY: the row of the table that has this function is handed out only where the CPU has AVX-512 with bytes, and
    // it has the byte permutations.
    unsafe { permuted(lookup, input, output) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn permuted(lookup: &Lookup, input: &[u8], output: &mut [u8]) {
    // SAFETY: a quarter of 256 bytes is one vector.
    let quarters: [__m512i; 4] =
        std::array::from_fn(|quarter| unsafe { _mm512_loadu_si512(lookup.results()[64 * quarter..].as_ptr().cast()) });
    let (from, rest) = input.as_chunks::<64>();
    let (to, rest_to) = output.as_chunks_mut::<64>();
    for (from, to) in from.iter().zip(to) {
        // SAFETY: both have the 64 bytes of a vector.
        unsafe {
            let bytes = _mm512_loadu_si512(from.as_ptr().cast());
            let low = _mm512_permutex2var_epi8(quarters[0], bytes, quarters[1]);
            let high = _mm512_permutex2var_epi8(quarters[2], bytes, quarters[3]);
            let found = _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes), low, high);
            _mm512_storeu_si512(to.as_mut_ptr().cast(), found);
        }
    }
    lookup.run(rest, rest_to);
}
