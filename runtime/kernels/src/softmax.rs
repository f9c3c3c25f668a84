//! Softmax of quantized rows.

use crate::requantize::{clamp, round_half_even};
use crate::scratch::room;
use crate::{Affine, KernelError, Scratch};

/// What 1 is in the fixed point of the powers.
const ONE: f64 = 16_777_216.0;
/// The place of the power of 0.
const LARGEST: usize = 255;

/// exp(x - largest), divided by the sum of them, over rows of stored bytes.
///
/// Two bytes of a row differ by 0 to 255, so there are 256 powers: a table of integers of 24 bits, made by `libm`. Their
/// sum is exact in any order. One product follows for each element: the same bytes on every CPU.
#[derive(Clone, PartialEq)]
pub struct StoredSoftmax {
    width: usize,
    /// Power of the difference `place - LARGEST`; those behind [`LARGEST`] belong to no difference.
    powers: Box<[u32; 511]>,
    /// The same as floats, small ones with all their digits.
    real: Box<[f32; 511]>,
    y_scale: f64,
    low: f32,
    high: f32,
    zero_point: i32,
}

impl StoredSoftmax {
    /// Rows of `width` bytes that are `scale` apart. `y` is the quantization of the output and its bounds; without it
    /// the output is floats.
    pub fn new(width: usize, scale: f32, y: Option<(&Affine, [u8; 2])>) -> Result<Self, KernelError> {
        crate::error::expect_scale(scale)?;
        if width == 0 {
            return Err(KernelError::Shape { what: "the width of a row", found: 0, expected: 1 });
        }
        let power =
            |place: usize| if place > LARGEST { 0.0 } else { libm::exp((place as f64 - 255.0) * f64::from(scale)) };
        let (zero_point, bounds) = y.map_or((0, [0, 255]), |(y, bounds)| (y.zero_point, bounds));
        let bound = |stored: u8| (i32::from(stored) - zero_point) as f32;
        Ok(Self {
            width,
            powers: Box::new(std::array::from_fn(|place| libm::rint(power(place) * ONE) as u32)),
            real: Box::new(std::array::from_fn(|place| power(place) as f32)),
            y_scale: y.map_or(1.0, |(y, _)| f64::from(y.scale)),
            low: bound(bounds[0]),
            high: bound(bounds[1]),
            zero_point,
        })
    }

    /// Bytes of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        2 * 511 * 4
    }

    /// Whole rows to bytes.
    #[inline(always)]
    pub(crate) fn run(&self, input: &[u8], scratch: &mut Scratch, output: &mut [u8]) {
        let width = self.width;
        let powers = room(&mut scratch.sums, width);
        for (row, places) in input.chunks_exact(width).zip(output.chunks_exact_mut(width)) {
            let own = Self::own(&self.powers, row);
            let mut sum = 0u64;
            for (power, &x) in powers.iter_mut().zip(row) {
                let value = own[usize::from(x)];
                sum += u64::from(value);
                *power = value as i32;
            }
            let multiplier = (1.0 / (sum as f64 * self.y_scale)) as f32;
            for (place, &power) in places.iter_mut().zip(&*powers) {
                let value = clamp(power as f32 * multiplier, self.low, self.high);
                *place = (round_half_even(value) + self.zero_point) as u8;
            }
        }
    }

    /// Whole rows to floats.
    #[inline(always)]
    pub(crate) fn run_floats(&self, input: &[u8], output: &mut [f32]) {
        for (row, places) in input.chunks_exact(self.width).zip(output.chunks_exact_mut(self.width)) {
            let (own, real) = (Self::own(&self.powers, row), Self::own(&self.real, row));
            let sum: u64 = row.iter().map(|&x| u64::from(own[usize::from(x)])).sum();
            let sum = (sum as f64 / ONE) as f32;
            places.iter_mut().zip(row).for_each(|(place, &x)| *place = real[usize::from(x)] / sum);
        }
    }

    /// The 256 powers by byte, for a row with this largest one.
    #[inline(always)]
    fn own<'t, T>(table: &'t [T; 511], row: &[u8]) -> &'t [T] {
        let largest = row.iter().fold(0, |largest, &x| if x > largest { x } else { largest });
        let first = LARGEST - usize::from(largest);
        &table[first..first + 256]
    }
}

impl std::fmt::Debug for StoredSoftmax {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredSoftmax").field("width", &self.width).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::every_available;

    proptest! {
        #[test]
        fn every_instruction_set_gives_the_softmax(
            rows in 0usize..4, width in 1usize..200, scale in 1e-3f32..2.0, flat in any::<bool>(), seed in any::<u64>()
        ) {
            let mut state = seed;
            let mut next = || { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); (state >> 40) as u8 };
            let input: Vec<u8> = (0..rows * width).map(|_| if flat { 255 } else { next() }).collect();
            let (y, bounds) = (Affine::new(1.0 / 256.0, 3, false).unwrap(), [1, 250]);
            let bytes = StoredSoftmax::new(width, scale, Some((&y, bounds))).unwrap();
            let floats = StoredSoftmax::new(width, scale, None).unwrap();
            let mut expected = Vec::new();
            for row in input.chunks_exact(width) {
                let largest = *row.iter().max().unwrap();
                let powers: Vec<f64> =
                    row.iter().map(|&x| ((f64::from(x) - f64::from(largest)) * f64::from(scale)).exp()).collect();
                expected.extend(powers.iter().map(|power| power / powers.iter().sum::<f64>()));
            }
            let mut first: Option<(Vec<u8>, Vec<u32>)> = None;
            for table in every_available() {
                let (mut to, mut to_floats) = (vec![0; input.len()], vec![0.0; input.len()]);
                table.stored_softmax(&bytes, &input, &mut Scratch::new(), &mut to);
                table.stored_softmax_floats(&floats, &input, &mut to_floats);
                for ((&byte, &float), &expected) in to.iter().zip(&to_floats).zip(&expected) {
                    prop_assert!((f64::from(float) - expected).abs() < 1e-5 * expected + 1e-37, "{float} {expected}");
                    let stored = expected * 256.0 + 3.0;
                    prop_assert!((f64::from(byte) - stored.clamp(1.0, 250.0)).abs() < 0.501, "{byte} {stored}");
                }
                let found = (to, to_floats.iter().map(|float| float.to_bits()).collect());
                let first = first.get_or_insert_with(|| found.clone());
                prop_assert_eq!(&*first, &found, "{}", table.isa.name());
            }
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(StoredSoftmax::new(0, 1.0, None).is_err());
        assert!(StoredSoftmax::new(4, 0.0, None).is_err());
    }
}
