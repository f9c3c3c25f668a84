//! The geometry of a sliding window, shared by convolution and pooling.

/// How a kernel slides over one image plane, rows first: `[height, width]` everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    /// Padding before the first row and column.
    pub(crate) pads_begin: [usize; 2],
    /// Padding after the last row and column.
    pub(crate) pads_end: [usize; 2],
    /// Round the output size up instead of down (ONNX `ceil_mode`).
    pub(crate) ceil: bool,
}

impl Window {
    /// A window that is moved one element at a time and never leaves the plane.
    #[cfg(test)]
    pub(crate) fn plain(kernel: [usize; 2]) -> Self {
        Self { kernel, stride: [1, 1], dilation: [1, 1], pads_begin: [0, 0], pads_end: [0, 0], ceil: false }
    }

    /// Rows (axis 0) or columns (axis 1) that one position of the kernel spans.
    pub(crate) fn extent(&self, axis: usize) -> usize {
        self.dilation[axis] * (self.kernel[axis] - 1) + 1
    }

    /// Output size for a plane of `input` size, `None` when the kernel does not fit.
    pub(crate) fn output(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        let mut out = [0; 2];
        for axis in 0..2 {
            let padded = input[axis] + self.pads_begin[axis] + self.pads_end[axis];
            let room = padded.checked_sub(self.extent(axis))?;
            out[axis] = if self.ceil {
                let up = room.div_ceil(self.stride[axis]) + 1;
                // The last window must begin inside the image or its leading padding.
                if (up - 1) * self.stride[axis] >= input[axis] + self.pads_begin[axis] { up - 1 } else { up }
            } else {
                room / self.stride[axis] + 1
            };
        }
        Some(out)
    }

    /// Kernel taps: height times width.
    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Where tap `tap` along `axis` reads relative to `output position * stride`.
    pub(crate) fn offset(&self, axis: usize, tap: usize) -> isize {
        (tap * self.dilation[axis]) as isize - self.pads_begin[axis] as isize
    }

    /// The output positions of `axis` for which the tap at `offset` lies inside the input.
    pub(crate) fn inside(&self, axis: usize, offset: isize, input: usize, output: usize) -> std::ops::Range<usize> {
        let stride = self.stride[axis];
        let begin = if offset >= 0 { 0 } else { offset.unsigned_abs().div_ceil(stride).min(output) };
        let room = input as isize - offset;
        let end = if room <= 0 { 0 } else { (room as usize).div_ceil(stride).min(output) };
        begin..end.max(begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_sizes_follow_onnx() {
        let mut window = Window::plain([3, 2]);
        assert_eq!(window.output([5, 5]), Some([3, 4]));
        window.stride = [2, 2];
        window.pads_begin = [1, 0];
        window.pads_end = [1, 1];
        assert_eq!(window.output([5, 5]), Some([3, 3]));
        window.ceil = true;
        // The third column window would begin in the trailing padding.
        assert_eq!(window.output([4, 4]), Some([3, 2]));
        assert_eq!(Window::plain([3, 3]).output([2, 9]), None);
    }

    #[test]
    fn inside_is_exactly_the_positions_that_read_the_input() {
        for stride in 1..4 {
            for dilation in 1..3 {
                for pad in 0..4 {
                    let mut window = Window::plain([3, 3]);
                    window.stride = [stride; 2];
                    window.dilation = [dilation; 2];
                    window.pads_begin = [pad; 2];
                    window.pads_end = [pad; 2];
                    let Some([output, _]) = window.output([7, 7]) else {
                        continue;
                    };
                    for tap in 0..3 {
                        let offset = window.offset(0, tap);
                        let found = window.inside(0, offset, 7, output);
                        let expected: Vec<usize> =
                            (0..output).filter(|o| (0..7).contains(&((o * stride) as isize + offset))).collect();
                        assert_eq!(found.collect::<Vec<_>>(), expected);
                    }
                }
            }
        }
    }
}
