//! The sum of two quantized tensors.

use crate::requantize::{clamp, round_half_even};
use crate::{Affine, KernelError};

/// One summand: its quantization.
pub type AddSide = Affine;

/// y = a + b on stored bytes.
///
/// What QDQ leaves open is the rounding on the way. This is the arithmetic of ONNX Runtime 1.32 on x86-64 with
/// AVX2, fused multiply-adds included (0 of 26 million sums differ; without the fusing 15 to 68 do):
/// `fixed = y_zero - fma(a_ratio, a_zero, b_ratio * b_zero)`, `y = fma(a, a_ratio, fma(b, b_ratio, fixed))`, with
/// `ratio = scale / y_scale`, then clamp and half to even. A fused multiply-add is one IEEE operation with one
/// rounding, so this is as exact as any other sequence; a CPU without the instruction computes it in `f64`.
#[derive(Clone, Debug, PartialEq)]
pub struct Add {
    a_ratio: f32,
    b_ratio: f32,
    fixed: f32,
    a_offset: i32,
    b_offset: i32,
    y_offset: i32,
    low: f32,
    high: f32,
    /// Whether products and sums are exact in `f64`, so that rounding once to `f32` is the fused result.
    exact_in_f64: bool,
}

impl Add {
    /// `bounds` are the smallest and largest stored output: a fused activation.
    pub fn new(a: &AddSide, b: &AddSide, y: &Affine, bounds: [u8; 2]) -> Result<Self, KernelError> {
        let ratio = |side: &AddSide| {
            let ratio = side.scale / y.scale;
            let message = || KernelError::Scale { found: format!("{} / {}", side.scale, y.scale) };
            if ratio.is_finite() && ratio >= f32::MIN_POSITIVE { Ok(ratio) } else { Err(message()) }
        };
        let (a_ratio, b_ratio) = (ratio(a)?, ratio(b)?);
        let zero = |affine: &Affine| affine.model_zero_point() as f32;
        let fixed = zero(y) - a_ratio.mul_add(zero(a), b_ratio * zero(b));
        let bound = |stored: u8| (i32::from(stored) - y.offset()) as f32;
        let add = Self {
            a_ratio,
            b_ratio,
            fixed,
            a_offset: a.offset(),
            b_offset: b.offset(),
            y_offset: y.offset(),
            low: bound(bounds[0]),
            high: bound(bounds[1]),
            exact_in_f64: false,
        };
        Ok(Self { exact_in_f64: add.is_exact_in_f64(), ..add })
    }

    /// Whether every `byte * ratio + addend` fits the 53 bits of an `f64`.
    fn is_exact_in_f64(&self) -> bool {
        let inner_fits = spans_53_bits(self.b_ratio, self.fixed);
        let inner = |stored: u8| ((i32::from(stored) - self.b_offset) as f32).mul_add(self.b_ratio, self.fixed);
        inner_fits && (0..=255).all(|stored| spans_53_bits(self.a_ratio, inner(stored)))
    }

    /// The sum of two stored bytes, where a fused multiply-add is one instruction or, with `FUSED` unset, is not.
    #[inline(always)]
    pub(crate) fn apply<const FUSED: bool>(&self, a: u8, b: u8) -> u8 {
        if FUSED || !self.exact_in_f64 { self.one(a, b, f32::mul_add) } else { self.one(a, b, fused_in_f64) }
    }

    /// Adds element by element on a CPU without fused multiply-add.
    pub(crate) fn run(&self, a: &[u8], b: &[u8], y: &mut [u8]) {
        if self.exact_in_f64 {
            self.run_with(a, b, y, fused_in_f64);
        } else {
            self.run_with(a, b, y, f32::mul_add);
        }
    }

    /// The same where a fused multiply-add is one instruction.
    #[inline(always)]
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
    pub(crate) fn run_fused(&self, a: &[u8], b: &[u8], y: &mut [u8]) {
        self.run_with(a, b, y, f32::mul_add);
    }

    #[inline(always)]
    fn run_with(&self, a: &[u8], b: &[u8], y: &mut [u8], fused: impl Fn(f32, f32, f32) -> f32) {
        for ((&a, &b), place) in a.iter().zip(b).zip(y) {
            *place = self.one(a, b, &fused);
        }
    }

    #[inline(always)]
    fn one(&self, a: u8, b: u8, fused: impl Fn(f32, f32, f32) -> f32) -> u8 {
        let a = (i32::from(a) - self.a_offset) as f32;
        let b = (i32::from(b) - self.b_offset) as f32;
        let sum = fused(a, self.a_ratio, fused(b, self.b_ratio, self.fixed));
        (round_half_even(clamp(sum, self.low, self.high)) + self.y_offset) as u8
    }
}

/// A fused multiply-add wherever product and sum need at most 53 bits.
#[inline(always)]
fn fused_in_f64(factor: f32, ratio: f32, addend: f32) -> f32 {
    (f64::from(factor) * f64::from(ratio) + f64::from(addend)) as f32
}

/// Whether `byte * ratio + addend` is exact in 53 bits for every byte of either type.
fn spans_53_bits(ratio: f32, addend: f32) -> bool {
    // The exponent of the lowest bit that a normal float can have; a subnormal addend is no good addend.
    let lowest = |value: f32| ((value.to_bits() >> 23) & 0xff) as i32 - 150;
    if addend == 0.0 {
        return true;
    }
    // A product of 8 and 24 bits ends 8 bits higher; the sum may carry once.
    let highest = (lowest(ratio) + 24 + 8).max(lowest(addend) + 24) + 1;
    addend.is_normal() && highest - lowest(ratio).min(lowest(addend)) <= 53
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_pairs() -> (Vec<u8>, Vec<u8>) {
        (0..=255u8).flat_map(|a| (0..=255u8).map(move |b| (a, b))).unzip()
    }

    #[test]
    fn the_f64_path_is_the_fused_path() {
        let (a, b) = all_pairs();
        let mut tried = 0;
        for step in 1..60 {
            let scale = 0.003 * step as f32;
            for signed in [false, true] {
                let zero_point = if signed { step - 60 } else { step };
                let side = |factor: f32| Affine::new(scale * factor, zero_point, signed).unwrap();
                let add = Add::new(&side(1.0), &side(0.37), &side(1.21), [0, 255]).unwrap();
                let (mut fast, mut fused) = (vec![0; a.len()], vec![0; a.len()]);
                add.run_with(&a, &b, &mut fused, f32::mul_add);
                add.run(&a, &b, &mut fast);
                assert_eq!(fast, fused, "step {step}, signed {signed}");
                tried += usize::from(add.exact_in_f64);
            }
        }
        assert!(tried > 50, "the fast path was hardly ever taken: {tried}");
    }

    #[test]
    fn sums_saturate_and_a_fused_activation_bounds_them() {
        let unit = Affine::new(1.0, 0, false).unwrap();
        let add = Add::new(&unit, &unit, &unit, [0, 255]).unwrap();
        let mut y = [0; 3];
        add.run(&[1, 200, 255], &[2, 100, 255], &mut y);
        assert_eq!(y, [3, 255, 255]);
        let signed = Affine::new(1.0, 0, true).unwrap();
        let relu = Add::new(&signed, &signed, &signed, [128, 130]).unwrap();
        relu.run(&[128 - 5, 128 + 1, 255], &[128 + 2, 128, 255], &mut y);
        assert_eq!(y, [128, 129, 130]);
    }

    #[test]
    fn spans_are_counted_in_bits() {
        assert!(spans_53_bits(1.0, 1.0));
        assert!(spans_53_bits(0.3, 0.0));
        assert!(spans_53_bits(1.0, 2f32.powi(-20)));
        assert!(!spans_53_bits(1.0, 2f32.powi(-30)));
        assert!(!spans_53_bits(1.0, f32::from_bits(1)));
        assert!(!spans_53_bits(2f32.powi(-40), 200.0));
    }

    #[test]
    fn scales_too_far_apart_are_refused() {
        let small = Affine::new(1e-30, 0, false).unwrap();
        let large = Affine::new(1e30, 0, false).unwrap();
        assert!(Add::new(&small, &small, &large, [0, 255]).is_err());
        assert!(Add::new(&large, &large, &small, [0, 255]).is_err());
    }
}
