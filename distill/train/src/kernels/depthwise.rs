//! One plane of a depthwise convolution: shifted multiply-adds over a padded copy, so that every tap is one long,
//! contiguous pass. A stride is handled by computing at stride one and picking: with eight lanes a vector that is
//! still faster than gathering.

use super::vector::{shifted_dots, weighted_shifts};
use super::window::Window;

/// The geometry of one plane.
#[derive(Clone, Debug)]
pub(super) struct Plane {
    input: [usize; 2],
    output: [usize; 2],
    window: Window,
    /// Columns of the padded plane.
    pitch: usize,
    /// Rows of the padded plane.
    rows: usize,
    /// Where each tap reads in the padded plane, relative to the position of the window.
    offsets: Vec<usize>,
    /// The same taps seen from the input: where each reads in the spread gradient.
    mirrored: Vec<usize>,
    /// Elements from the first to the last window position in the padded plane.
    span: usize,
}

/// Buffers that one thread reuses from plane to plane.
pub(super) struct Scratch {
    padded: Vec<f32>,
    accumulated: Vec<f32>,
    /// The gradient of the output at stride one, with [`Plane::lead`] zeros before it.
    spread: Vec<f32>,
    padded_gradient: Vec<f32>,
}

impl Plane {
    pub(super) fn new(input: [usize; 2], output: [usize; 2], window: Window) -> Self {
        // A window that was rounded up may begin inside and end outside the declared padding.
        let needed = |axis: usize| (output[axis] - 1) * window.stride[axis] + window.extent(axis);
        let rows = (input[0] + window.pads_begin[0] + window.pads_end[0]).max(needed(0));
        let pitch = (input[1] + window.pads_begin[1] + window.pads_end[1]).max(needed(1));
        let offsets: Vec<usize> = (0..window.taps())
            .map(|tap| {
                let (ky, kx) = (tap / window.kernel[1], tap % window.kernel[1]);
                ky * window.dilation[0] * pitch + kx * window.dilation[1]
            })
            .collect();
        let lead = offsets.last().copied().unwrap_or(0);
        let mirrored = offsets.iter().map(|offset| lead - offset).collect();
        let span = (output[0] - 1) * window.stride[0] * pitch + (output[1] - 1) * window.stride[1] + 1;
        Self { input, output, window, pitch, rows, offsets, mirrored, span }
    }

    fn lead(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    pub(super) fn scratch(&self) -> Scratch {
        let padded = self.rows * self.pitch;
        Scratch {
            padded: vec![0.0; padded],
            accumulated: vec![0.0; self.span],
            spread: vec![0.0; self.lead() + padded],
            padded_gradient: vec![0.0; padded],
        }
    }

    /// Where row `row` of the input begins in the padded plane.
    fn padded_row(&self, row: usize) -> usize {
        (row + self.window.pads_begin[0]) * self.pitch + self.window.pads_begin[1]
    }

    /// Copies the input between the padding, which stays zero.
    fn pad(&self, x: &[f32], padded: &mut [f32]) {
        for (row, values) in x.chunks_exact(self.input[1]).enumerate() {
            let at = self.padded_row(row);
            padded[at..at + self.input[1]].copy_from_slice(values);
        }
    }

    pub(super) fn forward(&self, scratch: &mut Scratch, x: &[f32], weight: &[f32], bias: f32, y: &mut [f32]) {
        self.pad(x, &mut scratch.padded);
        weighted_shifts(&scratch.padded, weight, &self.offsets, bias, &mut scratch.accumulated);
        for (row, out) in y.chunks_exact_mut(self.output[1]).enumerate() {
            let from = &scratch.accumulated[row * self.window.stride[0] * self.pitch..];
            for (value, source) in out.iter_mut().zip(from.iter().step_by(self.window.stride[1])) {
                *value = *source;
            }
        }
    }

    /// Adds to `dw`, and to `dx` where it is wanted.
    pub(super) fn backward(
        &self,
        scratch: &mut Scratch,
        x: &[f32],
        weight: &[f32],
        dy: &[f32],
        dw: &mut [f32],
        dx: Option<&mut [f32]>,
    ) {
        self.pad(x, &mut scratch.padded);
        let lead = self.lead();
        for (row, gradient) in dy.chunks_exact(self.output[1]).enumerate() {
            let at = lead + row * self.window.stride[0] * self.pitch;
            let target = scratch.spread[at..].iter_mut().step_by(self.window.stride[1]);
            for (value, source) in target.zip(gradient) {
                *value = *source;
            }
        }
        shifted_dots(&scratch.padded, &scratch.spread[lead..lead + self.span], &self.offsets, dw);
        let Some(dx) = dx else { return };
        weighted_shifts(&scratch.spread, weight, &self.mirrored, 0.0, &mut scratch.padded_gradient);
        for (row, out) in dx.chunks_exact_mut(self.input[1]).enumerate() {
            let at = self.padded_row(row);
            for (value, source) in out.iter_mut().zip(&scratch.padded_gradient[at..]) {
                *value += source;
            }
        }
    }
}
