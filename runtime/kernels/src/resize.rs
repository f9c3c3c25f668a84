//! Images of other sizes, by the nearest pixel.

use crate::KernelError;
use crate::error::expect_length;

/// Which pixel of the input each pixel of the output is, prepared for running. Channels last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearestResize {
    /// Lines and columns of the input.
    input: [usize; 2],
    /// For each line of the output, the one of the input.
    lines: Vec<usize>,
    /// For each column of the output, the one of the input.
    columns: Vec<usize>,
    channels: usize,
}

impl NearestResize {
    /// `lines` and `columns` have one element for each of the output, below those of `input`.
    pub fn new(
        input: [usize; 2],
        lines: Vec<usize>,
        columns: Vec<usize>,
        channels: usize,
    ) -> Result<Self, KernelError> {
        for (places, size) in [(&lines, input[0]), (&columns, input[1])] {
            if let Some(&far) = places.iter().find(|&&place| place >= size) {
                return Err(KernelError::Shape { what: "the place of a pixel", found: far, expected: size });
            }
        }
        expect_length("the number of channels of a pixel", channels.max(1), channels)?;
        Ok(Self { input, lines, columns, channels })
    }

    /// Whole images.
    pub fn run<T: Copy>(&self, input: &[T], output: &mut [T]) {
        let (channels, [lines, columns]) = (self.channels, self.input);
        let line = columns * channels;
        let to_line = self.columns.len() * channels;
        let sizes = (lines * line, self.lines.len() * to_line);
        if sizes.0 == 0 || sizes.1 == 0 {
            return;
        }
        for (image, output) in input.chunks_exact(sizes.0).zip(output.chunks_exact_mut(sizes.1)) {
            for (output, &from) in output.chunks_exact_mut(to_line).zip(&self.lines) {
                let line = &image[from * line..][..line];
                for (pixel, &from) in output.chunks_exact_mut(channels).zip(&self.columns) {
                    pixel.copy_from_slice(&line[from * channels..][..channels]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_is_the_named_one() {
        let resize = NearestResize::new([2, 2], vec![1, 0, 0], vec![0, 1, 1], 2).unwrap();
        let mut output = [0; 36];
        resize.run(&(0..16).collect::<Vec<u8>>(), &mut output);
        let image = [4, 5, 6, 7, 6, 7, 0, 1, 2, 3, 2, 3, 0, 1, 2, 3, 2, 3];
        assert_eq!(output[..18], image);
        assert_eq!(output[18..], image.map(|byte| byte + 8));
    }

    #[test]
    fn pixels_outside_are_refused() {
        assert!(NearestResize::new([2, 2], vec![2], vec![0], 1).is_err());
        assert!(NearestResize::new([2, 2], vec![0], vec![3], 1).is_err());
        assert!(NearestResize::new([2, 2], vec![0], vec![0], 0).is_err());
    }
}
