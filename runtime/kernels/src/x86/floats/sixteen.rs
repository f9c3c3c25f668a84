//! AVX-512: sixteen floats.

use std::arch::x86_64::*;

use super::{LOOPS, by_height};
use crate::floats::lanes::{Vector, depthwise, multiply};
use crate::floats::{FloatDepthwiseRun, FloatKernel, FloatTile, FloatTileShape};

pub(crate) const KERNEL: FloatKernel =
    FloatKernel { shape: SHAPE, tile, depthwise: depthwise_lines, depthwise_lanes: 16, loops: LOOPS };

const SHAPE: FloatTileShape = FloatTileShape { rows: 12, lanes: 16, vectors: 2 };

fn tile(tile: FloatTile<'_>) {
    tile.check(&SHAPE);
    by_height!(Sixteen, "avx512f,avx512bw,avx512vl", tile, [1 2 3 4 5 6 7 8 9 10 11 12])
}

fn depthwise_lines(run: FloatDepthwiseRun<'_>) {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn inner(run: FloatDepthwiseRun<'_>) {
        // SAFETY: compiled for these.
        unsafe { depthwise::<Sixteen, 8>(run) }
    }
    // SAFETY: the row of the table is handed out only where the CPU has these instructions.
    unsafe { inner(run) }
}

#[derive(Clone, Copy)]
struct Sixteen(__m512);

/// The first `count` lanes, fewer than all.
#[inline(always)]
fn mask(count: usize) -> __mmask16 {
    ((1u32 << (count & 15)) - 1) as __mmask16
}

// SAFETY: each operation is one of AVX-512 on the places that the caller names.
unsafe impl Vector for Sixteen {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller's; so for all of these.
        Self(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_maskz_loadu_ps(mask(count), from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        // SAFETY: as above.
        unsafe { _mm512_mask_storeu_ps(to, mask(count), self.0) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, by: Self, plus: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_fmadd_ps(self.0, by.0, plus.0) })
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        // The second operand is the answer where one is no number.
        // SAFETY: as above.
        Self(unsafe { _mm512_min_ps(high.0, _mm512_max_ps(low.0, self.0)) })
    }
}
