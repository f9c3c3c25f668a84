//! A plan on a backend: parameters as flat leaves, and the forward pass.

use std::collections::{BTreeMap, HashMap};

use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, Tensor as BurnTensor, TensorData, TensorMetadata};
use rand_chacha::ChaCha8Rng;
use runtime_tensor::Tensor;

use crate::backend::{TrainBackend, primitive};
use crate::error::TrainError;
use crate::forward;
use crate::plan::Plan;

/// A network whose parameters live on a device.
pub(crate) struct Network<'p, B: TrainBackend> {
    plan: &'p Plan,
    device: B::Device,
    /// Each parameter as one flat, rank-1 leaf: an optimizer that knows vectors knows them all.
    pub(crate) parameters: Vec<Leaf<B>>,
    constants: HashMap<String, FloatTensor<B>>,
}

/// One parameter.
pub(crate) struct Leaf<B: TrainBackend> {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) flat: BurnTensor<B, 1>,
}

/// Whether the forward pass is for training: dropout drops.
pub(crate) enum Mode<'a> {
    Training(&'a mut ChaCha8Rng),
    Inference,
}

impl<'p, B: TrainBackend> Network<'p, B> {
    pub(crate) fn new(plan: &'p Plan, device: &B::Device) -> Result<Self, TrainError> {
        let parameters = plan
            .parameters
            .iter()
            .map(|parameter| Leaf {
                name: parameter.name.clone(),
                shape: parameter.shape.clone(),
                flat: flat::<B>(&parameter.values, device).require_grad(),
            })
            .collect();
        let mut constants = HashMap::new();
        for (name, tensor) in &plan.constants {
            let value = upload::<B>(tensor.to_f32_vec()?, tensor.shape(), device);
            constants.insert(name.clone(), value);
        }
        Ok(Self { plan, device: device.clone(), parameters, constants })
    }

    /// The values of the logits and of the graph's output for one batch.
    pub(crate) fn forward(&self, x: FloatTensor<B>, mut mode: Mode<'_>) -> Result<Outputs<B>, TrainError> {
        let mut values: HashMap<&str, FloatTensor<B>> = HashMap::new();
        for leaf in &self.parameters {
            let flat = match mode {
                Mode::Training(_) => leaf.flat.clone(),
                // Nothing is recorded for a gradient that nobody asks for.
                Mode::Inference => leaf.flat.clone().detach(),
            };
            let shaped = B::float_reshape(primitive(flat), Shape::from(leaf.shape.clone()));
            values.insert(&leaf.name, shaped);
        }
        for (name, constant) in &self.constants {
            values.insert(name, constant.clone());
        }
        let batch = x.shape()[0];
        values.insert(&self.plan.input.name, x);
        for step in &self.plan.steps {
            let mut inputs = Vec::with_capacity(step.inputs.len());
            for name in &step.inputs {
                inputs.push(match name {
                    None => None,
                    Some(name) => Some(values.get(name.as_str()).cloned().ok_or_else(|| TrainError::BadGraph {
                        reason: format!("{} `{}` reads `{name}`, which nothing makes", step.name, step.node),
                    })?),
                });
            }
            let context = forward::Context {
                batch_fixed_to_one: self.plan.batch_fixed_to_one,
                batch,
                mode: &mut mode,
                device: &self.device,
            };
            let y = forward::run::<B>(&step.operator, inputs, context).map_err(|reason| TrainError::BadShape {
                node: step.node.clone(),
                operator: step.name.clone(),
                reason,
            })?;
            for name in &step.last_use_of {
                values.remove(name.as_str());
            }
            values.insert(&step.output, y);
        }
        let take = |name: &str| {
            values
                .get(name)
                .cloned()
                .ok_or_else(|| TrainError::BadGraph { reason: format!("nothing makes its output `{name}`") })
        };
        Ok(Outputs { logits: take(&self.plan.logits)?, output: take(&self.plan.output)? })
    }

    /// A batch of rows on the device.
    pub(crate) fn upload(&self, values: Vec<f32>, shape: &[usize]) -> FloatTensor<B> {
        upload::<B>(values, shape, &self.device)
    }

    /// The current parameters by name.
    pub(crate) fn weights(&self) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let mut weights = BTreeMap::new();
        for leaf in &self.parameters {
            let values = download::<B>(primitive(leaf.flat.clone()));
            weights.insert(leaf.name.clone(), Tensor::from_f32(leaf.shape.clone(), values)?);
        }
        Ok(weights)
    }

    /// Name of the first parameter that holds a value that is no finite number.
    pub(crate) fn broken_parameter(&self) -> Option<String> {
        self.parameters
            .iter()
            .find(|leaf| {
                let values = download::<B>(primitive(leaf.flat.clone()));
                values.iter().any(|value| !value.is_finite())
            })
            .map(|leaf| leaf.name.clone())
    }
}

/// What a forward pass gives.
pub(crate) struct Outputs<B: TrainBackend> {
    pub(crate) logits: FloatTensor<B>,
    pub(crate) output: FloatTensor<B>,
}

fn flat<B: TrainBackend>(values: &[f32], device: &B::Device) -> BurnTensor<B, 1> {
    BurnTensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

fn upload<B: TrainBackend>(values: Vec<f32>, shape: &[usize], device: &B::Device) -> FloatTensor<B> {
    let flat = BurnTensor::<B, 1>::from_data(TensorData::new(values, [shape.iter().product::<usize>()]), device);
    B::float_reshape(primitive(flat), Shape::from(shape.to_vec()))
}

/// The values of a tensor in row-major order.
pub(crate) fn download<B: TrainBackend>(tensor: FloatTensor<B>) -> Vec<f32> {
    let count = tensor.shape().num_elements();
    let flat = crate::backend::ranked::<B, 1>(B::float_reshape(tensor, Shape::from(vec![count])));
    flat.into_data().into_vec::<f32>().expect("every tensor of the trainer is made from f32 values")
}
