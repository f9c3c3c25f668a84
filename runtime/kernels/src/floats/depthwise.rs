//! Float convolutions in which every channel has one filter of its own.

use std::ops::Range;

use super::FloatEnd;
use super::dense::FloatWeight;
use crate::{AlignedFloats, Table, Window};

/// Filters tap by tap, all channels of one tap together, padded to whole vectors.
#[derive(Debug)]
pub(crate) struct PackedFloatDepthwise {
    pub(crate) channels: usize,
    /// Channels with padding: the distance of two taps.
    pub(crate) padded: usize,
    pub(crate) weights: AlignedFloats,
    /// One a channel, padded.
    pub(crate) starts: Vec<f32>,
}

impl PackedFloatDepthwise {
    /// Of filters of `taps` weights each, channel by channel; `bias` is one a channel, or empty.
    pub(crate) fn new<W: FloatWeight>(table: &Table, weights: &[W], taps: usize, bias: &[f32]) -> Self {
        let channels = weights.len() / taps.max(1);
        let padded = channels.next_multiple_of(table.float.depthwise_lanes);
        let mut packed = AlignedFloats::zeros(taps * padded);
        for (channel, filter) in weights.chunks_exact(taps.max(1)).enumerate() {
            filter.iter().enumerate().for_each(|(tap, &weight)| packed[tap * padded + channel] = weight.float());
        }
        let mut starts = vec![0.0; padded];
        starts[..bias.len()].copy_from_slice(bias);
        Self { channels, padded, weights: packed, starts }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        (self.weights.len() + self.starts.len()) * 4
    }
}

/// What a depthwise kernel is given: some lines of one image's output.
#[derive(Debug)]
pub(crate) struct FloatDepthwiseRun<'a> {
    pub(crate) packed: &'a PackedFloatDepthwise,
    pub(crate) window: &'a Window,
    /// Which lines; `output` and `added` have no others.
    pub(crate) lines: Range<usize>,
    pub(crate) input: &'a [f32],
    pub(crate) added: Option<&'a [f32]>,
    pub(crate) end: FloatEnd,
    pub(crate) output: &'a mut [f32],
}

impl FloatDepthwiseRun<'_> {
    /// Checks everything that a kernel's pointers rely on.
    pub(crate) fn check(&self, lanes: usize) {
        let (packed, window) = (self.packed, self.window);
        let written = self.lines.len() * window.output[1] * packed.channels;
        assert!(packed.padded % lanes == 0 && packed.channels <= packed.padded);
        assert!(packed.weights.len() >= window.taps() * packed.padded && packed.starts.len() >= packed.padded);
        assert!(self.input.len() >= window.input_pixels() * packed.channels);
        assert!(self.output.len() >= written && self.added.is_none_or(|added| added.len() >= written));
        assert!(self.lines.end <= window.output[0]);
    }
}
