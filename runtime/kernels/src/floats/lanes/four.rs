//! Four floats in plain Rust: vectors on every CPU that has them without being asked.

use super::{Vector, depthwise, multiply};
use crate::floats::{FloatDepthwiseRun, FloatKernel, FloatLoops, FloatTile, FloatTileShape};

/// The kernel of plain Rust.
pub(crate) const KERNEL: FloatKernel =
    FloatKernel { shape: SHAPE, tile, depthwise: depthwise_lines, depthwise_lanes: 4, loops: FloatLoops::PLAIN };

const SHAPE: FloatTileShape = FloatTileShape { rows: 4, lanes: 4, vectors: 2 };

fn tile(tile: FloatTile<'_>) {
    tile.check(&SHAPE);
    // SAFETY: checked, and plain Rust runs everywhere.
    unsafe {
        match (tile.rows, tile.vectors) {
            (1, 1) => multiply::<Four, 1, 1>(tile),
            (2, 1) => multiply::<Four, 2, 1>(tile),
            (3, 1) => multiply::<Four, 3, 1>(tile),
            (4, 1) => multiply::<Four, 4, 1>(tile),
            (1, _) => multiply::<Four, 1, 2>(tile),
            (2, _) => multiply::<Four, 2, 2>(tile),
            (3, _) => multiply::<Four, 3, 2>(tile),
            (4, _) => multiply::<Four, 4, 2>(tile),
            _ => {}
        }
    }
}

fn depthwise_lines(run: FloatDepthwiseRun<'_>) {
    // SAFETY: plain Rust runs everywhere.
    unsafe { depthwise::<Four, 4>(run) }
}

#[derive(Clone, Copy)]
struct Four([f32; 4]);

impl Four {
    #[inline(always)]
    fn each(self, other: Self, work: impl Fn(f32, f32) -> f32) -> Self {
        let (a, b) = (self.0, other.0);
        Self([work(a[0], b[0]), work(a[1], b[1]), work(a[2], b[2]), work(a[3], b[3])])
    }
}

// SAFETY: plain Rust runs everywhere.
unsafe impl Vector for Four {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller has four floats there.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        let mut four = [0.0; 4];
        // SAFETY: the caller has `count` floats there, fewer than four.
        unsafe { std::ptr::copy_nonoverlapping(from, four.as_mut_ptr(), count.min(3)) };
        Self(four)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller has four places there.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        // SAFETY: the caller has `count` places there, fewer than four.
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), to, count.min(3)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, by: Self, plus: Self) -> Self {
        // Two roundings: a fused multiply-add is a call where the instruction may be missing.
        self.each(by, |a, b| a * b).each(plus, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.each(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        let above = self.each(low, |value, low| if value < low { low } else { value });
        above.each(high, |value, high| if value > high { high } else { value })
    }
}
