//! The training loop on one backend.

use std::collections::BTreeMap;

use burn::tensor::TensorMetadata as _;
use burn::tensor::ops::FloatTensor;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use runtime_graph::Model;
use runtime_tensor::{Dimension, Tensor};

use crate::augment::Augmenter;
use crate::backend::{TrainBackend, primitive, ranked};
use crate::dataset::{Dataset, Samples};
use crate::error::TrainError;
use crate::loss::{self, Targets};
use crate::network::{Mode, Network, Outputs, download};
use crate::optimizer::Stepper;
use crate::options::{LossTerm, TrainOptions};
use crate::plan::Plan;
use crate::trainer::{EpochRecord, Flow, Progress, Trainer};

/// Samples of one forward pass outside training.
const INFERENCE_BATCH: usize = 256;

/// Runs all samples in batches; the values of the chosen output and the shape of one row.
pub(crate) fn infer<B: TrainBackend>(
    network: &Network<'_, B>,
    samples: &Samples<'_>,
    choose: impl Fn(Outputs<B>) -> FloatTensor<B>,
) -> Result<(Vec<f32>, Vec<usize>), TrainError> {
    let (mut values, mut row) = (Vec::new(), Vec::new());
    let indices: Vec<usize> = (0..samples.count).collect();
    for batch in indices.chunks(INFERENCE_BATCH) {
        let x = network.upload(samples.gather(batch), &samples.batch_shape(batch.len()));
        let output = choose(network.forward(x, Mode::Inference)?);
        let shape = output.shape().to_vec();
        if shape.first() != Some(&batch.len()) {
            return Err(TrainError::BadGraph {
                reason: format!(
                    "its output has shape {shape:?} for a batch of {}, expected the batch first",
                    batch.len()
                ),
            });
        }
        row = shape[1..].to_vec();
        values.extend(download::<B>(output));
    }
    Ok((values, row))
}

/// What a run on a backend gives back.
pub(crate) struct Outcome {
    pub(crate) weights: BTreeMap<String, Tensor>,
    pub(crate) history: Vec<EpochRecord>,
    pub(crate) best_epoch: u32,
}

/// A checked run that any backend can carry out.
pub(crate) struct Run<'a> {
    plan: &'a Plan,
    options: &'a TrainOptions,
    samples: Samples<'a>,
    validation: Option<Samples<'a>>,
    teacher: Option<&'a [f32]>,
    classes: usize,
    steps: u64,
    epoch_steps: u64,
}

/// Independent streams of random numbers of one seed.
#[derive(Clone, Copy)]
enum Purpose {
    Order,
    Augmentation,
    Dropout,
}

fn random(seed: u64, epoch: u32, purpose: Purpose) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(u64::from(epoch) * 4 + purpose as u64);
    random
}

impl<'a> Run<'a> {
    pub(crate) fn new(trainer: &Trainer<'a>, plan: &'a Plan, data: &'a Dataset) -> Result<Self, TrainError> {
        let options = trainer.options;
        let samples = Samples::new(data, &plan.input)?;
        let validation = match trainer.validation {
            Some(data) if data.y.is_some() && !data.is_empty() => Some(Samples::new(data, &plan.input)?),
            _ => None,
        };
        let needs_labels = options.losses.iter().any(|term| matches!(term, LossTerm::CrossEntropy { .. }));
        if needs_labels && samples.labels.is_none() {
            return Err(missing("labels", "the loss `ce`"));
        }
        let mut classes = fixed_classes(trainer.model);
        let mut teacher = None;
        if options.needs_teacher() {
            let logits = trainer.teacher_logits.ok_or_else(|| missing("teacher logits", "the loss `kd`"))?;
            let fits = logits.shape().len() == 2 && logits.shape()[0] == samples.count;
            if !fits {
                return Err(TrainError::BadData {
                    what: "shape of the teacher's logits".to_owned(),
                    found: format!("{:?}", logits.shape()),
                    expected: format!("[{}, classes]", samples.count),
                });
            }
            let columns = logits.shape()[1];
            if *classes.get_or_insert(columns) != columns {
                return Err(TrainError::BadData {
                    what: "classes of the teacher".to_owned(),
                    found: columns.to_string(),
                    expected: format!("{}, as the student has", classes.unwrap_or(0)),
                });
            }
            teacher = Some(logits.as_f32()?);
        }
        let highest = samples.labels.and_then(|labels| labels.iter().max().copied());
        let classes = classes.or(highest.map(|label| label as usize + 1)).unwrap_or(0);
        if let Some(label) = highest
            && label as usize >= classes
        {
            return Err(TrainError::BadData {
                what: "label".to_owned(),
                found: label.to_string(),
                expected: format!("0 to {}, the model has {classes} classes", classes.saturating_sub(1)),
            });
        }
        let epoch_steps = samples.count.div_ceil(options.batch) as u64;
        Ok(Self {
            plan,
            options,
            samples,
            validation,
            teacher,
            classes,
            steps: epoch_steps * u64::from(options.epochs),
            epoch_steps,
        })
    }

    pub(crate) fn train<B: TrainBackend>(
        &self,
        device: &B::Device,
        progress: &mut dyn FnMut(&Progress) -> Flow,
    ) -> Result<Outcome, TrainError> {
        let mut network = Network::<B>::new(self.plan, device)?;
        let mut stepper = Stepper::<B>::new(&self.options.optimizer, network.parameters.len());
        let mut augmenter = Augmenter::new(&self.options.augmentation, &self.samples.shape)?;
        let mut history = Vec::new();
        let mut best: Option<(f64, u32, BTreeMap<String, Tensor>)> = None;
        let mut step = 0;
        for epoch in 1..=self.options.epochs {
            let mut order: Vec<usize> = (0..self.samples.count).collect();
            order.shuffle(&mut random(self.options.seed, epoch, Purpose::Order));
            let mut augmentation = random(self.options.seed, epoch, Purpose::Augmentation);
            let mut dropout = random(self.options.seed, epoch, Purpose::Dropout);
            let mut total = 0.0f64;
            for batch in order.chunks(self.options.batch) {
                let mut rows = self.samples.gather(batch);
                if let Some(augmenter) = &mut augmenter {
                    augmenter.apply(&mut rows, self.samples.size(), &mut augmentation);
                }
                let rate =
                    self.options.learning_rate * self.options.schedule.factor(step, self.steps, self.epoch_steps);
                let loss = self.step(&mut network, &mut stepper, rows, batch, rate, &mut dropout)?;
                if !loss.is_finite() {
                    let cause = self.likely_cause(&network, rate);
                    return Err(TrainError::NotANumber { step, epoch, cause });
                }
                total += f64::from(loss) * batch.len() as f64;
                step += 1;
                let epoch_done = if step == self.epoch_steps * u64::from(epoch) {
                    let record = EpochRecord {
                        epoch,
                        loss: total / self.samples.count as f64,
                        validation_accuracy: self.validate(&network)?,
                    };
                    keep_best(&mut best, &record, &network)?;
                    history.push(record.clone());
                    Some(record)
                } else {
                    None
                };
                let report = Progress {
                    step,
                    steps: self.steps,
                    epoch,
                    epochs: self.options.epochs,
                    loss,
                    learning_rate: rate,
                    epoch_done,
                };
                if progress(&report) == Flow::Stop {
                    return Err(TrainError::Stopped { step });
                }
            }
        }
        let (best_epoch, weights) = match best {
            Some((_, epoch, weights)) => (epoch, weights),
            None => (self.options.epochs, network.weights()?),
        };
        Ok(Outcome { weights, history, best_epoch })
    }

    /// One forward, backward and optimizer step; the loss before the step.
    fn step<B: TrainBackend>(
        &self,
        network: &mut Network<'_, B>,
        stepper: &mut Stepper<B>,
        rows: Vec<f32>,
        batch: &[usize],
        rate: f64,
        dropout: &mut ChaCha8Rng,
    ) -> Result<f32, TrainError> {
        let x = network.upload(rows, &self.samples.batch_shape(batch.len()));
        let outputs = network.forward(x, Mode::Training(dropout))?;
        let logits = class_rows::<B>(outputs.logits, batch.len(), self.classes)?;
        let labels: Option<Vec<u32>> =
            self.samples.labels.map(|labels| batch.iter().map(|index| labels[*index]).collect());
        let teacher: Option<Vec<f32>> = self.teacher.map(|logits| {
            let rows = batch.iter().map(|index| &logits[index * self.classes..(index + 1) * self.classes]);
            rows.flatten().copied().collect()
        });
        let targets = Targets { classes: self.classes, labels: labels.as_deref(), teacher: teacher.as_deref() };
        let loss = loss::total::<B>(&self.options.losses, logits, &targets);
        let value = download::<B>(primitive(loss.clone())).first().copied().unwrap_or(f32::NAN);
        if value.is_finite() {
            stepper.step(network, &loss, rate);
        }
        Ok(value)
    }

    /// Share of validation samples with the right class.
    fn validate<B: TrainBackend>(&self, network: &Network<'_, B>) -> Result<Option<f64>, TrainError> {
        let Some(samples) = &self.validation else {
            return Ok(None);
        };
        let (values, _) = infer(network, samples, |outputs| outputs.logits)?;
        let labels = samples.labels.unwrap_or_default();
        let right = values
            .chunks(self.classes.max(1))
            .zip(labels)
            .filter(|(row, label)| largest(row) == **label as usize)
            .count();
        Ok(Some(right as f64 / samples.count as f64))
    }

    fn likely_cause<B: TrainBackend>(&self, network: &Network<'_, B>, rate: f64) -> String {
        if let Some(sample) = self.samples.first_not_finite() {
            return format!("training sample {sample} holds a value that is not finite: mend the data");
        }
        let not_finite = |values: &[f32]| values.iter().position(|value| !value.is_finite());
        if let Some(at) = self.teacher.and_then(not_finite) {
            return format!(
                "the teacher's logits for training sample {} are not finite: mend the teacher",
                at / self.classes.max(1)
            );
        }
        if let Some(name) = network.broken_parameter() {
            return format!(
                "weights of `{name}` are not finite after the last step: the learning rate {rate:.3e} is probably too high"
            );
        }
        format!("the logits overflow: the learning rate {rate:.3e} is probably too high, or inputs are not scaled")
    }
}

/// Keeps the weights of the first epoch with the highest validation accuracy.
fn keep_best<B: TrainBackend>(
    best: &mut Option<(f64, u32, BTreeMap<String, Tensor>)>,
    record: &EpochRecord,
    network: &Network<'_, B>,
) -> Result<(), TrainError> {
    if let Some(accuracy) = record.validation_accuracy
        && best.as_ref().is_none_or(|(highest, ..)| accuracy >= *highest)
    {
        *best = Some((accuracy, record.epoch, network.weights()?));
    }
    Ok(())
}

/// Index of the largest value, the first among equals.
fn largest(row: &[f32]) -> usize {
    let mut best = 0;
    for (at, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = at;
        }
    }
    best
}

/// Logits as `[rows, classes]`; trailing axes of size one are dropped.
fn class_rows<B: TrainBackend>(
    logits: FloatTensor<B>,
    rows: usize,
    classes: usize,
) -> Result<burn::tensor::Tensor<B, 2>, TrainError> {
    let shape = logits.shape().to_vec();
    let fits = shape.len() >= 2 && shape[..2] == [rows, classes] && shape[2..].iter().all(|size| *size == 1);
    if !fits {
        return Err(TrainError::BadData {
            what: "shape of the model's logits".to_owned(),
            found: format!("{shape:?}"),
            expected: format!("[{rows}, {classes}]"),
        });
    }
    Ok(ranked::<B, 2>(B::float_reshape(logits, burn::tensor::Shape::from(vec![rows, classes]))))
}

fn missing(what: &str, reader: &str) -> TrainError {
    TrainError::BadData {
        what: what.to_owned(),
        found: "none".to_owned(),
        expected: format!("{what}, which {reader} needs"),
    }
}

/// The class axis that the model declares, if it is fixed.
fn fixed_classes(model: &Model) -> Option<usize> {
    match model.outputs().first()?.shape.get(1)? {
        Dimension::Fixed(classes) => usize::try_from(*classes).ok(),
        Dimension::Symbol(_) => None,
    }
}
