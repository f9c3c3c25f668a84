//! Weights and biases as integers.

use runtime_tensor::{ElementType, QuantizationParameters, Tensor, TensorError};

use crate::QuantizeOptions;
use crate::guard::{channels_guarded, scale_min};
use crate::pairs::make_pair_safe;
use crate::parameters::SCALE_MIN;

/// Largest integer of a weight; -128 is not used, so that scales are symmetric.
pub(crate) const CODE_MAX: f32 = 127.0;
/// Largest integer of a bias: the products of 32,000 inputs fit beside it into 32 bits.
pub(crate) const BIAS_MAX: f32 = (1 << 30) as f32;
/// Inputs that one output may sum over: 255 * 127 * this, and a bias, stay below 2^31.
pub(crate) const DEPTH_MAX: usize = 32_768;
/// Scales tried by the squared-error search, relative to the one that just holds the largest weight.
const SEARCH: std::ops::RangeInclusive<u32> = 20..=80;
/// One in [`SEARCH`].
const SEARCH_UNIT: f32 = 40.0;

/// How the weights of a node lie: which axis is the output, and how many places its window has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WeightLayout {
    /// Axis of the output channels.
    pub(crate) axis: usize,
    /// Output channels.
    pub(crate) outputs: usize,
    /// Input channels of one output.
    pub(crate) channels: usize,
    /// Places of the window: kernel height times width; 1 for matrices.
    pub(crate) places: usize,
}

impl WeightLayout {
    /// Weights of a convolution: output, channel, height, width.
    pub(crate) fn convolution(shape: &[usize]) -> Option<Self> {
        let (&[outputs, channels], places) = shape.split_first_chunk()?;
        Some(Self { axis: 0, outputs, channels, places: places.iter().product() })
    }

    /// A matrix whose outputs lie along `axis`.
    pub(crate) fn matrix(shape: &[usize], axis: usize) -> Option<Self> {
        let &[rows, columns] = shape else { return None };
        let (outputs, channels) = if axis == 0 { (rows, columns) } else { (columns, rows) };
        Some(Self { axis, outputs, channels, places: 1 })
    }

    pub(crate) fn depth(&self) -> usize {
        self.channels * self.places
    }

    /// Where the weight `index` of `output` lies.
    pub(crate) fn offset(&self, output: usize, index: usize) -> usize {
        if self.axis == 0 { output * self.depth() + index } else { index * self.outputs + output }
    }
}

/// What is asked of weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WeightWish {
    pub(crate) per_channel: bool,
    pub(crate) pair_safe: bool,
    /// Bits of an integer, 2 to 8.
    pub(crate) bits: u32,
}

impl WeightWish {
    pub(crate) fn of(options: &QuantizeOptions) -> Self {
        let bits = options.weight_bits.clamp(2, 8);
        Self { per_channel: options.per_channel, pair_safe: options.pair_safe, bits }
    }

    /// The largest integer.
    pub(crate) fn code_max(self) -> f32 {
        ((1i32 << (self.bits - 1)) - 1) as f32
    }

    /// Whether the scale that just holds the largest weight is worth less than a smaller one.
    fn searches(self) -> bool {
        self.pair_safe || self.bits < 8
    }
}

/// Scales for the weights of one node.
///
/// `bias` and the input's scale are needed so that no bias leaves its integers: a channel whose weights are nearly
/// zero gets a larger scale than they alone would ask for.
pub(crate) fn weight_parameters(
    weights: &[f32],
    layout: &WeightLayout,
    bias: Option<&[f32]>,
    input_scale: f32,
    wish: WeightWish,
) -> QuantizationParameters {
    let channel = |output: usize| (0..layout.depth()).map(move |index| weights[layout.offset(output, index)]);
    let largest: Vec<f32> =
        (0..layout.outputs).map(|output| channel(output).fold(0.0, |max, w| w.abs().max(max))).collect();
    let whole = largest.iter().fold(0.0f32, |max, &value| max.max(value));
    let floor =
        |output: usize| scale_min(bias.and_then(|bias| bias.get(output)).copied().unwrap_or(0.0), input_scale, whole);
    let scales: Vec<f32> = if wish.per_channel {
        let scale = |output: usize| {
            let just = largest[output] / wish.code_max();
            let chosen =
                if wish.searches() { search(&channel(output).collect::<Vec<_>>(), just, layout, wish) } else { just };
            chosen.max(floor(output))
        };
        (0..layout.outputs).map(scale).collect()
    } else {
        vec![(0..layout.outputs).map(floor).fold(whole / wish.code_max(), f32::max)]
    };
    QuantizationParameters {
        element: ElementType::I8,
        zero_points: vec![0; scales.len()],
        axis: wish.per_channel.then_some(layout.axis),
        scales,
    }
}

/// The scale whose integers, pair-safe if so wished, have the least squared error; the smallest of equals.
fn search(channel: &[f32], just: f32, layout: &WeightLayout, wish: WeightWish) -> f32 {
    let mut best = (f64::INFINITY, just);
    for step in SEARCH {
        let scale = just * step as f32 / SEARCH_UNIT;
        if scale < SCALE_MIN {
            continue;
        }
        let mut codes: Vec<i8> = channel.iter().map(|&weight| code(weight, scale, wish)).collect();
        if wish.pair_safe {
            make_pair_safe(&mut codes, layout.channels, layout.places);
        }
        let error = squared_error(channel, &codes, scale);
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}

fn squared_error(channel: &[f32], codes: &[i8], scale: f32) -> f64 {
    let one = |(&weight, &code): (&f32, &i8)| (f64::from(code) * f64::from(scale) - f64::from(weight)).powi(2);
    channel.iter().zip(codes).map(one).sum()
}

fn code(weight: f32, scale: f32, wish: WeightWish) -> i8 {
    (weight / scale).round_ties_even().clamp(-wish.code_max(), wish.code_max()) as i8
}

/// Integer weights and what they cost.
pub(crate) struct IntegerWeights {
    pub(crate) tensor: Tensor,
    /// Weights made smaller by the pair rule.
    pub(crate) shrunk: u64,
    /// Error power relative to the weights' power, in decibels.
    pub(crate) noise_db: f64,
    /// Channels whose scale the guard raised.
    pub(crate) guarded: u64,
}

/// Rounds weights to integers in the scales of `parameters`, or takes `given` integers in their place.
pub(crate) fn integer_weights(
    weights: &Tensor,
    layout: &WeightLayout,
    parameters: &QuantizationParameters,
    wish: WeightWish,
    given: Option<&[i8]>,
) -> Result<IntegerWeights, TensorError> {
    let values = weights.as_f32()?;
    let mut codes = vec![0i8; values.len()];
    let (mut shrunk, mut error, mut power) = (0, 0.0, 0.0);
    let mut largest = Vec::with_capacity(layout.outputs);
    for output in 0..layout.outputs {
        let scale = parameters.scales[if parameters.axis.is_some() { output } else { 0 }];
        let offsets = (0..layout.depth()).map(|index| layout.offset(output, index));
        let channel: Vec<f32> = offsets.clone().map(|offset| values[offset]).collect();
        let mut integers: Vec<i8> = match given.filter(|given| given.len() == values.len()) {
            Some(given) => offsets.map(|offset| given[offset]).collect(),
            None => channel.iter().map(|&weight| code(weight, scale, wish)).collect(),
        };
        if wish.pair_safe {
            shrunk += make_pair_safe(&mut integers, layout.channels, layout.places);
        }
        largest.push(channel.iter().fold(0.0f32, |max, weight| max.max(weight.abs())));
        error += squared_error(&channel, &integers, scale);
        power += channel.iter().map(|&weight| f64::from(weight).powi(2)).sum::<f64>();
        for (index, &integer) in integers.iter().enumerate() {
            codes[layout.offset(output, index)] = integer;
        }
    }
    let noise_db = if power > 0.0 { 10.0 * (error / power).log10() } else { f64::NEG_INFINITY };
    let guarded = channels_guarded(&largest, &parameters.scales, wish.code_max());
    Ok(IntegerWeights { tensor: Tensor::from_i8(weights.shape().to_vec(), codes)?, shrunk, noise_db, guarded })
}

/// The scale of the 32-bit sums, one for each weight scale: input scale times weight scale, in `f32`.
pub(crate) fn bias_scales(input_scale: f32, weights: &QuantizationParameters) -> Vec<f32> {
    weights.scales.iter().map(|scale| input_scale * scale).collect()
}

/// Rounds a bias to the integers of the sums that it is added to.
pub(crate) fn integer_bias(bias: &[f32], scales: &[f32]) -> Vec<i32> {
    let scale = |output: usize| if scales.len() == 1 { scales[0] } else { scales[output] };
    let one =
        |(output, &value): (usize, &f32)| (value / scale(output)).round_ties_even().clamp(-BIAS_MAX, BIAS_MAX) as i32;
    bias.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::is_pair_safe;

    const PLAIN: WeightWish = WeightWish { per_channel: true, pair_safe: false, bits: 8 };
    const SAFE: WeightWish = WeightWish { per_channel: true, pair_safe: true, bits: 8 };

    #[test]
    fn each_output_has_its_own_scale_on_the_right_axis() {
        let by_rows = Tensor::from_f32(vec![2, 3], vec![1.27, 0.1, 0.0, -12.7, 0.5, 1.0]).unwrap();
        let rows = WeightLayout::matrix(&[2, 3], 0).unwrap();
        let found = weight_parameters(by_rows.as_f32().unwrap(), &rows, None, 1.0, PLAIN);
        assert_eq!((found.scales, found.axis), (vec![1.27 / 127.0, 12.7 / 127.0], Some(0)));
        // The same matrix the other way round has the same scales on the other axis.
        let turned = Tensor::from_f32(vec![3, 2], vec![1.27, -12.7, 0.1, 0.5, 0.0, 1.0]).unwrap();
        let columns = WeightLayout::matrix(&[3, 2], 1).unwrap();
        let found = weight_parameters(turned.as_f32().unwrap(), &columns, None, 1.0, PLAIN);
        assert_eq!((found.scales.clone(), found.axis), (vec![1.27 / 127.0, 12.7 / 127.0], Some(1)));
        let integers = integer_weights(&turned, &columns, &found, PLAIN, None).unwrap();
        assert_eq!(integers.tensor.as_i8().unwrap(), [127, -127, 10, 5, 0, 10]);
        assert!(integers.noise_db < -60.0 && integers.shrunk == 0);
    }

    #[test]
    fn one_scale_for_all_when_asked() {
        let layout = WeightLayout::matrix(&[2, 2], 0).unwrap();
        let wish = WeightWish { per_channel: false, pair_safe: false, bits: 8 };
        let found = weight_parameters(&[1.0, 2.0, -4.0, 0.0], &layout, None, 1.0, wish);
        assert_eq!((found.scales, found.axis, found.zero_points), (vec![4.0 / 127.0], None, vec![0]));
    }

    /// A channel that training has switched off, but whose bias lives on.
    #[test]
    fn a_channel_of_almost_zeros_keeps_its_bias() {
        let layout = WeightLayout::matrix(&[2, 2], 0).unwrap();
        let weights = [1.0, -1.0, 1e-30, 0.0];
        let bias = [0.5, 3.0];
        let found = weight_parameters(&weights, &layout, Some(&bias), 0.01, PLAIN);
        let scales = bias_scales(0.01, &found);
        let integers = integer_bias(&bias, &scales);
        for (output, &integer) in integers.iter().enumerate() {
            let back = f64::from(integer) * f64::from(scales[output]);
            assert!((back - f64::from(bias[output])).abs() < 1e-3, "{back} for {}", bias[output]);
            assert!(scales[output].is_normal());
        }
        let zeros = weight_parameters(&[0.0; 4], &layout, Some(&bias), 0.01, PLAIN);
        assert!(integer_bias(&bias, &bias_scales(0.01, &zeros)).iter().all(|&bias| bias.abs() <= 1 << 30));
    }

    /// DESIGN's measurement in small: searching the scale costs little, absmax with shrinking costs much.
    #[test]
    fn the_search_finds_a_better_scale_than_the_largest_weight_asks_for() {
        let layout = WeightLayout::convolution(&[1, 16, 3, 3]).unwrap();
        let weights: Vec<f32> = (0..144).map(|index| ((index * 37 % 101) as f32 / 50.0 - 1.0).powi(3)).collect();
        let tensor = Tensor::from_f32(vec![1, 16, 3, 3], weights.clone()).unwrap();
        let noise =
            |parameters: &QuantizationParameters| integer_weights(&tensor, &layout, parameters, SAFE, None).unwrap();
        let plain = weight_parameters(&weights, &layout, None, 1.0, PLAIN);
        let searched = weight_parameters(&weights, &layout, None, 1.0, SAFE);
        assert!(noise(&plain).shrunk > 0, "the example must have pairs to shrink");
        assert!(noise(&searched).noise_db < noise(&plain).noise_db - 3.0);
    }

    proptest! {
        #[test]
        fn integers_stay_near_their_weights(weights in proptest::collection::vec(-3.0f32..3.0, 24), safe in any::<bool>()) {
            let layout = WeightLayout::convolution(&[2, 3, 2, 2]).unwrap();
            let wish = WeightWish { per_channel: true, pair_safe: safe, bits: 8 };
            let tensor = Tensor::from_f32(vec![2, 3, 2, 2], weights.clone()).unwrap();
            let parameters = weight_parameters(&weights, &layout, None, 0.1, wish);
            let found = integer_weights(&tensor, &layout, &parameters, wish, None).unwrap();
            let codes = found.tensor.as_i8().unwrap();
            prop_assert!(codes.iter().all(|&code| code > -128));
            for (output, channel) in codes.chunks(12).enumerate() {
                prop_assert!(!safe || is_pair_safe(channel, 3, 4));
                for (&code, &weight) in channel.iter().zip(&weights[output * 12..]) {
                    let error = (f32::from(code) * parameters.scales[output] - weight).abs();
                    prop_assert!(safe || error <= parameters.scales[output] * 0.501);
                }
            }
        }
    }
}
