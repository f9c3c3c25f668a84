//! How to train: losses, optimizer, schedule, length, seed, augmentation.

use crate::device::TrainDevice;
use crate::error::TrainError;

/// Everything that decides a training run beside the model and the data.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// The loss is the weighted sum of these.
    pub losses: Vec<LossTerm>,
    /// How gradients become steps.
    pub optimizer: Optimizer,
    /// Highest learning rate, reached after the warm-up.
    pub learning_rate: f64,
    /// How the learning rate changes over the run.
    pub schedule: Schedule,
    /// Passes over the training data.
    pub epochs: u32,
    /// Samples per step.
    pub batch: usize,
    /// Decides the order of samples, augmentation and dropout.
    pub seed: u64,
    /// Random changes to the training samples.
    pub augmentation: Augmentation,
    /// Where to train.
    pub device: TrainDevice,
}

/// One term of the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LossTerm {
    /// Cross-entropy with the labels.
    CrossEntropy {
        /// Factor in the sum.
        weight: f64,
    },
    /// Knowledge distillation: the Kullback-Leibler divergence from the teacher's softened distribution to the
    /// student's, times the temperature squared (Hinton, Vinyals, Dean, 2015), so that the gradient keeps its size when
    /// the temperature changes.
    Distillation {
        /// Factor in the sum.
        weight: f64,
        /// Logits of both are divided by this before the softmax; above 0.
        temperature: f64,
    },
}

impl LossTerm {
    /// True when the term needs the teacher's logits.
    pub fn needs_teacher(&self) -> bool {
        matches!(self, LossTerm::Distillation { .. })
    }

    fn weight(&self) -> f64 {
        match self {
            LossTerm::CrossEntropy { weight } | LossTerm::Distillation { weight, .. } => *weight,
        }
    }
}

/// The rule of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// AdamW with betas 0.9 and 0.999 and epsilon 1e-8; matrices and kernels decay, biases do not.
    AdamW {
        /// Decoupled decay per step, times the learning rate.
        weight_decay: f64,
    },
    /// Stochastic gradient descent with momentum.
    Sgd {
        /// Share of the last step that is kept, 0 to below 1.
        momentum: f64,
        /// L2 penalty added to the gradient of matrices and kernels.
        weight_decay: f64,
    },
}

/// The learning rate over the run, as a factor of the highest one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Linear rise from zero over this share of all steps, 0 to below 1.
    pub warmup_share: f64,
    /// What happens after the warm-up.
    pub decay: Decay,
}

/// The course of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// It stays.
    Constant,
    /// Half a cosine down to zero.
    Cosine,
    /// Multiplied by `factor` after every `epochs` epochs.
    Step {
        /// Epochs between two steps.
        epochs: u32,
        /// Factor of one step, above 0 and at most 1.
        factor: f64,
    },
}

impl Schedule {
    /// Factor of the learning rate at `step` of `steps`, when an epoch has `epoch_steps` steps.
    pub fn factor(&self, step: u64, steps: u64, epoch_steps: u64) -> f64 {
        let warmup = (self.warmup_share * steps as f64).round() as u64;
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        match self.decay {
            Decay::Constant => 1.0,
            Decay::Cosine => {
                let done = (step - warmup) as f64 / (steps - warmup).max(1) as f64;
                0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
            Decay::Step { epochs, factor } => {
                let passed = step / (u64::from(epochs) * epoch_steps).max(1);
                factor.powi(passed.min(1 << 20) as i32)
            }
        }
    }
}

/// Random changes to training samples, drawn anew in every epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augmentation {
    /// Images are moved by up to this many pixels in each direction.
    pub shift_pixels: usize,
    /// What comes in from outside the image, as the model sees it (after scaling).
    pub fill: f32,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            losses: vec![LossTerm::CrossEntropy { weight: 1.0 }],
            optimizer: Optimizer::AdamW { weight_decay: 1e-4 },
            learning_rate: 1e-3,
            schedule: Schedule { warmup_share: 0.05, decay: Decay::Cosine },
            epochs: 10,
            batch: 64,
            seed: 0,
            augmentation: Augmentation::default(),
            device: TrainDevice::Cpu,
        }
    }
}

impl TrainOptions {
    /// True when any loss term needs the teacher's logits.
    pub fn needs_teacher(&self) -> bool {
        self.losses.iter().any(LossTerm::needs_teacher)
    }

    /// Refuses values that cannot train.
    ///
    /// # Errors
    /// [`TrainError::BadOption`] names the first one.
    pub fn check(&self) -> Result<(), TrainError> {
        let bad = |option: &str, found: String, expected: &str| {
            Err(TrainError::BadOption { option: option.to_owned(), found, expected: expected.to_owned() })
        };
        if self.losses.is_empty() || self.losses.iter().all(|term| term.weight() == 0.0) {
            return bad("losses", format!("{:?}", self.losses), "at least one term with a weight above 0");
        }
        for term in &self.losses {
            if !(term.weight() >= 0.0 && term.weight().is_finite()) {
                return bad("loss weight", term.weight().to_string(), "a number of 0 or more");
            }
            if let LossTerm::Distillation { temperature, .. } = term
                && !(*temperature > 0.0 && temperature.is_finite())
            {
                return bad("temperature", temperature.to_string(), "a number above 0");
            }
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return bad("learning_rate", self.learning_rate.to_string(), "a number above 0");
        }
        if self.epochs == 0 || self.batch == 0 {
            return bad("epochs and batch", format!("{} and {}", self.epochs, self.batch), "1 or more of each");
        }
        if !(0.0..1.0).contains(&self.schedule.warmup_share) {
            return bad("warmup", self.schedule.warmup_share.to_string(), "0 to below 1");
        }
        if let Decay::Step { epochs, factor } = self.schedule.decay
            && (epochs == 0 || !(factor > 0.0 && factor <= 1.0))
        {
            return bad(
                "schedule step",
                format!("epochs {epochs}, factor {factor}"),
                "epochs of 1 or more and a factor above 0 and at most 1",
            );
        }
        self.check_optimizer()
    }

    fn check_optimizer(&self) -> Result<(), TrainError> {
        let (momentum, decay) = match self.optimizer {
            Optimizer::AdamW { weight_decay } => (0.0, weight_decay),
            Optimizer::Sgd { momentum, weight_decay } => (momentum, weight_decay),
        };
        if !((0.0..1.0).contains(&momentum) && decay >= 0.0 && decay.is_finite()) {
            return Err(TrainError::BadOption {
                option: "optimizer".to_owned(),
                found: format!("momentum {momentum}, weight_decay {decay}"),
                expected: "momentum 0 to below 1 and weight_decay of 0 or more".to_owned(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_rise_then_follow_their_shape() {
        let cosine = Schedule { warmup_share: 0.1, decay: Decay::Cosine };
        assert_eq!(cosine.factor(0, 100, 10), 0.1);
        assert_eq!(cosine.factor(9, 100, 10), 1.0);
        assert_eq!(cosine.factor(10, 100, 10), 1.0);
        assert!((cosine.factor(55, 100, 10) - 0.5).abs() < 1e-9);
        assert!(cosine.factor(99, 100, 10) < 0.001);
        let step = Schedule { warmup_share: 0.0, decay: Decay::Step { epochs: 2, factor: 0.5 } };
        assert_eq!(step.factor(19, 100, 10), 1.0);
        assert_eq!(step.factor(20, 100, 10), 0.5);
        assert_eq!(step.factor(45, 100, 10), 0.25);
        let constant = Schedule { warmup_share: 0.0, decay: Decay::Constant };
        assert_eq!(constant.factor(99, 100, 10), 1.0);
    }

    #[test]
    fn impossible_options_are_named() {
        let good = TrainOptions::default();
        good.check().expect("the defaults train");
        let rows: [(&str, TrainOptions); 7] = [
            ("losses", TrainOptions { losses: vec![], ..good.clone() }),
            (
                "temperature",
                TrainOptions { losses: vec![LossTerm::Distillation { weight: 1.0, temperature: 0.0 }], ..good.clone() },
            ),
            ("learning_rate", TrainOptions { learning_rate: f64::NAN, ..good.clone() }),
            ("epochs and batch", TrainOptions { batch: 0, ..good.clone() }),
            (
                "warmup",
                TrainOptions { schedule: Schedule { warmup_share: 1.0, decay: Decay::Constant }, ..good.clone() },
            ),
            (
                "schedule step",
                TrainOptions {
                    schedule: Schedule { warmup_share: 0.0, decay: Decay::Step { epochs: 0, factor: 0.5 } },
                    ..good.clone()
                },
            ),
            (
                "optimizer",
                TrainOptions { optimizer: Optimizer::Sgd { momentum: 1.0, weight_decay: 0.0 }, ..good.clone() },
            ),
        ];
        for (expected, options) in rows {
            match options.check() {
                Err(TrainError::BadOption { option, .. }) => assert_eq!(option, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }
}
