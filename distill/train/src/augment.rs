//! Random changes to training samples.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use runtime_tensor::Tensor;

use crate::dataset::Dataset;
use crate::error::TrainError;
use crate::options::Augmentation;

/// `data` followed by `copies` copies of it, each sample of each copy changed at random by `seed`; labels repeat.
///
/// A teacher whose logits are computed once sees exactly the samples that the student learns from, when both get this
/// set. With an augmentation drawn anew in every epoch it would speak of samples that the student never sees.
///
/// # Errors
/// When the samples are no images larger than the shift, or the result would be too large.
pub fn augmented(data: &Dataset, augmentation: &Augmentation, copies: usize, seed: u64) -> Result<Dataset, TrainError> {
    let original = data.x.to_f32_vec()?;
    let (count, sample) = (data.len(), data.x.shape().get(1..).unwrap_or_default());
    let Some(mut augmenter) = Augmenter::new(augmentation, sample)?.filter(|_| copies > 0 && count > 0) else {
        return Ok(data.clone());
    };
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut values = original.clone();
    for _ in 0..copies {
        let mut copy = original.clone();
        augmenter.apply(&mut copy, original.len() / count, &mut random);
        values.extend(copy);
    }
    let shape = [&[count * (copies + 1)], sample].concat();
    Ok(Dataset { x: Tensor::from_f32(shape, values)?, y: data.y.as_ref().map(|labels| labels.repeat(copies + 1)) })
}

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
    fn copies_follow_the_original_and_repeat_by_seed() {
        let x = Tensor::from_f32(vec![2, 1, 3, 3], (0..18).map(|v| v as f32).collect()).unwrap();
        let data = Dataset { x, y: Some(vec![4, 7]) };
        let options = Augmentation { shift_pixels: 1, fill: 0.0 };
        let first = augmented(&data, &options, 3, 5).unwrap();
        assert_eq!((first.len(), first.y.as_deref()), (8, Some(&[4, 7, 4, 7, 4, 7, 4, 7][..])));
        assert_eq!(first.x.as_f32().unwrap()[..18], *data.x.as_f32().unwrap());
        assert_eq!(first, augmented(&data, &options, 3, 5).unwrap());
        assert_ne!(first, augmented(&data, &options, 3, 6).unwrap());
        assert_eq!(augmented(&data, &options, 0, 5).unwrap(), data);
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
