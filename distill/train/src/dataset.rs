//! Samples with optional labels.

use runtime_tensor::{Dimension, Tensor, TensorSpec};

use crate::error::TrainError;

/// Samples stacked along the first axis, and a label for each.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// `[samples, ...]`, any numeric element type.
    pub x: Tensor,
    /// One class per sample; needed for cross-entropy and for accuracies.
    pub y: Option<Vec<u32>>,
}

impl Dataset {
    /// The number of samples.
    pub fn len(&self) -> usize {
        self.x.shape().first().copied().unwrap_or(0)
    }

    /// True when there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A data set as the network takes it.
#[derive(Debug)]
pub(crate) struct Samples<'d> {
    values: Vec<f32>,
    /// Shape of one sample.
    pub(crate) shape: Vec<usize>,
    pub(crate) count: usize,
    pub(crate) labels: Option<&'d [u32]>,
}

impl<'d> Samples<'d> {
    /// Converts to f32 and checks against the model's input.
    pub(crate) fn new(data: &'d Dataset, input: &TensorSpec) -> Result<Self, TrainError> {
        let samples = Self::from_tensor(&data.x, input)?;
        if let Some(labels) = &data.y
            && labels.len() != samples.count
        {
            return Err(TrainError::BadData {
                what: "number of labels".to_owned(),
                found: labels.len().to_string(),
                expected: format!("{}, one per sample", samples.count),
            });
        }
        Ok(Self { labels: data.y.as_deref(), ..samples })
    }

    pub(crate) fn from_tensor(x: &Tensor, input: &TensorSpec) -> Result<Self, TrainError> {
        let found = x.shape();
        let fits = found.len() == input.shape.len()
            && found.iter().zip(&input.shape).skip(1).all(|(size, wanted)| match wanted {
                Dimension::Fixed(wanted) => *wanted == *size as u64,
                Dimension::Symbol(_) => true,
            });
        if !fits || x.is_empty() {
            let wanted: Vec<String> = input.shape.iter().skip(1).map(ToString::to_string).collect();
            return Err(TrainError::BadData {
                what: format!("shape for the model's input `{}`", input.name),
                found: format!("{found:?}"),
                expected: format!("[samples, {}] with at least one sample", wanted.join(", ")),
            });
        }
        Ok(Self { values: x.to_f32_vec()?, shape: found[1..].to_vec(), count: found[0], labels: None })
    }

    /// Elements of one sample.
    pub(crate) fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// The rows named by `indices`, one after the other.
    pub(crate) fn gather(&self, indices: &[usize]) -> Vec<f32> {
        let size = self.size();
        let mut rows = Vec::with_capacity(indices.len() * size);
        for index in indices {
            rows.extend_from_slice(&self.values[index * size..(index + 1) * size]);
        }
        rows
    }

    /// The shape of a batch of `count` samples.
    pub(crate) fn batch_shape(&self, count: usize) -> Vec<usize> {
        let mut shape = vec![count];
        shape.extend_from_slice(&self.shape);
        shape
    }

    /// Index of the first sample that holds a value that is no finite number.
    pub(crate) fn first_not_finite(&self) -> Option<usize> {
        self.values.iter().position(|value| !value.is_finite()).map(|at| at / self.size().max(1))
    }
}
