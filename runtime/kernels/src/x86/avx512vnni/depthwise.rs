//! Depthwise convolution, four taps at a time.
//!
//! The bytes of four taps are interleaved, so that each lane of an accumulator has one channel's four. Interleaving
//! works inside of quarters of a vector, so that accumulator a has channels 4a to 4a + 3 of each quarter's sixteen;
//! packing the four accumulators together at the end undoes this order. Blocks of 64 channels, and of 32 where that
//! is all that is left. Windows of three by three have a column of three and nothing as their four, so that the
//! interleaved columns of one window serve the next ones.

mod lanes;
mod three;

use crate::depthwise::{DepthwiseForm, DepthwiseRun, PackedDepthwise, Taps};
use crate::scalar::depthwise as scalar;
use crate::{DepthwiseWeights, KernelError, Scratch};

/// Channels of the widest block.
const BLOCK: usize = 64;

/// First channel and width of each block.
fn blocks(channels: usize) -> impl Iterator<Item = (usize, usize)> {
    let whole = channels / BLOCK * BLOCK;
    let last = match channels - whole {
        0 => 0,
        1..=32 => 32,
        _ => BLOCK,
    };
    (0..whole).step_by(BLOCK).map(|first| (first, BLOCK)).chain((last > 0).then_some((whole, last)))
}

/// Weights and biases are laid out as the accumulators are: block, four taps, accumulator, lane.
pub(super) fn pack(weights: &DepthwiseWeights<'_>) -> Result<PackedDepthwise, KernelError> {
    weights.check()?;
    let (channels, taps) = (weights.channels, weights.taps);
    if taps > Taps::MAX {
        return scalar::pack(weights);
    }
    let is_three = taps == 9 && weights.width == 3;
    let fours: Vec<[usize; 4]> = if is_three {
        // There is no tap 9.
        (0..3).map(|column| [column, 3 + column, 6 + column, 9]).collect()
    } else {
        (0..taps.div_ceil(4)).map(|four| std::array::from_fn(|part| 4 * four + part)).collect()
    };
    let (mut packed, mut starts) = (Vec::new(), Vec::new());
    for (first, width) in blocks(channels) {
        let lanes = || (0..width).map(move |lane| first + channel_of(lane, width));
        for four in &fours {
            for channel in lanes() {
                packed.extend(four.map(|tap| weights.weight(channel, tap).unwrap_or(0)));
            }
        }
        starts.extend(lanes().map(|channel| weights.start(channel)));
    }
    let form = if is_three { DepthwiseForm::Columns(packed) } else { DepthwiseForm::Fours(packed) };
    Ok(PackedDepthwise { channels, zero_point: weights.zero_point, starts, form })
}

/// Which channel of a block of `width` channels lane `lane` of its four accumulators has, counted through.
fn channel_of(lane: usize, width: usize) -> usize {
    let (accumulator, lane) = (lane / (width / 4), lane % (width / 4));
    lane / 4 * 16 + accumulator * 4 + lane % 4
}

/// One block of channels of one run.
pub(super) struct Block<'a> {
    first: usize,
    /// Channels that are there; the rest of the block is padding.
    channels: usize,
    weights: &'a [i8],
    starts: &'a [i32],
    /// In the channels' own order.
    multipliers: &'a [f32],
}

pub(super) fn run(packed: &PackedDepthwise, run: DepthwiseRun<'_>, scratch: &mut Scratch) {
    let (DepthwiseForm::Fours(weights) | DepthwiseForm::Columns(weights)) = &packed.form else {
        return scalar::run(packed, run, scratch);
    };
    let is_three = matches!(packed.form, DepthwiseForm::Columns(_));
    let channels = packed.channels;
    let fours = run.window.taps().div_ceil(4);
    let outside = packed.outside(scratch);
    let mut run = run;
    let mut at = 0;
    for (first, width) in blocks(channels) {
        let block = Block {
            first,
            channels: width.min(channels - first),
            weights: &weights[at * 4 * fours..(at + width) * 4 * fours],
            starts: &packed.starts[at..at + width],
            multipliers: &run.requantization.multipliers[first..first + width],
        };
        // SAFETY: this row of the table is handed out only where the CPU has these instructions.
        unsafe {
            match (width, is_three) {
                (32, false) => lanes::narrow(&block, &mut run, outside),
                (_, false) => lanes::wide(&block, &mut run, outside),
                (32, true) => three::narrow(&block, &mut run, outside),
                (_, true) => three::wide(&block, &mut run, outside),
            }
        }
        at += width;
    }
}
