//! The guard of near-zero channels: no weight scale so small that another number leaves its integers.
//!
//! Training switches channels off: their weights become 1e-20, while their bias lives on. A scale made for such
//! weights alone would give the bias more steps than 32 bits hold, and the product of scales might be no normal
//! number. The guard raises such a scale; the channel's weights then round to zero, which is what they are.

use crate::parameters::SCALE_MIN;
use crate::weights::{BIAS_MAX, CODE_MAX};

/// A channel whose largest weight is this much smaller than the tensor's is as good as zero.
const CHANNEL_MIN: f32 = 1e-6;

/// The smallest scale of a channel with this bias, in a tensor whose largest weight is `whole`.
pub(crate) fn scale_min(bias: f32, input_scale: f32, whole: f32) -> f32 {
    (bias.abs() / (input_scale * BIAS_MAX)).max(whole * CHANNEL_MIN / CODE_MAX).max(SCALE_MIN)
}

/// Channels whose scale holds more than their weights ask for, by more than the search of scales may add.
pub(crate) fn channels_guarded(largest: &[f32], scales: &[f32], code_max: f32) -> u64 {
    const SEARCHED_MAX: f32 = 2.5;
    let guarded = |(&largest, &scale): (&f32, &f32)| scale > largest / code_max * SEARCHED_MAX;
    // One scale for all is above what most channels ask for, and that is no guard.
    if scales.len() < 2 { 0 } else { largest.iter().zip(scales).filter(|&pair| guarded(pair)).count() as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_leaves_room_for_bias_and_product() {
        assert_eq!(scale_min(0.0, 1.0, 0.0), SCALE_MIN);
        assert_eq!(scale_min(0.0, 1.0, 127.0), 1e-6);
        let scale = scale_min(-1000.0, 1e-3, 1e-20);
        assert!(1000.0 / (scale * 1e-3) <= BIAS_MAX * 1.0001, "{scale}");
    }

    #[test]
    fn guarded_channels_are_counted() {
        assert_eq!(channels_guarded(&[1.27, 1e-20, 0.0], &[0.01, 1e-8, 1e-8], CODE_MAX), 2);
        assert_eq!(channels_guarded(&[1.27, 1.27], &[0.01, 0.02], CODE_MAX), 0, "the search of scales may double them");
        assert_eq!(channels_guarded(&[1.27, 1e-20], &[0.01], CODE_MAX), 0);
    }
}
