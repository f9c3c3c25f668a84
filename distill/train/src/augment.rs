//! Random changes to training samples.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use crate::error::TrainError;
use crate::options::Augmentation;

/// An augmentation for samples of one shape.
#[derive(Debug)]
pub(crate) struct Augmenter {
    shift: usize,
    fill: f32,
    height: usize,
    width: usize,
    scratch: Vec<f32>,
}

impl Augmenter {
    /// `None` when there is nothing to do.
    ///
    /// # Errors
    /// When samples of `shape` are no images, or are moved out of sight.
    pub(crate) fn new(options: &Augmentation, shape: &[usize]) -> Result<Option<Self>, TrainError> {
        let shift = options.shift_pixels;
        if shift == 0 {
            return Ok(None);
        }
        let (height, width) = match shape {
            [height, width] | [_, height, width] => (*height, *width),
            _ => (0, 0),
        };
        if shift >= height.min(width) {
            return Err(TrainError::BadOption {
                option: "augmentation shift_pixels".to_owned(),
                found: format!("{shift} with samples of shape {shape:?}"),
                expected: "samples [channels, height, width] or [height, width] larger than the shift".to_owned(),
            });
        }
        Ok(Some(Self { shift, fill: options.fill, height, width, scratch: Vec::new() }))
    }

    /// Moves every sample of `rows` (each of `size` elements) by its own random offset.
    pub(crate) fn apply(&mut self, rows: &mut [f32], size: usize, random: &mut ChaCha8Rng) {
        // A shift is smaller than an image, so it fits.
        let range = -(self.shift as i32)..=self.shift as i32;
        for sample in rows.chunks_exact_mut(size) {
            let mut draw = || random.random_range(range.clone()) as isize;
            let (dy, dx) = (draw(), draw());
            for plane in sample.chunks_exact_mut(self.height * self.width) {
                self.shift_plane(plane, dy, dx);
            }
        }
    }

    fn shift_plane(&mut self, plane: &mut [f32], dy: isize, dx: isize) {
        self.scratch.clear();
        self.scratch.extend_from_slice(plane);
        for row in 0..self.height {
            for column in 0..self.width {
                let from_row = row.checked_add_signed(-dy).filter(|row| *row < self.height);
                let from_column = column.checked_add_signed(-dx).filter(|column| *column < self.width);
                plane[row * self.width + column] = match (from_row, from_column) {
                    (Some(row), Some(column)) => self.scratch[row * self.width + column],
                    _ => self.fill,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn a_plane_moves_and_the_gap_is_filled() {
        let options = Augmentation { shift_pixels: 1, fill: 9.0 };
        let mut augmenter = Augmenter::new(&options, &[1, 2, 3]).unwrap().unwrap();
        let mut plane = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        augmenter.shift_plane(&mut plane, 1, -1);
        assert_eq!(plane, [9.0, 9.0, 9.0, 2.0, 3.0, 9.0]);
    }

    #[test]
    fn all_channels_of_a_sample_move_together() {
        let options = Augmentation { shift_pixels: 2, fill: 0.0 };
        let mut augmenter = Augmenter::new(&options, &[2, 4, 4]).unwrap().unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let plane: Vec<f32> = (1..=16).map(|v| v as f32).collect();
        let mut rows: Vec<f32> = (0..20).flat_map(|_| [plane.clone(), plane.clone()].concat()).collect();
        augmenter.apply(&mut rows, 32, &mut random);
        let samples: Vec<&[f32]> = rows.chunks(32).collect();
        assert!(samples.iter().all(|sample| sample[..16] == sample[16..]));
        assert!(samples.iter().any(|sample| sample[..16] != plane));
    }

    #[test]
    fn samples_that_are_no_images_are_refused() {
        let options = Augmentation { shift_pixels: 2, fill: 0.0 };
        for shape in [&[64usize][..], &[1, 2, 8], &[3, 3, 3, 3]] {
            assert!(Augmenter::new(&options, shape).is_err(), "{shape:?}");
        }
        assert!(Augmenter::new(&Augmentation::default(), &[64]).unwrap().is_none());
    }
}
