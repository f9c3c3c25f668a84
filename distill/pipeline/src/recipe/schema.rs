//! The tables and keys of a recipe.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Visitor};

/// A whole recipe. Paths are relative to the folder of the file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    /// Decides initial weights, the order of samples and augmentation. The cut of the data has a seed of its own, so
    /// that two versions are judged on the same test samples.
    #[serde(default)]
    pub(crate) seed: u64,
    pub(crate) data: DataSection,
    pub(crate) teacher: Option<NetworkSection>,
    pub(crate) student: StudentSection,
    /// How the student is trained; without it the student is quantized as it is.
    pub(crate) train: Option<TrainSection>,
    #[serde(default)]
    pub(crate) quantize: QuantizeSection,
    #[serde(default)]
    pub(crate) budget: BudgetSection,
    pub(crate) artifact: Option<ArtifactSection>,
}

/// Where samples come from.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataSection {
    /// The pool that fractions are taken from.
    pub(crate) file: Option<PathBuf>,
    pub(crate) train: Option<Share>,
    pub(crate) calibration: Option<Share>,
    pub(crate) validation: Option<Share>,
    pub(crate) test: Option<Share>,
    /// Shape of one sample for the model, such as `[1, 28, 28]` for pictures stored as `[28, 28]`.
    pub(crate) shape: Option<Vec<usize>>,
    /// Decides the cut.
    #[serde(default)]
    pub(crate) seed: u64,
    /// The model's input is `value * scale + offset`.
    #[serde(default = "one")]
    pub(crate) scale: f32,
    #[serde(default)]
    pub(crate) offset: f32,
    /// The value that full brightness has in the data (255 in an ordinary picture).
    pub(crate) white: Option<f32>,
    /// Number of classes, when the data may lack the highest.
    pub(crate) classes: Option<usize>,
}

impl DataSection {
    /// The file that fractions are taken from.
    pub(crate) fn pool(&self) -> Option<&PathBuf> {
        match (&self.file, &self.train) {
            (Some(file), _) => Some(file),
            (None, Some(Share::File(file))) => Some(file),
            _ => None,
        }
    }
}

/// A part of the data: a file, or a fraction of the pool.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Share {
    File(PathBuf),
    Fraction(f64),
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShareVisitor;
        impl Visitor<'_> for ShareVisitor {
            type Value = Share;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of a .npz file, or a fraction above 0 and below 1")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Share, E> {
                Ok(Share::File(PathBuf::from(text)))
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Share, E> {
                if value > 0.0 && value < 1.0 {
                    Ok(Share::Fraction(value))
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Float(value), &self))
                }
            }
        }
        deserializer.deserialize_any(ShareVisitor).map_err(D::Error::custom)
    }
}

/// A network: an ONNX file, or a built-in family with its sizes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkSection {
    pub(crate) model: Option<PathBuf>,
    pub(crate) family: Option<Family>,
    /// Channels of each convolutional block.
    #[serde(default)]
    pub(crate) channels: Vec<usize>,
    /// Units of each hidden layer.
    #[serde(default)]
    pub(crate) hidden: Vec<usize>,
    /// How it is trained in this run; only for a family, or to go on training a file.
    pub(crate) train: Option<TrainSection>,
}

/// The student: a network, and whether a control is trained beside it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StudentSection {
    pub(crate) model: Option<PathBuf>,
    pub(crate) family: Option<Family>,
    #[serde(default)]
    pub(crate) channels: Vec<usize>,
    #[serde(default)]
    pub(crate) hidden: Vec<usize>,
    /// Also train the same student from labels alone: same data, steps, augmentation and seed.
    #[serde(default)]
    pub(crate) control: bool,
}

impl StudentSection {
    /// The same as a teacher would say it.
    pub(crate) fn network(&self) -> NetworkSection {
        NetworkSection {
            model: self.model.clone(),
            family: self.family,
            channels: self.channels.clone(),
            hidden: self.hidden.clone(),
            train: None,
        }
    }
}

/// Built-in architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Family {
    Mlp,
    Cnn,
    Dscnn,
}

/// How to train.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainSection {
    pub(crate) epochs: u32,
    #[serde(default = "batch")]
    pub(crate) batch: usize,
    #[serde(default = "learning_rate")]
    pub(crate) learning_rate: f64,
    #[serde(default)]
    pub(crate) optimizer: OptimizerName,
    /// SGD only.
    #[serde(default = "momentum")]
    pub(crate) momentum: f64,
    #[serde(default = "weight_decay")]
    pub(crate) weight_decay: f64,
    #[serde(default)]
    pub(crate) schedule: ScheduleName,
    /// Share of all steps in which the learning rate rises.
    #[serde(default = "warmup")]
    pub(crate) warmup: f64,
    /// For `schedule = "step"`: epochs between steps, and the factor of each.
    pub(crate) step_epochs: Option<u32>,
    pub(crate) step_factor: Option<f64>,
    /// Images are moved at random by up to this many pixels.
    #[serde(default)]
    pub(crate) shift: usize,
    /// With a loss `kd` and a shift: how many moved copies of the training part the teacher and the student see.
    #[serde(default = "copies")]
    pub(crate) copies: usize,
    /// Terms of the loss; cross-entropy alone when empty.
    #[serde(default)]
    pub(crate) loss: Vec<LossSection>,
}

impl TrainSection {
    /// True when a loss needs the teacher's logits.
    pub(crate) fn distils(&self) -> bool {
        self.loss.iter().any(|loss| loss.kind == LossKind::Kd)
    }

    /// Moved copies that are made before training; 0 when images are moved anew in every epoch, or not at all.
    pub(crate) fn copies_made(&self) -> usize {
        if self.distils() && self.shift > 0 { self.copies } else { 0 }
    }
}

/// One term of the loss.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LossSection {
    pub(crate) kind: LossKind,
    #[serde(default = "one_f64")]
    pub(crate) weight: f64,
    /// `kd` only.
    pub(crate) temperature: Option<f64>,
}

/// Kinds of loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LossKind {
    /// Cross-entropy with the labels.
    Ce,
    /// Distillation from the teacher's logits.
    Kd,
}

/// Optimizers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OptimizerName {
    #[default]
    Adamw,
    Sgd,
}

/// Schedules of the learning rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ScheduleName {
    #[default]
    Cosine,
    Constant,
    Step,
}

/// How to quantize.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QuantizeSection {
    /// Tried first; the others follow while the budget is not met.
    pub(crate) observer: ObserverName,
    /// For `observer = "percentile"`: the share of values inside the range, in percent.
    pub(crate) percentile: f64,
    pub(crate) per_channel: bool,
    pub(crate) pair_safe: bool,
    /// Bits of a weight.
    pub(crate) weight_bits: u32,
    pub(crate) activation: ActivationName,
    /// Even out channels between layers.
    pub(crate) equalize: bool,
    /// Round weights by what they do to a layer's output instead of each to its nearest.
    pub(crate) adaround: bool,
    /// Take the shift of the mean that rounded weights make out of the biases.
    pub(crate) correct_bias: bool,
    /// While no observer meets the budget: leave the most sensitive nodes in float.
    pub(crate) mixed_precision: bool,
    /// Models that mixed precision measures at most.
    pub(crate) mixed_attempts: usize,
    /// Labels of nodes that stay in float.
    pub(crate) skip: Vec<String>,
}

impl Default for QuantizeSection {
    fn default() -> Self {
        QuantizeSection {
            observer: ObserverName::default(),
            percentile: 99.99,
            per_channel: true,
            pair_safe: false,
            weight_bits: 8,
            activation: ActivationName::default(),
            equalize: false,
            adaround: false,
            correct_bias: false,
            mixed_precision: false,
            mixed_attempts: 24,
            skip: Vec::new(),
        }
    }
}

/// Ways to choose the range of a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ObserverName {
    #[default]
    Minmax,
    Percentile,
    Mse,
    Entropy,
    /// For each tensor the one of the others that changes the model's answers least.
    Best,
}

/// Integer types of activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ActivationName {
    #[default]
    U8,
    I8,
}

/// What quantization may cost, judged on the validation part.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BudgetSection {
    /// Points of accuracy (or of agreement, without labels) below the float student.
    pub(crate) max_drop: Option<f64>,
    /// Samples that only the float student gets right.
    pub(crate) max_extra_errors: Option<u64>,
    /// Bytes of the int8 ONNX file.
    pub(crate) max_bytes: Option<u64>,
}

/// What to seal.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArtifactSection {
    pub(crate) name: String,
    pub(crate) version: semver::Version,
    /// Grows with every release.
    pub(crate) number: u64,
    /// Key file of the release role; without it the artifact waits for `fleet artifact sign`.
    pub(crate) sign_key: Option<PathBuf>,
    /// What each class is called.
    #[serde(default)]
    pub(crate) labels: Vec<String>,
    /// Golden cases, taken from the validation part.
    #[serde(default = "golden")]
    pub(crate) golden: usize,
    /// Limit of the self-test on devices, in microseconds; twice what is measured here when absent.
    pub(crate) p95_us_max: Option<u64>,
    /// Limit of the self-test on devices, in bytes.
    pub(crate) memory_bytes_max: Option<u64>,
}

fn one() -> f32 {
    1.0
}

fn one_f64() -> f64 {
    1.0
}

fn batch() -> usize {
    64
}

fn learning_rate() -> f64 {
    1e-3
}

fn momentum() -> f64 {
    0.9
}

fn weight_decay() -> f64 {
    1e-4
}

fn warmup() -> f64 {
    0.05
}

fn copies() -> usize {
    8
}

fn golden() -> usize {
    16
}
