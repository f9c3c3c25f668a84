//! Losses on logits.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData};

use crate::backend::TrainBackend;
use crate::options::LossTerm;

/// What one batch is compared with.
pub(crate) struct Targets<'a> {
    pub(crate) classes: usize,
    /// One label per row.
    pub(crate) labels: Option<&'a [u32]>,
    /// The teacher's logits, row by row.
    pub(crate) teacher: Option<&'a [f32]>,
}

/// The weighted sum of all terms, averaged over the batch.
///
/// A term whose target is missing is left out; the caller has checked that none is.
pub(crate) fn total<B: TrainBackend>(terms: &[LossTerm], logits: Tensor<B, 2>, targets: &Targets<'_>) -> Tensor<B, 1> {
    let mut sum: Option<Tensor<B, 1>> = None;
    for term in terms {
        let (weight, loss) = match (term, targets.labels, targets.teacher) {
            (LossTerm::CrossEntropy { weight }, Some(labels), _) => {
                (*weight, cross_entropy(logits.clone(), labels, targets.classes))
            }
            (LossTerm::Distillation { weight, temperature }, _, Some(teacher)) => {
                (*weight, distillation(logits.clone(), teacher, *temperature))
            }
            _ => continue,
        };
        let weighted = loss.mul_scalar(weight);
        sum = Some(match sum {
            None => weighted,
            Some(sum) => sum + weighted,
        });
    }
    sum.unwrap_or_else(|| logits.sum().mul_scalar(0.0))
}

/// Mean over rows of `-log softmax(logits)[label]`.
fn cross_entropy<B: TrainBackend>(logits: Tensor<B, 2>, labels: &[u32], classes: usize) -> Tensor<B, 1> {
    let mut chosen = vec![0.0f32; labels.len() * classes];
    for (row, label) in labels.iter().enumerate() {
        chosen[row * classes + *label as usize] = 1.0;
    }
    let chosen = Tensor::<B, 2>::from_data(TensorData::new(chosen, [labels.len(), classes]), &logits.device());
    mean_of_rows(log_softmax(logits, 1) * chosen).neg()
}

/// Mean over rows of `T^2 * KL(softmax(teacher / T) || softmax(logits / T))`.
fn distillation<B: TrainBackend>(logits: Tensor<B, 2>, teacher: &[f32], temperature: f64) -> Tensor<B, 1> {
    let [rows, classes] = logits.dims();
    let teacher = Tensor::<B, 2>::from_data(TensorData::new(teacher.to_vec(), [rows, classes]), &logits.device());
    let teacher = log_softmax(teacher.div_scalar(temperature), 1);
    let student = log_softmax(logits.div_scalar(temperature), 1);
    mean_of_rows(teacher.clone().exp() * (teacher - student)).mul_scalar(temperature * temperature)
}

/// Sums rows first, so that the order of additions does not depend on how a backend splits a large sum.
fn mean_of_rows<B: TrainBackend>(values: Tensor<B, 2>) -> Tensor<B, 1> {
    let rows = values.dims()[0];
    values.sum_dim(1).sum().div_scalar(rows as f64)
}
