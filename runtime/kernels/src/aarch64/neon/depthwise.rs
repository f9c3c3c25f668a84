//! Depthwise convolution: the scalar kernel's filters, 16 channels of a pixel at a time, exact for all weights.
//!
//! A difference to the zero point and a weight are 16 bits each, their product is added in 32. The last block of
//! channels overlaps the one before it. From 8 to 15 channels go 8 at a time, fewer take the scalar kernel.

use std::arch::aarch64::*;
use std::ptr::with_exposed_provenance;

use super::{Eight, Requantize};
use crate::Scratch;
use crate::depthwise::{DepthwiseForm, DepthwiseRun, PackedDepthwise, Taps};
use crate::scalar::depthwise as scalar;

/// Channels of one vector.
const LANES: usize = 8;

pub(super) fn run(packed: &PackedDepthwise, mut run: DepthwiseRun<'_>, scratch: &mut Scratch) {
    let DepthwiseForm::Taps(weights) = &packed.form else { return };
    let channels = packed.channels;
    if channels < LANES || run.window.taps() > Taps::MAX {
        return scalar::run(packed, run, scratch);
    }
    let outside = packed.outside(scratch);
    let block = if channels < 2 * LANES { LANES } else { 2 * LANES };
    for number in 0..channels.div_ceil(block) {
        let first = (number * block).min(channels - block);
        // SAFETY: this row of the table is handed out only where the CPU has these instructions.
        unsafe {
            if block == LANES {
                lines::<1>(first, weights, &packed.starts, &mut run, outside);
            } else {
                lines::<2>(first, weights, &packed.starts, &mut run, outside);
            }
        }
    }
}

/// Convolves every pixel of the run's lines for the `V` vectors of channels from `first` on.
#[target_feature(enable = "neon")]
fn lines<const V: usize>(first: usize, weights: &[i16], starts: &[i32], run: &mut DepthwiseRun<'_>, outside: &[u8]) {
    let (channels, taps) = (outside.len(), run.window.taps());
    let multipliers = &run.requantization.multipliers[first..first + V * LANES];
    run.check(first..first + V * LANES, channels);
    assert!(taps <= Taps::MAX);
    assert!(weights.len() >= taps * channels && starts.len() >= channels);
    let starts = &starts[first..first + V * LANES];
    // SAFETY: `V` vectors of each (sliced above).
    let (starts, multipliers): ([Eight; V], [[float32x4_t; 2]; V]) = unsafe {
        let sums = |at: usize| vld1q_s32(starts.as_ptr().add(at));
        let floats = |at: usize| vld1q_f32(multipliers.as_ptr().add(at));
        (
            std::array::from_fn(|vector| [sums(LANES * vector), sums(LANES * vector + 4)]),
            std::array::from_fn(|vector| [floats(LANES * vector), floats(LANES * vector + 4)]),
        )
    };
    // All bytes of `outside` are the zero point.
    let zero_point = vdup_n_u8(outside[0]);
    let scale = run.requantization;
    let requantize = Requantize::new(scale.zero_point, scale.low, scale.high);
    let output = run.output.as_mut_ptr();
    let mut place = first;
    Taps::new(run.window, channels).for_each_pixel(
        run.window,
        run.lines.clone(),
        run.input,
        outside,
        |base, offsets| {
            let mut sums = starts;
            let mut filter = weights.as_ptr().wrapping_add(first);
            for offset in &offsets[..taps] {
                let tap: *const u8 = with_exposed_provenance(base + offset + first);
                for (vector, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: every tap has `channels` bytes (`Taps::for_each_pixel`) and as many weights (asserted
                    // above), `V` vectors of them from `first` on.
                    let (x, weights) =
                        unsafe { (vld1_u8(tap.add(LANES * vector)), vld1q_s16(filter.add(LANES * vector))) };
                    let x = vreinterpretq_s16_u16(vsubl_u8(x, zero_point));
                    let low = vmlal_s16(sums[0], vget_low_s16(x), vget_low_s16(weights));
                    *sums = [low, vmlal_high_s16(sums[1], x, weights)];
                }
                filter = filter.wrapping_add(channels);
            }
            for (vector, sums) in sums.into_iter().enumerate() {
                let bytes = requantize.bytes(sums, multipliers[vector]);
                // SAFETY: the block's channels of a pixel that `output` has (asserted above).
                unsafe { vst1_u8(output.add(place + LANES * vector), bytes) };
            }
            place += channels;
        },
    );
}
