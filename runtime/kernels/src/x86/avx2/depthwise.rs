//! Depthwise convolution, two taps at a time, widened to 16 bits: exact for all weights.
//!
//! Blocks of 16 channels; the last one overlaps the one before it. Fewer channels than 16 take the scalar kernel.

use std::arch::x86_64::*;
use std::ptr::with_exposed_provenance;

use crate::depthwise::{DepthwiseForm, DepthwiseRun, PackedDepthwise, Taps};
use crate::scalar::depthwise as scalar;
use crate::x86::ymm::Requantize;
use crate::{DepthwiseWeights, KernelError, Scratch};

/// Channels of a block.
const BLOCK: usize = 16;

/// First channel of each block.
fn blocks(channels: usize) -> impl Iterator<Item = usize> {
    (0..channels.div_ceil(BLOCK)).map(move |block| (block * BLOCK).min(channels - BLOCK))
}

/// Which channel of its block lane `lane` of the two accumulators has, counted through: interleaving works inside of
/// halves of a vector.
fn channel_of(lane: usize) -> usize {
    let (accumulator, lane) = (lane / 8, lane % 8);
    lane / 4 * 8 + accumulator * 4 + lane % 4
}

pub(super) fn pack(weights: &DepthwiseWeights<'_>) -> Result<PackedDepthwise, KernelError> {
    weights.check()?;
    let (channels, taps) = (weights.channels, weights.taps);
    if taps > Taps::MAX || channels < BLOCK {
        return scalar::pack(weights);
    }
    let (mut packed, mut starts) = (Vec::new(), Vec::new());
    for first in blocks(channels) {
        let lanes = || (0..BLOCK).map(move |lane| first + channel_of(lane));
        for two in 0..taps.div_ceil(2) {
            for channel in lanes() {
                packed.extend((2 * two..2 * two + 2).map(|tap| i16::from(weights.weight(channel, tap).unwrap_or(0))));
            }
        }
        starts.extend(lanes().map(|channel| weights.start(channel)));
    }
    Ok(PackedDepthwise { channels, zero_point: weights.zero_point, starts, form: DepthwiseForm::Pairs(packed) })
}

pub(super) fn run(packed: &PackedDepthwise, mut run: DepthwiseRun<'_>, scratch: &mut Scratch) {
    let DepthwiseForm::Pairs(weights) = &packed.form else { return scalar::run(packed, run, scratch) };
    let channels = packed.channels;
    let twos = run.window.taps().div_ceil(2);
    let outside = packed.outside(scratch);
    for (number, first) in blocks(channels).enumerate() {
        let weights = &weights[number * twos * 2 * BLOCK..(number + 1) * twos * 2 * BLOCK];
        let starts = &packed.starts[number * BLOCK..(number + 1) * BLOCK];
        // SAFETY: this row of the table is handed out only where the CPU has these instructions.
        unsafe { lines(first, weights, starts, &mut run, outside) };
    }
}

/// Convolves every pixel of the run's lines for the block of channels from `first` on.
#[target_feature(enable = "avx2,fma")]
fn lines(first: usize, weights: &[i16], starts: &[i32], run: &mut DepthwiseRun<'_>, outside: &[u8]) {
    let channels = outside.len();
    let twos = run.window.taps().div_ceil(2);
    let multipliers = &run.requantization.multipliers[first..first + BLOCK];
    run.check(first..first + BLOCK, channels);
    assert!(twos * 2 <= Taps::MAX);
    assert!(weights.len() >= twos * 2 * BLOCK && starts.len() >= BLOCK);
    // SAFETY: 16 of each (asserted above and sliced).
    let (starts, multipliers) = unsafe {
        let load = |at: usize| _mm256_loadu_si256(starts.as_ptr().add(at).cast());
        let halves = |at: usize| {
            let four = |at: usize| _mm_loadu_ps(multipliers.as_ptr().add(at));
            _mm256_set_m128(four(at + 8), four(at))
        };
        ([load(0), load(8)], [halves(0), halves(4)])
    };
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
            for two in 0..twos {
                let [a, b]: [__m256i; 2] = std::array::from_fn(|part| {
                    let tap: *const __m128i = with_exposed_provenance(base + offsets[2 * two + part] + first);
                    // SAFETY: every tap has `channels` bytes (`Taps::for_each_pixel`), 16 of them from `first` on.
                    _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(tap) })
                });
                // SAFETY: two vectors of weights for every two taps (asserted above).
                let [low, high]: [__m256i; 2] = std::array::from_fn(|part| unsafe {
                    _mm256_loadu_si256(weights.as_ptr().add(2 * BLOCK * two + BLOCK * part).cast())
                });
                sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), low));
                sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), high));
            }
            let low = requantize.integers(sums[0], multipliers[0]);
            let high = requantize.integers(sums[1], multipliers[1]);
            // In the order of the channels again.
            let words = _mm256_packs_epi32(low, high);
            let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            // SAFETY: `place` is the block's first channel of a pixel that `output` has (asserted above).
            unsafe { _mm_storeu_si128(output.add(place).cast(), bytes) };
            place += channels;
        },
    );
}
