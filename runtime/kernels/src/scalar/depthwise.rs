//! Depthwise convolution in plain Rust: one tap after the other over all channels.

use crate::depthwise::{DepthwiseForm, DepthwiseRun, PackedDepthwise};
use crate::scratch::room;
use crate::{DepthwiseWeights, KernelError, Scratch};

pub(crate) fn pack(weights: &DepthwiseWeights<'_>) -> Result<PackedDepthwise, KernelError> {
    weights.check()?;
    let (channels, taps) = (weights.channels, weights.taps);
    let at = |position: usize| i16::from(weights.weights[position % channels * taps + position / channels]);
    let starts = if weights.bias.is_empty() { vec![0; channels] } else { weights.bias.to_vec() };
    let form = DepthwiseForm::Taps((0..channels * taps).map(at).collect());
    Ok(PackedDepthwise { channels, zero_point: weights.zero_point, starts, form })
}

pub(crate) fn run(packed: &PackedDepthwise, run: DepthwiseRun<'_>, scratch: &mut Scratch) {
    let DepthwiseForm::Taps(weights) = &packed.form else { return };
    let channels = packed.channels;
    let sums = room(&mut scratch.sums, channels);
    // At most 255, which an i16 holds.
    let zero_point = packed.zero_point as i16;
    let [_, width] = run.window.output;
    let first = run.lines.start;
    for (pixel, output) in run.output.chunks_exact_mut(channels).enumerate() {
        sums.copy_from_slice(&packed.starts);
        run.window.for_each_tap([first + pixel / width, pixel % width], |tap, place| {
            let x = &run.input[place * channels..(place + 1) * channels];
            add_tap(sums, x, &weights[tap * channels..(tap + 1) * channels], zero_point);
        });
        run.requantization.apply_row(sums, 0, output);
    }
}

/// (x - zero point) * weight fits an i16: it is at most 255 * 128.
#[inline(always)]
fn add_tap(sums: &mut [i32], x: &[u8], weights: &[i16], zero_point: i16) {
    for ((sum, &x), &weight) in sums.iter_mut().zip(x).zip(weights) {
        let product = (i16::from(x).wrapping_sub(zero_point)).wrapping_mul(weight);
        *sum = sum.wrapping_add(i32::from(product));
    }
}
