//! Between real numbers and stored bytes (ONNX's QuantizeLinear and DequantizeLinear).

use crate::error::{expect_scale, expect_zero_point};
use crate::requantize::{clamp, round_half_even};
use crate::{KernelError, SIGNED_OFFSET};

/// real = (stored - zero point) * scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Positive and finite.
    pub scale: f32,
    /// As stored: the model's zero point, plus [`SIGNED_OFFSET`] for a signed type.
    pub zero_point: i32,
    /// Whether the model's type is signed.
    pub signed: bool,
}

impl Affine {
    /// Of a model's scale and zero point.
    pub fn new(scale: f32, zero_point: i32, signed: bool) -> Result<Self, KernelError> {
        let zero_point = if signed { zero_point.saturating_add(SIGNED_OFFSET) } else { zero_point };
        Ok(Self { scale: expect_scale(scale)?, zero_point: expect_zero_point(zero_point)?, signed })
    }

    /// What was added to a value of the model's type to store it.
    pub fn offset(&self) -> i32 {
        if self.signed { SIGNED_OFFSET } else { 0 }
    }

    /// The model's zero point.
    pub(crate) fn model_zero_point(&self) -> i32 {
        self.zero_point - self.offset()
    }

    /// The stored byte of `value`: IEEE division, clamp, half to even, zero point. NaN becomes the smallest.
    #[inline(always)]
    pub fn quantize(&self, value: f32) -> u8 {
        let (low, high) = ((-self.zero_point) as f32, (255 - self.zero_point) as f32);
        (round_half_even(clamp(value / self.scale, low, high)) + self.zero_point) as u8
    }

    /// The real number of a stored byte.
    #[inline(always)]
    pub fn dequantize(&self, stored: u8) -> f32 {
        (i32::from(stored) - self.zero_point) as f32 * self.scale
    }
}

/// Quantizes element by element.
#[inline(always)]
pub(crate) fn quantize(input: &[f32], affine: &Affine, output: &mut [u8]) {
    for (place, &value) in output.iter_mut().zip(input) {
        *place = affine.quantize(value);
    }
}

/// Dequantizes element by element.
#[inline(always)]
pub(crate) fn dequantize(input: &[u8], affine: &Affine, output: &mut [f32]) {
    for (place, &stored) in output.iter_mut().zip(input) {
        *place = affine.dequantize(stored);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_value_and_byte() {
        let unsigned = Affine::new(0.5, 10, false).unwrap();
        let signed = Affine::new(0.5, -118, true).unwrap();
        let rows = [
            (0.0, 10),
            (0.25, 10),
            (0.75, 12),
            (-0.25, 10),
            (-4.9, 0),
            (1e30, 255),
            (f32::NEG_INFINITY, 0),
            (f32::INFINITY, 255),
            (f32::NAN, 0),
        ];
        for (value, byte) in rows {
            assert_eq!(unsigned.quantize(value), byte, "{value}");
            // The same zero point as stored: the same stored bytes.
            assert_eq!(signed.quantize(value), byte, "{value}");
        }
        assert_eq!(unsigned.dequantize(12), 1.0);
        assert_eq!(signed.dequantize(12), 1.0);
    }

    #[test]
    fn a_zero_point_outside_of_the_type_is_refused() {
        assert!(Affine::new(1.0, 256, false).is_err());
        assert!(Affine::new(1.0, -129, true).is_err());
        assert!(Affine::new(1.0, i32::MAX, true).is_err());
        assert!(Affine::new(0.0, 0, false).is_err());
    }
}
