//! Data: one or several `.npz` files with `x` and `y`, cut into four parts that never share a sample with the test part.

mod check;
mod npy;
pub(crate) mod npz;
mod split;

use std::path::Path;

use distill_train::Dataset;
use runtime_tensor::{ElementType, Tensor};
use runtime_trust::Digest;

use crate::error::{At as _, PipelineError, Result};

pub(crate) use check::{Finding, check_labels, check_values};
pub(crate) use split::{Data, load};

/// How values of the data become values of the model's input: `value * scale + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Preparation {
    pub(crate) scale: f32,
    pub(crate) offset: f32,
}

impl Preparation {
    /// The tensor as the model takes it.
    pub(crate) fn apply(self, x: &Tensor) -> Result<Tensor> {
        let mut values = x.to_f32_vec()?;
        if self.scale != 1.0 || self.offset != 0.0 {
            for value in &mut values {
                *value = *value * self.scale + self.offset;
            }
        }
        Ok(Tensor::from_f32(x.shape().to_vec(), values)?)
    }
}

/// Samples as they stand in a file.
#[derive(Clone, Debug)]
pub(crate) struct RawSet {
    pub(crate) x: Tensor,
    pub(crate) y: Option<Vec<u32>>,
    /// Digest of the file.
    pub(crate) digest: Digest,
}

impl RawSet {
    /// The same samples with each of the shape `sample`, such as `[1, 28, 28]` for pictures stored as `[28, 28]`.
    pub(crate) fn shaped(mut self, sample: Option<&[usize]>) -> Result<Self> {
        if let Some(sample) = sample {
            let found = self.x.shape().to_vec();
            let wanted = [&found[..1], sample].concat();
            self.x = self.x.reshape(wanted).map_err(|_| {
                PipelineError::input(format!(
                    "found samples of shape {:?}, which cannot become {sample:?}",
                    &found[1..]
                ))
            })?;
        }
        Ok(self)
    }
}

/// Samples of one part as the model takes them.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// `[samples, ...]`, f32, scaled.
    pub(crate) x: Tensor,
    pub(crate) y: Option<Vec<u32>>,
    /// Digest of each sample as it stood in its file.
    pub(crate) samples: Vec<Digest>,
}

impl Part {
    /// The number of samples.
    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// The part as the trainer takes it.
    pub(crate) fn dataset(&self) -> Dataset {
        Dataset { x: self.x.clone(), y: self.y.clone() }
    }

    /// The rows named by `indices`.
    pub(crate) fn rows(&self, indices: &[usize]) -> Result<Tensor> {
        rows(&self.x, indices)
    }
}

/// Reads `x` and, where it is there, `y`; the shapes must fit each other.
pub(crate) fn read(path: &Path) -> Result<RawSet> {
    let bytes = runtime_disk::read_bounded(path, npz::FILE_BYTES_MAX)?;
    let digest = Digest::of(&bytes);
    let set = (|| {
        let mut arrays = npz::parse(&bytes, &["x", "y"])?;
        let x = arrays.remove("x").ok_or_else(|| PipelineError::input("found no array `x`, expected the samples"))?;
        if x.shape().len() < 2 || x.is_empty() {
            return Err(PipelineError::input(format!(
                "found `x` of shape {:?}, expected [samples, ...] with at least one sample",
                x.shape()
            )));
        }
        let y = arrays.remove("y").map(|y| labels(&y, x.shape()[0])).transpose()?;
        Ok(RawSet { x, y, digest })
    })();
    set.at(path.display())
}

fn labels(y: &Tensor, samples: usize) -> Result<Vec<u32>> {
    let fits = y.shape().first() == Some(&samples) && y.len() == samples;
    if !fits {
        return Err(PipelineError::input(format!(
            "found `y` of shape {:?}, expected [{samples}], one label per sample of `x`",
            y.shape()
        )));
    }
    if y.element().is_float() {
        return Err(PipelineError::input(format!("found `y` of type {}, expected whole numbers", y.element())));
    }
    (0..samples)
        .map(|at| {
            let value = y.value_f64(at).unwrap_or(-1.0);
            if (0.0..=f64::from(u32::MAX)).contains(&value) {
                Ok(value as u32)
            } else {
                Err(PipelineError::input(format!("found label {value} at sample {at}, expected 0 or more")))
            }
        })
        .collect()
}

/// The rows of `tensor` named by `indices`, in that order.
pub(crate) fn rows(tensor: &Tensor, indices: &[usize]) -> Result<Tensor> {
    let size = tensor.bytes().len() / tensor.shape()[0].max(1);
    let mut bytes = Vec::with_capacity(indices.len() * size);
    for index in indices {
        bytes.extend_from_slice(&tensor.bytes()[index * size..(index + 1) * size]);
    }
    let mut shape = tensor.shape().to_vec();
    shape[0] = indices.len();
    Ok(Tensor::new(tensor.element(), shape, &bytes)?)
}

/// A digest of every sample: of its element type, shape and bytes.
pub(crate) fn sample_digests(x: &Tensor) -> Vec<Digest> {
    let kind = format!("{} {:?}\n", x.element(), &x.shape()[1..]);
    let size = (x.bytes().len() / x.shape()[0].max(1)).max(1);
    x.bytes().chunks_exact(size).map(|sample| Digest::of(&[kind.as_bytes(), sample].concat())).collect()
}

/// True for types whose values may be no numbers.
fn can_be_nan(element: ElementType) -> bool {
    element.is_float()
}
