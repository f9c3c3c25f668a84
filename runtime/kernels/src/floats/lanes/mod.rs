//! The float kernels, written once for vectors of every width.
//!
//! An instruction set gives its vector type's operations; everything here is inlined into its functions and compiled
//! for them.
#![allow(unsafe_code)]

mod depthwise;
mod four;
mod tile;

pub(crate) use depthwise::depthwise;
pub(crate) use four::KERNEL as SCALAR;
pub(crate) use tile::multiply;

/// `$work` with `$index` as each number below `$count`, 12 at most, without a loop: accumulators are kept in registers only
/// where every index is known, and the compiler leaves loops of this size rolled until it is too late for that.
macro_rules! each_below {
    ($count:ident, $index:ident => $work:block) => {
        each_below!($count, $index => $work, [0 1 2 3 4 5 6 7 8 9 10 11])
    };
    ($count:ident, $index:ident => $work:block, [$($number:literal)*]) => {
        $(if $number < $count {
            let $index = $number;
            $work
        })*
    };
}
use each_below;

/// A vector of floats.
///
/// # Safety
///
/// Each operation may need an instruction set: it is called only in code that is compiled for it, which runs only where
/// the CPU has it.
pub(crate) unsafe trait Vector: Copy {
    /// Floats of one vector.
    const LANES: usize;

    /// `value` in every lane.
    unsafe fn splat(value: f32) -> Self;
    /// `LANES` floats from `from` on.
    unsafe fn load(from: *const f32) -> Self;
    /// The first `count` floats from `from` on, fewer than `LANES`; zeros in the other lanes. Reads no others.
    unsafe fn load_part(from: *const f32, count: usize) -> Self;
    /// Writes all lanes.
    unsafe fn store(self, to: *mut f32);
    /// Writes the first `count` lanes, fewer than `LANES`, and nothing else.
    unsafe fn store_part(self, to: *mut f32, count: usize);
    /// `self * by + plus`.
    unsafe fn mul_add(self, by: Self, plus: Self) -> Self;
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// Held between `low` and `high`; what is no number stays none.
    unsafe fn clamp(self, low: Self, high: Self) -> Self;
}

/// The first `count` floats from `from` on.
///
/// # Safety
///
/// They are there; and see [`Vector`].
#[inline(always)]
unsafe fn load_some<V: Vector>(from: *const f32, count: usize) -> V {
    // SAFETY: the caller's.
    unsafe { if count >= V::LANES { V::load(from) } else { V::load_part(from, count) } }
}

/// Writes the first `count` lanes.
///
/// # Safety
///
/// As for [`load_some`].
#[inline(always)]
unsafe fn store_some<V: Vector>(value: V, to: *mut f32, count: usize) {
    // SAFETY: the caller's.
    unsafe { if count >= V::LANES { value.store(to) } else { value.store_part(to, count) } }
}

#[cfg(test)]
pub(crate) mod tests {
    /// Floats from -1 to 1.
    pub(crate) fn random(seed: u64) -> impl FnMut() -> f32 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        }
    }

    /// Sums of some hundred products of such floats.
    #[track_caller]
    pub(crate) fn assert_close(found: &[f32], expected: &[f64], name: &str) {
        assert_eq!(found.len(), expected.len());
        for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            let near = (f64::from(found) - expected).abs() <= 1e-4 * (1.0 + expected.abs());
            assert!(near, "{name}: element {index} is {found}, expected {expected}");
        }
    }
}
