//! AVX2 with FMA: eight floats.

use std::arch::x86_64::*;

use super::{LOOPS, by_height};
use crate::floats::lanes::{Vector, depthwise, multiply};
use crate::floats::{FloatDepthwiseRun, FloatKernel, FloatTile, FloatTileShape};

pub(crate) const KERNEL: FloatKernel =
    FloatKernel { shape: SHAPE, tile, depthwise: depthwise_lines, depthwise_lanes: 8, loops: LOOPS };

const SHAPE: FloatTileShape = FloatTileShape { rows: 6, lanes: 8, vectors: 2 };

fn tile(tile: FloatTile<'_>) {
    tile.check(&SHAPE);
    by_height!(Eight, "avx2,fma", tile, [1 2 3 4 5 6])
}

fn depthwise_lines(run: FloatDepthwiseRun<'_>) {
    #[target_feature(enable = "avx2,fma")]
    fn inner(run: FloatDepthwiseRun<'_>) {
        // SAFETY: compiled for both.
        unsafe { depthwise::<Eight, 4>(run) }
    }
    // SAFETY: the row of the table is handed out only where the CPU has both.
    unsafe { inner(run) }
}

#[derive(Clone, Copy)]
struct Eight(__m256);

/// The first `count` lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn mask(count: usize) -> __m256i {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes)
}

// SAFETY: each operation is one of AVX2 and FMA on the places that the caller names.
unsafe impl Vector for Eight {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller's; so for all of these.
        Self(unsafe { _mm256_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_maskload_ps(from, mask(count)) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        // SAFETY: as above.
        unsafe { _mm256_maskstore_ps(to, mask(count), self.0) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, by: Self, plus: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_fmadd_ps(self.0, by.0, plus.0) })
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        // The second operand is the answer where one is no number.
        // SAFETY: as above.
        Self(unsafe { _mm256_min_ps(high.0, _mm256_max_ps(low.0, self.0)) })
    }
}
