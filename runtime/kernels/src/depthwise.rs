//! Convolutions in which every channel has one filter of its own.

use crate::error::{expect_length, expect_zero_point};
use crate::scratch::room;
use crate::{KernelError, Requantization, Scratch, Window};

/// The filters of a depthwise convolution before packing.
#[derive(Clone, Copy, Debug)]
pub struct DepthwiseWeights<'a> {
    /// `channels` filters of `taps` weights each.
    pub weights: &'a [i8],
    /// Channels of input and output.
    pub channels: usize,
    /// Weights of one filter: kernel height times width.
    pub taps: usize,
    /// Kernel width.
    pub width: usize,
    /// One a channel, in units of x_scale * w_scale; empty means zeros.
    pub bias: &'a [i32],
    /// Zero point of the input as stored.
    pub zero_point: i32,
}

impl DepthwiseWeights<'_> {
    pub(crate) fn check(&self) -> Result<(), KernelError> {
        if self.taps > crate::DEPTH_MAX {
            return Err(KernelError::Depth { found: self.taps, max: crate::DEPTH_MAX });
        }
        expect_length("the number of weights", self.weights.len(), self.taps.saturating_mul(self.channels))?;
        if !self.bias.is_empty() {
            expect_length("the length of the bias", self.bias.len(), self.channels)?;
        }
        expect_zero_point(self.zero_point)?;
        Ok(())
    }
}

#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
impl DepthwiseWeights<'_> {
    /// The weight of a channel's tap; `None` when there is no such channel or tap.
    pub(crate) fn weight(&self, channel: usize, tap: usize) -> Option<i8> {
        let there = channel < self.channels && tap < self.taps;
        there.then(|| self.weights[channel * self.taps + tap])
    }

    /// What the accumulator of `channel` starts from: bias - zero point * sum of weights. 0 without such a channel.
    ///
    /// Then every tap counts, those outside of the image as the zero point.
    pub(crate) fn start(&self, channel: usize) -> i32 {
        let sum: i32 = (0..self.taps).filter_map(|tap| self.weight(channel, tap)).map(i32::from).sum();
        let bias = self.bias.get(channel).copied().unwrap_or(0);
        bias.wrapping_sub(self.zero_point.wrapping_mul(sum))
    }
}

/// Where the taps of each window lie.
#[derive(Debug)]
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
pub(crate) struct Taps {
    /// Offset of each tap from its window's first; those after the last are 0.
    offsets: [usize; Self::MAX],
    channels: usize,
}

#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
impl Taps {
    /// Taps of the largest window, a multiple of four.
    pub(crate) const MAX: usize = 64;

    /// Of a window over an image of `channels` channels.
    pub(crate) fn new(window: &Window, channels: usize) -> Self {
        let mut offsets = [0; Self::MAX];
        let count = window.taps().min(Self::MAX);
        for (tap, offset) in offsets[..count].iter_mut().enumerate() {
            let (row, column) = (tap / window.kernel[1], tap % window.kernel[1]);
            *offset = (row * window.dilation[0] * window.input[1] + column * window.dilation[1]) * channels;
        }
        Self { offsets, channels }
    }

    /// Calls `visit(base, offsets)` for every pixel of output lines `lines`, in order. The first channel of tap t is at
    /// address `base + offsets[t]`: in the image, or the first of `outside` where the tap lies outside of it. Taps from
    /// the last one up to the next multiple of four are some tap's. Both slices' provenance is exposed.
    ///
    /// Panics when `input` has not every pixel of the window's image.
    #[inline(always)]
    pub(crate) fn for_each_pixel(
        &self,
        window: &Window,
        lines: std::ops::Range<usize>,
        input: &[u8],
        outside: &[u8],
        mut visit: impl FnMut(usize, &[usize; Self::MAX]),
    ) {
        let channels = self.channels;
        assert!(input.len() >= window.input_pixels() * channels && outside.len() >= channels);
        let (image, beside) = (input.as_ptr().expose_provenance(), outside.as_ptr().expose_provenance());
        let [_, width] = window.output;
        let whole = window.whole_columns();
        for line in lines {
            let rows_inside = window.inside(0, line).len() == window.kernel[0];
            for column in 0..width {
                if rows_inside && whole.contains(&column) {
                    let pixel = window.index(0, line, 0) * window.input[1] + window.index(1, column, 0);
                    visit(image + pixel * channels, &self.offsets);
                    continue;
                }
                let mut addresses = [beside; Self::MAX];
                window.for_each_tap([line, column], |tap, pixel| addresses[tap] = image + pixel * channels);
                visit(0, &addresses);
            }
        }
    }
}

/// Filters in the order in which the kernel of one instruction set reads them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PackedDepthwise {
    pub(crate) channels: usize,
    pub(crate) zero_point: i32,
    pub(crate) starts: Vec<i32>,
    pub(crate) form: DepthwiseForm,
}

/// The order of the packed filters; each instruction set has its own.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DepthwiseForm {
    /// Tap by tap, all channels of one tap together.
    Taps(Vec<i16>),
    /// Blocks of channels; in a block four taps at a time, and the four weights of one channel beside each other.
    Fours(Vec<i8>),
    /// The same of windows of three by three: a column of a window and nothing are the four.
    Columns(Vec<i8>),
    /// Blocks of channels; in a block two taps at a time, and the two weights of one channel beside each other.
    Pairs(Vec<i16>),
}

impl PackedDepthwise {
    /// What lies outside of the image: a pixel of zero points.
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
    pub(crate) fn outside<'a>(&self, scratch: &'a mut Scratch) -> &'a [u8] {
        let outside = room(&mut scratch.patches, self.channels);
        // At most 255.
        outside.fill(self.zero_point as u8);
        outside
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        let weights = match &self.form {
            DepthwiseForm::Taps(weights) | DepthwiseForm::Pairs(weights) => weights.len() * 2,
            DepthwiseForm::Fours(weights) | DepthwiseForm::Columns(weights) => weights.len(),
        };
        weights + self.starts.len() * 4
    }
}

/// What a depthwise kernel is given: some lines of one image's output.
#[derive(Debug)]
pub(crate) struct DepthwiseRun<'a> {
    pub(crate) window: &'a Window,
    /// Which lines; `output` has no others.
    pub(crate) lines: std::ops::Range<usize>,
    pub(crate) input: &'a [u8],
    pub(crate) output: &'a mut [u8],
    pub(crate) requantization: &'a Requantization,
}

#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
impl DepthwiseRun<'_> {
    /// Checks what the pointers of a kernel rely on that works on channels `block` of `channels`.
    #[inline(always)]
    pub(crate) fn check(&self, block: std::ops::Range<usize>, channels: usize) {
        assert!(block.end <= channels && self.input.len() >= self.window.input_pixels() * channels);
        assert!(self.output.len() >= self.lines.len() * self.window.output[1] * channels);
    }
}
