//! From ranges to scales and zero points.

use runtime_tensor::QuantizationParameters;

use crate::{Activation, Range};

/// Smallest scale: with it, products of scales and their quotients stay normal floats.
pub(crate) const SCALE_MIN: f32 = 1e-12;

/// Scale and zero point for a range of real values, widened so that zero has an exact integer.
pub fn activation_parameters(range: Range, activation: Activation) -> QuantizationParameters {
    let (smallest, largest) = activation.bounds();
    let (low, high) = (f64::from(range.low.min(0.0)), f64::from(range.high.max(0.0)));
    let scale = ((high - low) / f64::from(largest - smallest)) as f32;
    // A tensor of zeros: any scale does.
    let scale = if scale > 0.0 { scale.max(SCALE_MIN) } else { 1.0 };
    let zero_point = (-low / f64::from(scale)).round_ties_even() as i32 + smallest;
    QuantizationParameters {
        element: activation.element(),
        scales: vec![scale],
        zero_points: vec![zero_point.clamp(smallest, largest)],
        axis: None,
    }
}

/// The integer of a real value, as QuantizeLinear defines it: divide, round half to even, add, saturate.
pub fn requantized(value: f32, scale: f32, zero_point: i32, bounds: (i32, i32)) -> i32 {
    let (smallest, largest) = (bounds.0 as f32, bounds.1 as f32);
    // Clamped as a float: a float beyond i32 is no reason to wrap.
    let code = (value / scale).round_ties_even() + zero_point as f32;
    code.clamp(smallest, largest) as i32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(low: f32, high: f32, activation: Activation) -> (f32, i32) {
        let found = activation_parameters(Range { low, high }, activation);
        (found.scales[0], found.zero_points[0])
    }

    #[test]
    fn ranges_become_scales_and_zero_points() {
        let rows = [
            (0.0, 255.0, Activation::U8, (1.0, 0)),
            (0.0, 255.0, Activation::I8, (1.0, -128)),
            (-128.0, 127.0, Activation::U8, (1.0, 128)),
            (-128.0, 127.0, Activation::I8, (1.0, 0)),
            (-255.0, 0.0, Activation::U8, (1.0, 255)),
            (51.0, 255.0, Activation::U8, (1.0, 0)),
            (0.0, 0.0, Activation::U8, (1.0, 0)),
            (0.0, 1e-40, Activation::U8, (SCALE_MIN, 0)),
        ];
        for (low, high, activation, expected) in rows {
            assert_eq!(of(low, high, activation), expected, "{low} to {high} as {activation:?}");
        }
    }

    proptest! {
        #[test]
        fn values_inside_come_back_within_half_a_step(low in -1e5f32..0.0, high in 0.001f32..1e5, at in 0.0f32..1.0) {
            for activation in [Activation::U8, Activation::I8] {
                let (scale, zero_point) = of(low, high, activation);
                let value = low + (high - low) * at;
                let code = requantized(value, scale, zero_point, activation.bounds());
                let back = (code - zero_point) as f32 * scale;
                // Half a step, and as much again at the ends, where the zero point itself was rounded.
                prop_assert!((back - value).abs() <= scale * 1.001, "{value} came back as {back}, step {scale}");
                prop_assert_eq!(requantized(0.0, scale, zero_point, activation.bounds()), zero_point);
            }
        }
    }
}
