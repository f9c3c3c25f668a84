//! Layer normalization of quantized rows.

use crate::requantize::{clamp, round_half_even};
use crate::{Affine, KernelError};

/// The longest row whose exact sums fit: its length times the sum of its squares stays below 2^63.
const WIDTH_MAX: usize = 1 << 23;
/// Bytes whose squares one `u32` can sum.
const PIECE: usize = 1 << 15;

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias` of rows of stored bytes.
///
/// Sums of bytes and of their squares are integers, so mean and variance do not depend on the order of summation; they
/// are worked out in `f64` once a row. Each element is then one subtraction, two products and one sum in `f32`, none of
/// them fused: the same bytes on every CPU.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    x_scale: f64,
    epsilon: f64,
    /// Scale and bias, both divided by the output's scale when that is quantized.
    factors: Vec<f32>,
    summands: Vec<f32>,
    low: f32,
    high: f32,
    zero_point: i32,
}

impl LayerNorm {
    /// `scale` and `bias` have one number for each column, `bias` possibly none at all. `y` is the quantization of the
    /// output and its bounds; without it the output is floats.
    pub fn new(
        x: &Affine,
        scale: &[f32],
        bias: &[f32],
        epsilon: f32,
        y: Option<(&Affine, [u8; 2])>,
    ) -> Result<Self, KernelError> {
        let width = scale.len();
        if width == 0 || width > WIDTH_MAX {
            return Err(KernelError::Depth { found: width, max: WIDTH_MAX });
        }
        if !bias.is_empty() {
            crate::error::expect_length("the length of the bias", bias.len(), width)?;
        }
        let unit = y.map_or(1.0, |(y, _)| y.scale);
        let mut summands: Vec<f32> = bias.iter().map(|bias| bias / unit).collect();
        summands.resize(width, 0.0);
        let (zero_point, bounds) = y.map_or((0, [0, 255]), |(y, bounds)| (y.zero_point, bounds));
        let bound = |stored: u8| (i32::from(stored) - zero_point) as f32;
        Ok(Self {
            x_scale: f64::from(x.scale),
            epsilon: f64::from(epsilon),
            factors: scale.iter().map(|scale| scale / unit).collect(),
            summands,
            low: bound(bounds[0]),
            high: bound(bounds[1]),
            zero_point,
        })
    }

    /// Columns of a row.
    pub fn width(&self) -> usize {
        self.factors.len()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        (self.factors.len() + self.summands.len()) * 4
    }

    /// Whole rows to bytes.
    #[inline(always)]
    pub(crate) fn run(&self, input: &[u8], output: &mut [u8]) {
        self.each_row(input, output, |value| {
            (round_half_even(clamp(value, self.low, self.high)) + self.zero_point) as u8
        });
    }

    /// Whole rows to floats.
    #[inline(always)]
    pub(crate) fn run_floats(&self, input: &[u8], output: &mut [f32]) {
        self.each_row(input, output, |value| value);
    }

    #[inline(always)]
    fn each_row<T>(&self, input: &[u8], output: &mut [T], end: impl Fn(f32) -> T) {
        let width = self.width();
        for (row, places) in input.chunks_exact(width).zip(output.chunks_exact_mut(width)) {
            let (mean, factor) = self.measure(row);
            let columns = self.factors.iter().zip(&self.summands);
            for ((place, &x), (&scale, &summand)) in places.iter_mut().zip(row).zip(columns) {
                *place = end((i32::from(x) as f32 - mean) * factor * scale + summand);
            }
        }
    }

    /// The mean of a row's bytes, and what a byte less that mean is multiplied by.
    #[inline(always)]
    fn measure(&self, row: &[u8]) -> (f32, f32) {
        let (mut sum, mut squares) = (0u64, 0u64);
        for piece in row.chunks(PIECE) {
            let (mut here, mut squares_here) = (0u32, 0u32);
            for &x in piece {
                here += u32::from(x);
                squares_here += u32::from(x) * u32::from(x);
            }
            (sum, squares) = (sum + u64::from(here), squares + u64::from(squares_here));
        }
        let width = row.len() as u64;
        // Never negative, and exact.
        let spread = (width * squares - sum * sum) as f64;
        let variance = spread / (width * width) as f64 * (self.x_scale * self.x_scale);
        ((sum as f64 / width as f64) as f32, (self.x_scale / (variance + self.epsilon).sqrt()) as f32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::every_available;

    proptest! {
        #[test]
        fn every_instruction_set_gives_the_normalized_row(
            rows in 0usize..4, width in 1usize..150, x_scale in 1e-3f32..0.1, zero in 0i32..=255, flat in any::<bool>(),
            with_bias in any::<bool>(), seed in any::<u64>()
        ) {
            let mut state = seed;
            let mut next = || { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); (state >> 40) as u8 };
            let input: Vec<u8> = (0..rows * width).map(|_| if flat { 7 } else { next() }).collect();
            let scale: Vec<f32> = (0..width).map(|_| f32::from(next()) / 100.0 - 1.0).collect();
            let bias: Vec<f32> = (0..if with_bias { width } else { 0 }).map(|_| f32::from(next()) / 200.0).collect();
            let (x, y) = (Affine::new(x_scale, zero, false).unwrap(), Affine::new(0.03, 99, false).unwrap());
            let (epsilon, bounds) = (1e-5, [1, 240]);
            let bytes = LayerNorm::new(&x, &scale, &bias, epsilon, Some((&y, bounds))).unwrap();
            let floats = LayerNorm::new(&x, &scale, &bias, epsilon, None).unwrap();
            let mut expected = Vec::new();
            for row in input.chunks_exact(width) {
                let real: Vec<f64> = row.iter().map(|&x_stored| f64::from(x.dequantize(x_stored))).collect();
                let mean = real.iter().sum::<f64>() / width as f64;
                let variance = real.iter().map(|real| (real - mean).powi(2)).sum::<f64>() / width as f64;
                let root = (variance + f64::from(epsilon)).sqrt();
                let bias = |column: usize| bias.get(column).map_or(0.0, |&bias| f64::from(bias));
                let one = |(column, real): (usize, &f64)| (real - mean) / root * f64::from(scale[column]) + bias(column);
                expected.extend(real.iter().enumerate().map(one));
            }
            let mut first: Option<(Vec<u8>, Vec<u32>)> = None;
            for table in every_available() {
                let (mut to, mut to_floats) = (vec![0; input.len()], vec![0.0; input.len()]);
                table.stored_layer_norm(&bytes, &input, &mut to);
                table.stored_layer_norm_floats(&floats, &input, &mut to_floats);
                for ((&byte, &float), &expected) in to.iter().zip(&to_floats).zip(&expected) {
                    prop_assert!((f64::from(float) - expected).abs() < 1e-4 + 1e-4 * expected.abs(), "{float} {expected}");
                    let stored = expected / f64::from(y.scale) + 99.0;
                    let near = (f64::from(byte) - stored.clamp(1.0, 240.0)).abs() < 0.51;
                    prop_assert!(near, "{byte} {stored}");
                }
                let found = (to, to_floats.iter().map(|float| float.to_bits()).collect());
                let first = first.get_or_insert_with(|| found.clone());
                prop_assert_eq!(&*first, &found, "{}", table.isa.name());
            }
        }
    }

    #[test]
    fn long_rows_of_the_largest_byte_do_not_overflow() {
        let width = 3 * PIECE + 5;
        let x = Affine::new(1.0, 0, false).unwrap();
        let norm = LayerNorm::new(&x, &vec![1.0; width], &[], 1.0, None).unwrap();
        let mut input = vec![255; width];
        input[0] = 0;
        for table in every_available() {
            let mut output = vec![0.0; width];
            table.stored_layer_norm_floats(&norm, &input, &mut output);
            let mean = 255.0 * (1.0 - 1.0 / width as f64);
            let variance = 255.0 * 255.0 * (1.0 - 1.0 / width as f64) / width as f64;
            let expected = (255.0 - mean) / (variance + 1.0).sqrt();
            assert!((f64::from(output[1]) - expected).abs() < 1e-5, "{} {expected}", output[1]);
        }
        assert!(LayerNorm::new(&x, &[], &[], 1.0, None).is_err());
        assert!(LayerNorm::new(&x, &[1.0, 2.0], &[1.0], 1.0, None).is_err());
    }
}
