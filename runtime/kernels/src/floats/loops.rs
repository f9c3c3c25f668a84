//! The float loops that the compiler turns into vectors by itself, compiled once for each instruction set.

use super::tiles::{self, FloatTileShape};
use super::{AcrossChannels, Binary, Broadcast, FloatFunction, FloatPool, normalize};
use crate::Table;

/// Packs a matrix: shape, elements, steps, sizes, scale, place.
type Pack = fn(&FloatTileShape, &[f32], [usize; 2], (usize, usize), f32, &mut [f32]);

/// One operation of two tensors.
type Pairwise = fn(&Broadcast, Binary, [&[f32]; 2], &mut [f32]);

/// Normalizes rows: elements, scale and bias, epsilon, place.
type Normalize = fn(&[f32], [&[f32]; 2], f32, &mut [f32]);

/// The loops of one instruction set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FloatLoops {
    pub(crate) pack: Pack,
    pub(crate) binary: Pairwise,
    pub(crate) function: fn(FloatFunction, &[f32], &mut [f32]),
    pub(crate) softmax: fn(&[f32], usize, &mut [f32]),
    pub(crate) layer_norm: Normalize,
    pub(crate) across_channels: fn(&AcrossChannels, &[f32], &mut [f32]),
    pub(crate) pool: fn(&FloatPool, &[f32], &mut [f32]),
}

impl FloatLoops {
    /// Compiled for what every CPU of the target has.
    pub(crate) const PLAIN: Self = Self {
        pack: tiles::pack,
        binary: Broadcast::run,
        function: FloatFunction::run,
        softmax: normalize::softmax,
        layer_norm: normalize::layer_norm,
        across_channels: AcrossChannels::run,
        pool: FloatPool::run,
    };
}

impl Table {
    /// `operation` of two tensors that are spread over each other.
    pub fn float_binary(&self, shape: &Broadcast, operation: Binary, sides: [&[f32]; 2], output: &mut [f32]) {
        (self.float.loops.binary)(shape, operation, sides, output);
    }

    /// `function` of every element.
    pub fn float_function(&self, function: FloatFunction, input: &[f32], output: &mut [f32]) {
        (self.float.loops.function)(function, input, output);
    }

    /// Softmax over rows of `width`.
    pub fn float_softmax(&self, input: &[f32], width: usize, output: &mut [f32]) {
        (self.float.loops.softmax)(input, width, output);
    }

    /// Layer normalization over rows as wide as `scale`: `(x - mean) / sqrt(variance + epsilon) * scale + bias`; an
    /// empty bias is zeros.
    pub fn layer_norm(&self, input: &[f32], scale: &[f32], bias: &[f32], epsilon: f32, output: &mut [f32]) {
        (self.float.loops.layer_norm)(input, [scale, bias], epsilon, output);
    }

    /// Local response normalization of whole pixels, their channels side by side.
    pub fn across_channels(&self, norm: &AcrossChannels, input: &[f32], output: &mut [f32]) {
        (self.float.loops.across_channels)(norm, input, output);
    }

    /// Pools whole images.
    pub fn float_pool(&self, pool: &FloatPool, input: &[f32], output: &mut [f32]) {
        (self.float.loops.pool)(pool, input, output);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Window;
    use crate::floats::lanes::tests::{assert_close, random};
    use crate::table::every_available;

    const FUNCTIONS: [FloatFunction; 12] = [
        FloatFunction::Linear { scale: 0.3, offset: 0.7 },
        FloatFunction::HardSwish,
        FloatFunction::Sigmoid,
        FloatFunction::Swish,
        FloatFunction::Tanh,
        FloatFunction::Erf,
        FloatFunction::Gelu,
        FloatFunction::GeluTanh,
        FloatFunction::Exp,
        FloatFunction::Sqrt,
        FloatFunction::Reciprocal,
        FloatFunction::Square,
    ];
    const OPERATIONS: [Binary; 6] = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min];

    fn many(count: usize, next: &mut impl FnMut() -> f32) -> Vec<f32> {
        (0..count).map(|_| next()).collect()
    }

    proptest! {
        #[test]
        fn every_instruction_set_gives_the_scalar_bits(rows in 1usize..5, width in 1usize..70, seed in any::<u64>()) {
            let mut next = random(seed);
            let x: Vec<f32> = (0..rows * width).map(|_| next() * 8.0).collect();
            let (scale, bias) = (many(width, &mut next), many(width, &mut next));
            let space = [1, rows];
            let window =
                Window { input: space, kernel: space, stride: [1, 1], dilation: [1, 1], pad: [0, 0], output: [1, 1] };
            let mean = FloatPool::average(window, width, false).unwrap();
            let shape = Broadcast::new(&[rows, width], [&[width, 1], &[0, 1]]).unwrap();
            let answers = |table: &Table| {
                let mut all = vec![vec![0.0; x.len()]; 2 + FUNCTIONS.len() + OPERATIONS.len()];
                table.float_softmax(&x, width, &mut all[0]);
                table.layer_norm(&x, &scale, &bias, 0.01, &mut all[1]);
                let (functions, operations) = all[2..].split_at_mut(FUNCTIONS.len());
                FUNCTIONS.iter().zip(functions).for_each(|(&function, y)| table.float_function(function, &x, y));
                OPERATIONS.iter().zip(operations).for_each(|(&work, y)| table.float_binary(&shape, work, [&x, &bias], y));
                all.push(vec![0.0; width]);
                table.float_pool(&mean, &x, &mut all[2 + FUNCTIONS.len() + OPERATIONS.len()]);
                // What is no number may have any bits.
                let bits = |value: f32| if value.is_nan() { u32::MAX } else { value.to_bits() };
                all.into_iter().map(|values| values.into_iter().map(bits).collect()).collect::<Vec<Vec<u32>>>()
            };
            let expected = answers(crate::dispatch(crate::Isa::Scalar).unwrap());
            for table in every_available() {
                prop_assert_eq!(&answers(table), &expected, "{}", table.isa.name());
            }
        }
    }

    proptest! {
        #[test]
        fn rows_are_normalized(rows in 0usize..5, width in 1usize..70, seed in any::<u64>()) {
            let mut next = random(seed);
            let x = many(rows * width, &mut next);
            let (scale, bias) = (many(width, &mut next), many(width, &mut next));
            let (mut softmax, mut normal) = (Vec::new(), Vec::new());
            for row in x.chunks_exact(width) {
                let powers: Vec<f64> = row.iter().map(|&x| f64::from(x).exp()).collect();
                softmax.extend(powers.iter().map(|power| power / powers.iter().sum::<f64>()));
                let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / width as f64;
                let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / width as f64;
                let one = |(index, &x): (usize, &f32)| {
                    let normal = (f64::from(x) - mean) / (variance + 0.01).sqrt();
                    normal * f64::from(scale[index]) + f64::from(bias[index])
                };
                normal.extend(row.iter().enumerate().map(one));
            }
            for table in every_available() {
                let mut found = vec![f32::NAN; x.len()];
                table.float_softmax(&x, width, &mut found);
                assert_close(&found, &softmax, table.isa.name());
                table.layer_norm(&x, &scale, &bias, 0.01, &mut found);
                assert_close(&found, &normal, table.isa.name());
            }
        }
    }
}
