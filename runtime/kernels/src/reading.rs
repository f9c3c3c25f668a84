//! How a dense kernel reads an image: windows where they lie, or lines copied with their padding.

use std::ops::Range;

use crate::Window;
use crate::rows::Rows;
use crate::scratch::room;

/// How a dense kernel reads the image.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Offset of each piece of a window where lines lie as in the image, and where they are copied with their padding.
    pieces: [Vec<usize>; 2],
    /// Whether no window hangs over an edge.
    inside: bool,
    /// Elements of one line, copied with its padding.
    padded_line: usize,
    /// Channels of the image.
    channels: usize,
    /// Channels before the last group's.
    last_group: usize,
}

impl Reading {
    /// Of windows over an image of `channels` channels in `groups` groups.
    pub(crate) fn new(window: &Window, channels: usize, groups: usize) -> Self {
        let reach = |axis: usize| {
            (window.output[axis].max(1) - 1) * window.stride[axis]
                + (window.kernel[axis] - 1) * window.dilation[axis]
                + 1
        };
        let together = Self::taps_together(window, groups);
        let pieces = |width: usize| {
            let line = move |row: usize| {
                (0..window.kernel[1])
                    .step_by(if together { window.kernel[1] } else { 1 })
                    .map(move |column| (row * window.dilation[0] * width + column * window.dilation[1]) * channels)
            };
            (0..window.kernel[0]).flat_map(line).collect()
        };
        let fits = |axis: usize| window.pad[axis] == 0 && reach(axis) <= window.input[axis];
        Self {
            pieces: [pieces(window.input[1]), pieces(reach(1))],
            inside: fits(0) && fits(1),
            padded_line: reach(1) * channels,
            channels,
            last_group: channels - channels / groups.max(1),
        }
    }

    /// Whether the taps of one line of a window are neighbours in memory.
    pub(crate) fn taps_together(window: &Window, groups: usize) -> bool {
        groups == 1 && window.dilation[1] == 1
    }

    /// The rows of output lines `lines`: in the image where every window is inside of it, else in `patches`, where what
    /// lies outside of the image is `outside`. `over` elements of each piece may be read.
    pub(crate) fn rows<'a, T: Copy + Default>(
        &'a self,
        window: &Window,
        over: usize,
        outside: T,
        input: &'a [T],
        lines: Range<usize>,
        patches: &'a mut Vec<T>,
    ) -> Rows<'a, T> {
        let channels = self.channels;
        let (count, step) = (window.output[1], window.stride[1] * channels);
        let image_line = window.input[1] * channels;
        let over = over + self.last_group;
        if self.inside {
            let line_step = window.stride[0] * image_line;
            let input = &input[lines.start * line_step..];
            let pieces = &self.pieces[0];
            let rows = if window.is_pointwise() {
                Rows { input, lines: 1, line_step: 0, count: count * lines.len(), step, pieces }
            } else {
                Rows { input, lines: lines.len(), line_step, count, step, pieces }
            };
            if rows.reach(over) <= input.len() {
                return rows;
            }
        }
        let line_step = window.stride[0] * self.padded_line;
        let height = (lines.len().max(1) - 1) * window.stride[0] + (window.kernel[0] - 1) * window.dilation[0] + 1;
        let padded = room(patches, height * self.padded_line + over);
        let top = lines.start * window.stride[0];
        for (line, place) in padded.chunks_exact_mut(self.padded_line.max(1)).take(height).enumerate() {
            window.copy_line(input, channels, top + line, outside, place);
        }
        Rows { input: padded, lines: lines.len(), line_step, count, step, pieces: &self.pieces[1] }
    }
}
