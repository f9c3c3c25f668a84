//! Networks and training options of a recipe.

use std::path::Path;

use distill_train::families::{self, Architecture};
use distill_train::{Augmentation, Decay, LossTerm, Optimizer, Schedule, TrainDevice, TrainOptions};
use runtime_graph::{Model, ReadLimits};
use runtime_tensor::Dimension;

use crate::error::{At as _, PipelineError, Result};
use crate::recipe::{Family, LossKind, NetworkSection, OptimizerName, ScheduleName, TrainSection};

/// Reads an ONNX file.
pub(crate) fn read(path: &Path) -> Result<Model> {
    Model::read_file(path, &ReadLimits::default()).at(path.display())
}

/// The network of a section: its file, or a fresh one of its family with weights from `seed`.
pub(crate) fn build(
    section: &NetworkSection,
    folder: &Path,
    sample: &[usize],
    classes: usize,
    seed: u64,
) -> Result<Model> {
    if let Some(path) = &section.model {
        return read(&folder.join(path));
    }
    let architecture = Architecture {
        sample: sample.to_vec(),
        classes,
        channels: section.channels.clone(),
        hidden: section.hidden.clone(),
        seed,
    };
    let model = match section.family {
        Some(Family::Mlp) => families::mlp(&architecture)?,
        Some(Family::Cnn) => families::cnn(&architecture)?,
        Some(Family::Dscnn) => families::dscnn(&architecture)?,
        None => return Err(PipelineError::input("found neither `model` nor `family`, expected one of them")),
    };
    // Read as it will be read from its file, so that both ways give the same bytes.
    Ok(Model::read(&model.write(), &ReadLimits::default())?)
}

/// Checks that the samples fit the model's input and gives the number of classes that its output declares.
pub(crate) fn check_fit(model: &Model, sample: &[usize]) -> Result<Option<usize>> {
    let (inputs, outputs) = (model.inputs(), model.outputs());
    let ([input], [output]) = (inputs.as_slice(), outputs.as_slice()) else {
        return Err(PipelineError::Unsupported(format!(
            "found a model with {} inputs and {} outputs, expected one of each",
            inputs.len(),
            outputs.len()
        )));
    };
    let fits = input.shape.len() == sample.len() + 1
        && input.shape[1..].iter().zip(sample).all(|(wanted, size)| match wanted {
            Dimension::Fixed(wanted) => *wanted == *size as u64,
            Dimension::Symbol(_) => true,
        });
    if !fits {
        return Err(PipelineError::input(format!(
            "the data does not fit the model: found samples of shape {sample:?}, expected input {input}"
        )));
    }
    Ok(match output.shape.get(1) {
        Some(Dimension::Fixed(classes)) => usize::try_from(*classes).ok(),
        _ => None,
    })
}

/// The trainer's options of a section.
pub(crate) fn train_options(section: &TrainSection, seed: u64, device: TrainDevice) -> TrainOptions {
    let losses = section
        .loss
        .iter()
        .map(|loss| match loss.kind {
            LossKind::Ce => LossTerm::CrossEntropy { weight: loss.weight },
            LossKind::Kd => {
                LossTerm::Distillation { weight: loss.weight, temperature: loss.temperature.unwrap_or(1.0) }
            }
        })
        .collect::<Vec<_>>();
    TrainOptions {
        losses: if losses.is_empty() { vec![LossTerm::CrossEntropy { weight: 1.0 }] } else { losses },
        optimizer: match section.optimizer {
            OptimizerName::Adamw => Optimizer::AdamW { weight_decay: section.weight_decay },
            OptimizerName::Sgd => Optimizer::Sgd { momentum: section.momentum, weight_decay: section.weight_decay },
        },
        learning_rate: section.learning_rate,
        schedule: Schedule {
            warmup_share: section.warmup,
            decay: match section.schedule {
                ScheduleName::Cosine => Decay::Cosine,
                ScheduleName::Constant => Decay::Constant,
                ScheduleName::Step => {
                    Decay::Step { epochs: section.step_epochs.unwrap_or(0), factor: section.step_factor.unwrap_or(0.0) }
                }
            },
        },
        epochs: section.epochs,
        batch: section.batch,
        seed,
        augmentation: if section.copies_made() > 0 { Augmentation::default() } else { augmentation(section) },
        device,
    }
}

/// How images are moved.
pub(crate) fn augmentation(section: &TrainSection) -> Augmentation {
    Augmentation { shift_pixels: section.shift, fill: 0.0 }
}

/// The options of the control: everything the same, but labels instead of the teacher.
pub(crate) fn without_teacher(options: &TrainOptions) -> TrainOptions {
    TrainOptions { losses: vec![LossTerm::CrossEntropy { weight: 1.0 }], ..options.clone() }
}

/// Whether the graph's output is the result of a Softmax.
pub(crate) fn ends_in_softmax(model: &Model) -> bool {
    let graph = model.graph();
    let Some(mut name) = graph.outputs.first().map(|output| output.name.as_str()) else {
        return false;
    };
    while let Some(node) = graph.nodes.iter().find(|node| node.outputs.iter().any(|output| output == name)) {
        match node.input(0) {
            _ if node.is("Softmax") => return true,
            Some(input) if ["Identity", "QuantizeLinear", "DequantizeLinear"].iter().any(|op| node.is(op)) => {
                name = input
            }
            _ => return false,
        }
    }
    false
}
