//! The sliding-window operators of the CPU backend, hooked into Burn's automatic differentiation.

use std::sync::Arc;

use burn::backend::Autodiff;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{TensorData, TensorMetadata};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::NoCheckpointing;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_flex::{Flex, FlexTensor};

use crate::backend::TrainBackend;
use crate::kernels::convolution::Convolution;
use crate::kernels::pooling::Pooling;

fn tensor(values: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.to_vec()))
}

/// The tensor with its elements in row-major order without gaps.
fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.as_slice::<f32>().is_some() { tensor } else { tensor.to_contiguous() }
}

fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice::<f32>().expect("every tensor that reaches the kernels went through `contiguous`")
}

#[derive(Debug)]
struct ConvolutionStep;

#[derive(Clone, Debug)]
struct ConvolutionState {
    x: FlexTensor,
    weight: FlexTensor,
    /// The result; read by the gradient only when the relu is fused.
    y: FlexTensor,
    shape: Convolution,
    weight_shape: Vec<usize>,
}

impl Backward<Flex, 3> for ConvolutionStep {
    type State = ConvolutionState;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [x_node, weight_node, bias_node] = ops.parents;
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let state = ops.state;
        let shape = &state.shape;
        let gradients =
            shape.backward(values(&state.x), values(&state.weight), values(&state.y), values(&dy), x_node.is_some());
        if let (Some(node), Some(dx)) = (x_node, gradients.input) {
            let dims = [shape.images, shape.channels_in, shape.input[0], shape.input[1]];
            grads.register::<Flex>(node.id, tensor(dx, &dims));
        }
        if let Some(node) = weight_node {
            grads.register::<Flex>(node.id, tensor(gradients.weight, &state.weight_shape));
        }
        if let Some(node) = bias_node {
            grads.register::<Flex>(node.id, tensor(gradients.bias, &[shape.channels_out]));
        }
    }
}

#[derive(Debug)]
struct MaxPoolStep;

impl Backward<Flex, 1> for MaxPoolStep {
    type State = (Arc<Vec<u32>>, Pooling, Vec<usize>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [x_node] = ops.parents;
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let (chosen, shape, dims) = ops.state;
        if let Some(node) = x_node {
            let dx = shape.max_backward(values(&dy), &chosen);
            grads.register::<Flex>(node.id, tensor(dx, &dims));
        }
    }
}

#[derive(Debug)]
struct AveragePoolStep;

impl Backward<Flex, 1> for AveragePoolStep {
    type State = (Pooling, Vec<usize>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [x_node] = ops.parents;
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let (shape, dims) = ops.state;
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, tensor(shape.average_backward(values(&dy)), &dims));
        }
    }
}

/// `[images, channels, output]` of a pooling over `x`.
fn pooled_shape(dims: &[usize], shape: &Pooling) -> [usize; 4] {
    [dims[0], dims[1], shape.output[0], shape.output[1]]
}

impl TrainBackend for Autodiff<Flex> {
    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        shape: &Convolution,
    ) -> FloatTensor<Self> {
        // A missing bias is a zero that asks for no gradient.
        let bias = bias.unwrap_or_else(|| {
            let zeros = vec![0.0f32; shape.channels_out];
            <Self as burn::tensor::backend::AutodiffBackend>::from_inner(tensor(zeros, &[shape.channels_out]))
        });
        let weight_shape = weight.primitive.shape().to_vec();
        let (xs, ws, bs) = (contiguous(x.primitive), contiguous(weight.primitive), contiguous(bias.primitive));
        let result = shape.forward(values(&xs), values(&ws), values(&bs));
        let dims = [shape.images, shape.channels_out, shape.output[0], shape.output[1]];
        let y = tensor(result, &dims);
        let prepared =
            ConvolutionStep.prepare::<NoCheckpointing>([x.node, weight.node, bias.node]).compute_bound().stateful();
        match prepared {
            OpsKind::Tracked(step) => {
                let state = ConvolutionState { x: xs, weight: ws, y: y.clone(), shape: *shape, weight_shape };
                step.finish(state, y)
            }
            OpsKind::UnTracked(step) => step.finish(y),
        }
    }

    fn max_pool(x: FloatTensor<Self>, shape: &Pooling) -> FloatTensor<Self> {
        let dims = x.primitive.shape().to_vec();
        let xs = contiguous(x.primitive);
        let (y, chosen) = shape.max_forward(values(&xs));
        let y = tensor(y, &pooled_shape(&dims, shape));
        let prepared = MaxPoolStep.prepare::<NoCheckpointing>([x.node]).compute_bound().stateful();
        match prepared {
            OpsKind::Tracked(step) => step.finish((Arc::new(chosen), *shape, dims), y),
            OpsKind::UnTracked(step) => step.finish(y),
        }
    }

    fn average_pool(x: FloatTensor<Self>, shape: &Pooling) -> FloatTensor<Self> {
        let dims = x.primitive.shape().to_vec();
        let xs = contiguous(x.primitive);
        let y = tensor(shape.average_forward(values(&xs)), &pooled_shape(&dims, shape));
        let prepared = AveragePoolStep.prepare::<NoCheckpointing>([x.node]).compute_bound().stateful();
        match prepared {
            OpsKind::Tracked(step) => step.finish((*shape, dims), y),
            OpsKind::UnTracked(step) => step.finish(y),
        }
    }
}
