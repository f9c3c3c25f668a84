//! The quantization that a tensor gives itself.

use crate::requantize::{clamp, round_half_even};
use crate::{Affine, Table};

/// Elements that are compared beside each other.
const LANES: usize = 32;

impl Table {
    /// The unsigned quantization of `input` by its own smallest and largest element and 0 (ONNX's
    /// DynamicQuantizeLinear): scale is their distance by 255, or 1 where that is 0. NaN does not count.
    pub fn dynamic_affine(&self, input: &[f32]) -> Affine {
        let [low, high] = (self.elementwise.bounds)(input);
        let scale = (high - low) / 255.0;
        let scale = if scale > 0.0 { scale } else { 1.0 };
        let zero_point = round_half_even(clamp(0.0 - low / scale, 0.0, 255.0));
        Affine { scale, zero_point, signed: false }
    }
}

/// The smallest and the largest of `input` and 0. The same in any order, since nothing is rounded.
#[inline(always)]
pub(crate) fn bounds(input: &[f32]) -> [f32; 2] {
    let (mut lows, mut highs) = ([0f32; LANES], [0f32; LANES]);
    let mut blocks = input.chunks_exact(LANES);
    for block in &mut blocks {
        for ((low, high), &value) in lows.iter_mut().zip(&mut highs).zip(block) {
            *low = if value < *low { value } else { *low };
            *high = if value > *high { value } else { *high };
        }
    }
    for ((low, high), &value) in lows.iter_mut().zip(&mut highs).zip(blocks.remainder()) {
        *low = if value < *low { value } else { *low };
        *high = if value > *high { value } else { *high };
    }
    let of = |lanes: [f32; LANES], better: fn(f32, f32) -> f32| lanes.into_iter().fold(0.0, better);
    [of(lows, f32::min), of(highs, f32::max)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::table::every_available;

    proptest! {
        #[test]
        fn the_range_reaches_from_the_smallest_to_the_largest(
            values in prop::collection::vec(-1e4f32..1e4, 0..200)
        ) {
            for table in every_available() {
                let affine = table.dynamic_affine(&values);
                let low = values.iter().copied().fold(0.0, f32::min);
                let high = values.iter().copied().fold(0.0, f32::max);
                let scale = if high > low { (high - low) / 255.0 } else { 1.0 };
                prop_assert_eq!(affine.scale, scale, "{}", table.isa.name());
                prop_assert_eq!(affine.zero_point, (-low / scale).round_ties_even() as i32);
                let mut stored = vec![0; values.len()];
                table.quantize(&values, &affine, &mut stored);
                for (&value, &stored) in values.iter().zip(&stored) {
                    // Half a step of rounding, and what the zero point was rounded by.
                    prop_assert!((affine.dequantize(stored) - value).abs() <= scale * 1.001, "{value} {affine:?}");
                }
            }
        }
    }

    #[test]
    fn what_has_no_range_has_scale_1_and_what_is_no_number_does_not_count() {
        for table in every_available() {
            for values in [&[][..], &[0.0, -0.0], &[f32::NAN], &[1e-44, 0.0]] {
                let affine = table.dynamic_affine(values);
                assert_eq!((affine.scale, affine.zero_point), (1.0, 0), "{values:?}");
            }
            let affine = table.dynamic_affine(&[f32::NAN, -51.0, 204.0]);
            assert_eq!((affine.scale, affine.zero_point), (1.0, 51));
            // No panic, and no byte that is not one.
            let affine = table.dynamic_affine(&[f32::NEG_INFINITY, f32::INFINITY]);
            assert!((0..=255).contains(&affine.zero_point));
        }
    }
}
