//! Convolutions in which every channel has one filter of its own.

use crate::error::{expect_length, expect_zero_point};
use crate::{KernelError, Requantization, Window};

/// The filters of a depthwise convolution before packing.
#[derive(Clone, Copy, Debug)]
pub struct DepthwiseWeights<'a> {
    /// `channels` filters of `taps` weights each.
    pub weights: &'a [i8],
    /// Channels of input and output.
    pub channels: usize,
    /// Weights of one filter: kernel height times width.
    pub taps: usize,
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

/// Filters in the order in which the kernel of one instruction set reads them.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedDepthwise {
    pub(crate) channels: usize,
    pub(crate) zero_point: i32,
    pub(crate) starts: Vec<i32>,
    pub(crate) form: DepthwiseForm,
}

/// The order of the packed filters; each instruction set has its own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DepthwiseForm {
    /// Tap by tap, all channels of one tap together.
    ByTap(Vec<i16>),
}

impl PackedDepthwise {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let weights = match &self.form {
            DepthwiseForm::ByTap(weights) => weights.len() * 2,
        };
        weights + self.starts.len() * 4
    }
}

/// What a depthwise kernel is given: one image.
#[derive(Debug)]
pub(crate) struct DepthwiseRun<'a> {
    pub(crate) window: &'a Window,
    pub(crate) input: &'a [u8],
    pub(crate) output: &'a mut [u8],
    pub(crate) requantization: &'a Requantization,
}
