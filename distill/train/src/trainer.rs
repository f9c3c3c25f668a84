//! What a caller asks for: a training run, a prediction, a check.

use runtime_graph::Model;
use runtime_tensor::Tensor;

use crate::dataset::{Dataset, Samples};
use crate::device;
use crate::error::TrainError;
use crate::network::Network;
use crate::options::TrainOptions;
use crate::plan::Plan;
use crate::run::{Run, infer};

/// Where a run is, given after every step.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// The epoch of this step, counted from 1.
    pub epoch: u32,
    /// Epochs of the whole run.
    pub epochs: u32,
    /// Loss of this step's batch.
    pub loss: f32,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Present after the last step of an epoch.
    pub epoch_done: Option<EpochRecord>,
}

/// What an epoch came to.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochRecord {
    /// Counted from 1.
    pub epoch: u32,
    /// Mean loss over its samples.
    pub loss: f64,
    /// Share of validation samples with the right class, when a labelled validation set was given.
    pub validation_accuracy: Option<f64>,
}

/// What the caller wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Stop; the run ends with [`TrainError::Stopped`].
    Stop,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The model's bytes with only its trained initializers changed.
    pub model_bytes: Vec<u8>,
    /// One record per epoch.
    pub history: Vec<EpochRecord>,
    /// The epoch whose weights were kept: the best one on the validation set, else the last.
    pub best_epoch: u32,
}

/// One training run of one model.
#[derive(Clone, Copy, Debug)]
pub struct Trainer<'a> {
    pub(crate) model: &'a Model,
    pub(crate) options: &'a TrainOptions,
    pub(crate) teacher_logits: Option<&'a Tensor>,
    pub(crate) validation: Option<&'a Dataset>,
}

impl<'a> Trainer<'a> {
    /// A run without teacher and validation.
    pub fn new(model: &'a Model, options: &'a TrainOptions) -> Self {
        Self { model, options, teacher_logits: None, validation: None }
    }

    /// The teacher's logits for the training samples, `[samples, classes]`, in their order.
    #[must_use]
    pub fn teacher(mut self, logits: Option<&'a Tensor>) -> Self {
        self.teacher_logits = logits;
        self
    }

    /// A set on which the best epoch is chosen.
    #[must_use]
    pub fn validation(mut self, data: Option<&'a Dataset>) -> Self {
        self.validation = data;
        self
    }

    /// Trains.
    ///
    /// Same model, data, options and machine give the same bytes.
    ///
    /// # Errors
    /// Every [`TrainError`].
    pub fn train(&self, data: &Dataset, progress: &mut dyn FnMut(&Progress) -> Flow) -> Result<Trained, TrainError> {
        self.options.check()?;
        let plan = Plan::new(self.model)?;
        let run = Run::new(self, &plan, data)?;
        let outcome = device::with_backend!(self.options.device, |B, device| run.train::<B>(&device, progress))?;
        let bytes = Model::replace_initializers(&self.model.write(), &outcome.weights)?;
        Ok(Trained { model_bytes: bytes, history: outcome.history, best_epoch: outcome.best_epoch })
    }
}

/// Trains `model` on `data`; see [`Trainer`].
///
/// # Errors
/// Every [`TrainError`].
pub fn train(
    model: &Model,
    data: &Dataset,
    teacher_logits: Option<&Tensor>,
    options: &TrainOptions,
    progress: &mut dyn FnMut(&Progress) -> Flow,
) -> Result<Trained, TrainError> {
    Trainer::new(model, options).teacher(teacher_logits).train(data, progress)
}

/// The model's output for every sample of `x`.
///
/// # Errors
/// [`TrainError::Unsupported`], [`TrainError::BadData`] or [`TrainError::NoDevice`].
pub fn predict(model: &Model, x: &Tensor, device: device::TrainDevice) -> Result<Tensor, TrainError> {
    let plan = Plan::new(model)?;
    let samples = Samples::from_tensor(x, &plan.input)?;
    let (values, row) = device::with_backend!(device, |B, device| {
        let network = Network::<B>::new(&plan, &device)?;
        infer(&network, &samples, |outputs| outputs.output)
    })?;
    Ok(Tensor::from_f32([vec![samples.count], row].concat(), values)?)
}

/// Refuses a model that cannot be trained, naming every node in the way.
///
/// # Errors
/// [`TrainError::Unsupported`] or [`TrainError::BadGraph`].
pub fn check_trainable(model: &Model) -> Result<(), TrainError> {
    Plan::new(model).map(drop)
}
