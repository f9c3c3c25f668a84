//! Functions of one number, as straight lines of arithmetic that become vectors.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, LOG2_E};

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FloatFunction {
    /// Held between two bounds.
    Clip {
        /// Lower bound.
        low: f32,
        /// Upper bound.
        high: f32,
    },
    /// `x * scale + offset`.
    Linear {
        /// Factor.
        scale: f32,
        /// Summand.
        offset: f32,
    },
    /// `slope * x` below 0.
    LeakyRelu {
        /// Factor below 0.
        slope: f32,
    },
    /// `x * alpha + beta`, held between 0 and 1.
    HardSigmoid {
        /// Factor.
        alpha: f32,
        /// Summand.
        beta: f32,
    },
    /// `x` times HardSigmoid with 1/6 and 0.5.
    HardSwish,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x` times Sigmoid.
    Swish,
    /// The hyperbolic tangent.
    Tanh,
    /// The error function.
    Erf,
    /// `x / 2 * (1 + erf(x / sqrt 2))`.
    Gelu,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`.
    GeluTanh,
    /// The exponential.
    Exp,
    /// The square root.
    Sqrt,
    /// `1 / x`.
    Reciprocal,
    /// The absolute value.
    Abs,
    /// `x * x`.
    Square,
}

impl FloatFunction {
    /// Of every element.
    #[inline(always)]
    pub(crate) fn run(self, input: &[f32], output: &mut [f32]) {
        match self {
            Self::Clip { low, high } => each(input, output, |x| clip(x, low, high)),
            Self::Linear { scale, offset } => each(input, output, |x| x * scale + offset),
            Self::LeakyRelu { slope } => each(input, output, |x| if x < 0.0 { slope * x } else { x }),
            Self::HardSigmoid { alpha, beta } => each(input, output, |x| clip(x * alpha + beta, 0.0, 1.0)),
            Self::HardSwish => each(input, output, |x| x * clip(x * (1.0 / 6.0) + 0.5, 0.0, 1.0)),
            Self::Sigmoid => each(input, output, sigmoid),
            Self::Swish => each(input, output, |x| x * sigmoid(x)),
            Self::Tanh => each(input, output, tanh),
            Self::Erf => each(input, output, erf),
            Self::Gelu => each(input, output, |x| 0.5 * x * (1.0 + erf_of_large(x * FRAC_1_SQRT_2))),
            Self::GeluTanh => each(input, output, |x| {
                let inner = 0.797_884_6 * (x + 0.044_715 * x * x * x);
                0.5 * x * (1.0 + tanh(inner))
            }),
            Self::Exp => each(input, output, exp),
            Self::Sqrt => each(input, output, f32::sqrt),
            Self::Reciprocal => each(input, output, |x| 1.0 / x),
            Self::Abs => each(input, output, f32::abs),
            Self::Square => each(input, output, |x| x * x),
        }
    }
}

#[inline(always)]
fn each(input: &[f32], output: &mut [f32], function: impl Fn(f32) -> f32) {
    output.iter_mut().zip(input).for_each(|(y, &x)| *y = function(x));
}

#[inline(always)]
fn clip(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// 2^n * exp(r) with |r| at most half of ln 2, exp(r) by its series. Right to 3e-7 of itself; below exp(-86) it
/// is 0.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// Added to a number of less than 2^22 it leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first with zeros at its end, so that its product with n is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let held = clip(x, -86.0, 88.722_83);
    let rounded = held * LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = held - n * LN_2[0] - n * LN_2[1];
    let series = 1.0 / 720.0 + r * (1.0 / 5040.0);
    let series = 1.0 / 24.0 + r * (1.0 / 120.0 + r * series);
    let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * series)));
    // 2^(n - 1), so that it can be written for the largest n, and the last 2 by a product.
    let half_scale = f32::from_bits(rounded.to_bits().wrapping_add(126) << 23);
    let power = series * half_scale * 2.0;
    let power = if x < -86.0 { 0.0 } else { power };
    if x > 88.722_83 { f32::INFINITY } else { power }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// By the exponential; near 0, where that would lose digits, by the series.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let power = exp(-2.0 * x.abs());
    let far = ((1.0 - power) / (1.0 + power)).copysign(x);
    let square = x * x;
    let series = -17.0 / 315.0 + square * (62.0 / 2835.0 + square * (-1382.0 / 155_925.0));
    let near = x + x * square * (-1.0 / 3.0 + square * (2.0 / 15.0 + square * series));
    if square < 0.25 { near } else { far }
}

/// Abramowitz and Stegun's 7.1.26; near 0, where that would lose digits, the series.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let square = x * x;
    let series = -1.0 / 42.0 + square * (1.0 / 216.0 - square * (1.0 / 1320.0));
    let near = FRAC_2_SQRT_PI * x * (1.0 + square * (-1.0 / 3.0 + square * (0.1 + square * series)));
    if square < 0.25 { near } else { erf_of_large(x) }
}

/// Right to 5e-7, whatever x is.
#[inline(always)]
fn erf_of_large(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let polynomial = 1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4);
    let polynomial = t * (0.254_829_6 + t * (-0.284_496_74 + t * polynomial));
    (1.0 - polynomial * exp(-(x * x))).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::every_available;

    #[test]
    fn every_function_is_near_its_definition() {
        let x: Vec<f32> = (-40_000..40_000).map(|step| step as f32 * 0.0005).collect();
        let gelu_tanh =
            |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let rows: [(FloatFunction, &dyn Fn(f64) -> f64); 16] = [
            (FloatFunction::Clip { low: -1.0, high: 6.0 }, &|x| x.clamp(-1.0, 6.0)),
            (FloatFunction::Linear { scale: 0.5, offset: 3.0 }, &|x| x * 0.5 + 3.0),
            (FloatFunction::LeakyRelu { slope: 0.25 }, &|x| if x < 0.0 { x * 0.25 } else { x }),
            (FloatFunction::HardSigmoid { alpha: 0.25, beta: 0.5 }, &|x| (x * 0.25 + 0.5).clamp(0.0, 1.0)),
            (FloatFunction::HardSwish, &|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
            (FloatFunction::Sigmoid, &sigmoid),
            (FloatFunction::Swish, &|x| x * sigmoid(x)),
            (FloatFunction::Tanh, &|x| x.tanh()),
            (FloatFunction::Erf, &libm::erf),
            (FloatFunction::Gelu, &|x| 0.5 * x * (1.0 + libm::erf(x / std::f64::consts::SQRT_2))),
            (FloatFunction::GeluTanh, &gelu_tanh),
            (FloatFunction::Exp, &|x| x.exp()),
            (FloatFunction::Sqrt, &|x| x.sqrt()),
            (FloatFunction::Reciprocal, &|x| 1.0 / x),
            (FloatFunction::Abs, &|x| x.abs()),
            (FloatFunction::Square, &|x| x * x),
        ];
        let mut wrong = Vec::new();
        for table in every_available() {
            for (function, definition) in rows {
                let mut found = vec![0.0; x.len()];
                table.float_function(function, &x, &mut found);
                let far = x.iter().zip(&found).find(|&(&x, &found)| {
                    let expected = definition(f64::from(x));
                    let both_none = expected.is_nan() && found.is_nan() || expected == f64::from(found);
                    let near = (f64::from(found) - expected).abs() <= 2e-6 * expected.abs() + 1e-6;
                    !both_none && !near
                });
                wrong.extend(far.map(|(x, found)| format!("{} {function:?} of {x}: {found}", table.isa.name())));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn the_ends_are_right() {
        for table in every_available() {
            let x = [f32::NEG_INFINITY, -200.0, -86.5, 88.5, 89.0, f32::INFINITY, f32::NAN];
            let mut y = [0.0; 7];
            table.float_function(FloatFunction::Exp, &x, &mut y);
            assert_eq!((y[0], y[1], y[2], y[4], y[5]), (0.0, 0.0, 0.0, f32::INFINITY, f32::INFINITY));
            assert!((y[3] / libm::expf(88.5) - 1.0).abs() < 1e-5 && y[6].is_nan(), "{y:?}");
            table.float_function(FloatFunction::Tanh, &x, &mut y);
            assert_eq!((y[0], y[5], y[6].is_nan()), (-1.0, 1.0, true));
            table.float_function(FloatFunction::Erf, &x, &mut y);
            assert_eq!((y[0], y[5], y[6].is_nan()), (-1.0, 1.0, true));
            table.float_function(FloatFunction::Sigmoid, &x, &mut y);
            assert_eq!((y[0], y[5], y[6].is_nan()), (0.0, 1.0, true));
        }
    }
}
