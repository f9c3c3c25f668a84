//! From an accumulator to a byte (DESIGN 4 and 12).

use crate::KernelError;
use crate::error::{expect_length, expect_scale, expect_zero_point};

/// 1.5 * 2^23: a float of this size has no bits below one, so adding it rounds to an integer, half to even, and
/// leaves that integer in the low bits. `round_ties_even` is a library call on x86 without SSE4.1.
const ROUNDING: f32 = 12_582_912.0;

/// Lanes of the widest vector of any instruction set.
const PADDING: usize = 64;

/// `value` rounded half to even. Exact for |value| <= 2^22; callers clamp before.
#[inline(always)]
pub fn round_half_even(value: f32) -> i32 {
    ((value + ROUNDING).to_bits() as i32).wrapping_sub(ROUNDING.to_bits() as i32)
}

/// `value` held between `low` and `high`; NaN becomes `low`, as x86's `maxps` and ONNX Runtime have it.
#[inline(always)]
pub(crate) fn clamp(value: f32, low: f32, high: f32) -> f32 {
    let raised = if value > low { value } else { low };
    if raised < high { raised } else { high }
}

/// y = zero point + round half to even(clamp(f32(accumulator) * multiplier)), with one multiplier a column.
#[derive(Clone, Debug, PartialEq)]
pub struct Requantization {
    /// One a column, padded with zeros so that a kernel may read whole vectors.
    pub(crate) multipliers: Vec<f32>,
    columns: usize,
    pub(crate) zero_point: i32,
    /// Bounds of the product: those of the activation fused into this kernel, less the zero point.
    pub(crate) low: f32,
    pub(crate) high: f32,
}

impl Requantization {
    /// `multiplier = (x_scale * w_scale) / y_scale` in `f32` and in this order, for each of `weight_scales`.
    ///
    /// `zero_point` is the output's as stored; `low` and `high` bound the stored output (0 and 255 without a fused
    /// activation).
    pub fn new(
        x_scale: f32,
        weight_scales: &[f32],
        y_scale: f32,
        zero_point: i32,
        low: u8,
        high: u8,
    ) -> Result<Self, KernelError> {
        let (x_scale, y_scale) = (expect_scale(x_scale)?, expect_scale(y_scale)?);
        let multiplier = |&w_scale: &f32| {
            let product = x_scale * expect_scale(w_scale)?;
            let multiplier = product / y_scale;
            if multiplier.is_finite() {
                Ok(multiplier)
            } else {
                Err(KernelError::Scale { found: format!("{product} / {y_scale}") })
            }
        };
        let multipliers = weight_scales.iter().map(multiplier).collect::<Result<_, _>>()?;
        Ok(Self::with_multipliers(multipliers, expect_zero_point(zero_point)?, low, high))
    }

    pub(crate) fn with_multipliers(mut multipliers: Vec<f32>, zero_point: i32, low: u8, high: u8) -> Self {
        let columns = multipliers.len();
        multipliers.resize(columns.next_multiple_of(PADDING), 0.0);
        Self {
            multipliers,
            columns,
            zero_point,
            low: (i32::from(low) - zero_point) as f32,
            high: (i32::from(high) - zero_point) as f32,
        }
    }

    /// The same with the multipliers of `columns` only.
    pub(crate) fn part(&self, columns: std::ops::Range<usize>) -> Self {
        let count = columns.len();
        let mut multipliers = self.multipliers[columns].to_vec();
        multipliers.resize(count.next_multiple_of(PADDING), 0.0);
        Self { multipliers, columns: count, ..*self }
    }

    pub(crate) fn expect_columns(&self, columns: usize) -> Result<(), KernelError> {
        expect_length("the number of multipliers", self.columns, columns)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.multipliers.len() * 4
    }

    /// One accumulator of `column`.
    #[inline(always)]
    pub fn apply(&self, accumulator: i32, column: usize) -> u8 {
        requantized(accumulator, self.multipliers[column], self.low, self.high, self.zero_point)
    }

    /// The accumulators of as many columns from `first` on, with `shift` added to each.
    #[inline(always)]
    pub(crate) fn apply_shifted(&self, accumulators: &[i32], shift: i32, first: usize, output: &mut [u8]) {
        let multipliers = &self.multipliers[first..first + accumulators.len()];
        for ((&accumulator, &multiplier), place) in accumulators.iter().zip(multipliers).zip(output) {
            let accumulator = accumulator.wrapping_add(shift);
            *place = requantized(accumulator, multiplier, self.low, self.high, self.zero_point);
        }
    }

    /// The accumulators of as many columns from `first` on.
    #[inline(always)]
    pub(crate) fn apply_row(&self, accumulators: &[i32], first: usize, output: &mut [u8]) {
        let multipliers = &self.multipliers[first..first + accumulators.len()];
        for ((&accumulator, &multiplier), place) in accumulators.iter().zip(multipliers).zip(output) {
            *place = requantized(accumulator, multiplier, self.low, self.high, self.zero_point);
        }
    }
}

#[inline(always)]
fn requantized(accumulator: i32, multiplier: f32, low: f32, high: f32, zero_point: i32) -> u8 {
    (round_half_even(clamp(accumulator as f32 * multiplier, low, high)) + zero_point) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rounding_agrees_with_the_standard_library_at_ties_and_ends() {
        for eighths in -8 * 4_000..=8 * 4_000 {
            let value = eighths as f32 / 8.0;
            assert_eq!(round_half_even(value), value.round_ties_even() as i32, "{value}");
        }
        for value in [4_194_304.0, -4_194_304.0, 4_194_303.5, f32::MIN_POSITIVE, -0.0] {
            assert_eq!(round_half_even(value), value.round_ties_even() as i32, "{value}");
        }
    }

    #[test]
    fn extreme_accumulators_saturate() {
        let requantization = Requantization::new(1e6, &[1e6], 1e-6, 3, 0, 255).unwrap();
        assert_eq!(requantization.apply(i32::MAX, 0), 255);
        assert_eq!(requantization.apply(i32::MIN, 0), 0);
        let relu = Requantization::new(1.0, &[0.5], 1.0, 10, 10, 200).unwrap();
        assert_eq!([-4, 3, 5, 1_000].map(|accumulator| relu.apply(accumulator, 0)), [10, 12, 12, 200]);
    }

    #[test]
    fn scales_that_are_no_scales_are_refused() {
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(Requantization::new(scale, &[1.0], 1.0, 0, 0, 255).is_err(), "{scale}");
            assert!(Requantization::new(1.0, &[scale], 1.0, 0, 0, 255).is_err(), "{scale}");
            assert!(Requantization::new(1.0, &[1.0], scale, 0, 0, 255).is_err(), "{scale}");
        }
        assert!(Requantization::new(f32::MAX, &[f32::MAX], 1.0, 0, 0, 255).is_err());
        assert!(Requantization::new(1.0, &[1.0], 1.0, 256, 0, 255).is_err());
    }

    proptest! {
        #[test]
        fn requantization_is_the_sentence_of_the_design(
            accumulator in any::<i32>(), multiplier in 1e-9f32..300.0, zero_point in 0i32..=255
        ) {
            let product = accumulator as f32 * multiplier;
            let expected = (f64::from(product).round_ties_even() + f64::from(zero_point)).clamp(0.0, 255.0) as u8;
            let requantization = Requantization::with_multipliers(vec![multiplier], zero_point, 0, 255);
            prop_assert_eq!(requantization.apply(accumulator, 0), expected);
        }
    }
}
