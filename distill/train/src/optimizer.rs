//! Steps on flat parameters.

use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamW, AdamWConfig, Sgd, SgdConfig, SimpleOptimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;

use crate::backend::TrainBackend;
use crate::network::Network;
use crate::options::Optimizer;

/// Burn's default of 1e-5 changes the step where gradients are small; this is Adam's own.
const EPSILON: f32 = 1e-8;

type Inner<B> = <B as AutodiffBackend>::InnerBackend;
type AdamWState<B> = <AdamW as SimpleOptimizer<Inner<B>>>::State<1>;
type SgdState<B> = <Sgd<Inner<B>> as SimpleOptimizer<Inner<B>>>::State<1>;

/// An optimizer with the state of every parameter.
pub(crate) enum Stepper<B: TrainBackend> {
    AdamW {
        /// For matrices and kernels.
        decayed: AdamW,
        /// For biases and other vectors.
        plain: AdamW,
        states: Vec<Option<AdamWState<B>>>,
    },
    Sgd {
        decayed: Sgd<Inner<B>>,
        plain: Sgd<Inner<B>>,
        states: Vec<Option<SgdState<B>>>,
    },
}

impl<B: TrainBackend> Stepper<B> {
    pub(crate) fn new(optimizer: &Optimizer, parameters: usize) -> Self {
        match optimizer {
            Optimizer::AdamW { weight_decay } => {
                let config = AdamWConfig::new().with_epsilon(EPSILON);
                Stepper::AdamW {
                    decayed: config.clone().with_weight_decay(*weight_decay as f32).build(),
                    plain: config.with_weight_decay(0.0).build(),
                    states: (0..parameters).map(|_| None).collect(),
                }
            }
            Optimizer::Sgd { momentum, weight_decay } => {
                let momentum = (*momentum > 0.0).then_some(MomentumConfig {
                    momentum: *momentum,
                    dampening: 0.0,
                    nesterov: false,
                });
                let config = SgdConfig::new().with_momentum(momentum);
                let decay = (*weight_decay > 0.0).then(|| WeightDecayConfig::new(*weight_decay as f32));
                Stepper::Sgd {
                    decayed: config.clone().with_weight_decay(decay).build(),
                    plain: config.build(),
                    states: (0..parameters).map(|_| None).collect(),
                }
            }
        }
    }

    /// Moves every parameter that has a gradient.
    pub(crate) fn step(&mut self, network: &mut Network<'_, B>, loss: &Tensor<B, 1>, rate: f64) {
        let mut gradients = loss.backward();
        for (at, leaf) in network.parameters.iter_mut().enumerate() {
            let Some(gradient) = leaf.flat.grad_remove(&mut gradients) else {
                continue;
            };
            let decays = leaf.shape.len() > 1;
            let value = leaf.flat.clone().inner();
            let moved = match self {
                Stepper::AdamW { decayed, plain, states } => {
                    let rule = if decays { decayed } else { plain };
                    let (moved, state) = rule.step(rate, value, gradient, states[at].take());
                    states[at] = state;
                    moved
                }
                Stepper::Sgd { decayed, plain, states } => {
                    let rule = if decays { decayed } else { plain };
                    let (moved, state) = rule.step(rate, value, gradient, states[at].take());
                    states[at] = state;
                    moved
                }
            };
            leaf.flat = Tensor::from_inner(moved).require_grad();
        }
    }
}
