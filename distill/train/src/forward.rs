//! One operator on a backend: shapes checked, then Burn's operators or the sliding-window ones.

use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, TensorData, TensorMetadata};
use rand::Rng as _;

use crate::backend::TrainBackend;
use crate::kernels::convolution::Convolution;
use crate::kernels::pooling::Pooling;
use crate::network::Mode;
use crate::operator::{Operator, WindowAttributes};
use crate::reshape::{axis_of, target_shape};

/// What an operator may need beside its inputs.
pub(crate) struct Context<'a, 'r, B: TrainBackend> {
    pub(crate) batch_fixed_to_one: bool,
    pub(crate) batch: usize,
    pub(crate) mode: &'a mut Mode<'r>,
    pub(crate) device: &'a B::Device,
}

type Inputs<B> = Vec<Option<FloatTensor<B>>>;

fn dims<B: TrainBackend>(tensor: &FloatTensor<B>) -> Vec<usize> {
    tensor.shape().to_vec()
}

fn reshape<B: TrainBackend>(tensor: FloatTensor<B>, shape: Vec<usize>) -> FloatTensor<B> {
    B::float_reshape(tensor, Shape::from(shape))
}

/// The input at `position`, which the operator requires.
fn take<B: TrainBackend>(inputs: &mut Inputs<B>, position: usize) -> Result<FloatTensor<B>, String> {
    inputs.get_mut(position).and_then(Option::take).ok_or_else(|| format!("input {position} is missing"))
}

/// Runs one operator. The error is the reason, for a message that already names the node.
pub(crate) fn run<B: TrainBackend>(
    operator: &Operator,
    mut inputs: Inputs<B>,
    context: Context<'_, '_, B>,
) -> Result<FloatTensor<B>, String> {
    let x = take::<B>(&mut inputs, 0)?;
    Ok(match operator {
        Operator::Identity => x,
        Operator::Relu => B::relu(x),
        Operator::Sigmoid => B::sigmoid(x),
        Operator::Tanh => B::float_tanh(x),
        Operator::HardSwish => {
            let scaled = B::float_add_scalar(B::float_div_scalar(x.clone(), 6.0f32.into()), 0.5f32.into());
            B::float_mul(x, B::float_clamp(scaled, 0.0f32.into(), 1.0f32.into()))
        }
        Operator::Clip { min, max } => B::float_clamp(x, (*min).into(), (*max).into()),
        Operator::Add | Operator::Sub | Operator::Mul => {
            let (left, right) = same_rank::<B>(x, take::<B>(&mut inputs, 1)?)?;
            match operator {
                Operator::Add => B::float_add(left, right),
                Operator::Sub => B::float_sub(left, right),
                _ => B::float_mul(left, right),
            }
        }
        Operator::MatMul => matrix_multiply::<B>(x, take::<B>(&mut inputs, 1)?)?,
        Operator::Gemm { .. } => {
            let weight = take::<B>(&mut inputs, 1)?;
            gemm::<B>(operator, x, weight, take::<B>(&mut inputs, 2).ok())?
        }
        Operator::Convolution { window, groups, relu } => {
            let weight = take::<B>(&mut inputs, 1)?;
            let bias = take::<B>(&mut inputs, 2).ok();
            let shape = convolution::<B>(&x, &weight, bias.as_ref(), window, *groups, *relu)?;
            B::convolution(x, weight, bias, &shape)
        }
        Operator::MaxPool { window } => {
            let shape = pooling::<B>(&x, window, false)?;
            B::max_pool(x, &shape)
        }
        Operator::AveragePool { window, includes_padding } => {
            let shape = pooling::<B>(&x, window, *includes_padding)?;
            B::average_pool(x, &shape)
        }
        Operator::GlobalAveragePool => global_average::<B>(x)?,
        Operator::BatchNormalization { epsilon } => batch_normalization::<B>(x, &mut inputs, *epsilon)?,
        Operator::Concat { axis } => {
            let mut parts = vec![x];
            for position in 1..inputs.len() {
                parts.push(take::<B>(&mut inputs, position)?);
            }
            concat::<B>(parts, *axis)?
        }
        Operator::Dropout { ratio } => dropout::<B>(x, *ratio, context),
        Operator::Softmax { axis, flattened } => softmax::<B>(x, *axis, *flattened)?,
        Operator::Flatten { .. } | Operator::Reshape { .. } | Operator::Squeeze { .. } => {
            let target = target_shape(operator, &dims::<B>(&x), context.batch_fixed_to_one, context.batch)?;
            reshape::<B>(x, target)
        }
        Operator::Transpose { permutation } => transpose::<B>(x, permutation.as_deref())?,
    })
}

/// Gives both operands the rank of the larger one, as ONNX broadcasting does, and checks that they fit.
fn same_rank<B: TrainBackend>(
    left: FloatTensor<B>,
    right: FloatTensor<B>,
) -> Result<(FloatTensor<B>, FloatTensor<B>), String> {
    let (l, r) = (dims::<B>(&left), dims::<B>(&right));
    let rank = l.len().max(r.len());
    let widen = |shape: &[usize]| [vec![1; rank - shape.len()], shape.to_vec()].concat();
    let (lw, rw) = (widen(&l), widen(&r));
    if lw.iter().zip(&rw).any(|(a, b)| a != b && *a != 1 && *b != 1) {
        return Err(format!("shapes {l:?} and {r:?} do not broadcast"));
    }
    let fit = |tensor, from: Vec<usize>, to: Vec<usize>| if from == to { tensor } else { reshape::<B>(tensor, to) };
    Ok((fit(left, l, lw), fit(right, r, rw)))
}

fn matrix_multiply<B: TrainBackend>(left: FloatTensor<B>, right: FloatTensor<B>) -> Result<FloatTensor<B>, String> {
    let (l, r) = (dims::<B>(&left), dims::<B>(&right));
    let fits = l.len() >= 2 && r.len() >= 2 && l[l.len() - 1] == r[r.len() - 2];
    if !fits {
        return Err(format!("matrices {l:?} and {r:?} cannot be multiplied"));
    }
    if r.len() == 2 && l.len() > 2 {
        // One large product instead of many small ones.
        let inner = l[l.len() - 1];
        let rows = l[..l.len() - 1].iter().product();
        let y = B::float_matmul(reshape::<B>(left, vec![rows, inner]), right);
        return Ok(reshape::<B>(y, [&l[..l.len() - 1], &r[1..]].concat()));
    }
    let rank = l.len().max(r.len());
    let widen = |shape: &[usize]| [vec![1; rank - shape.len()], shape.to_vec()].concat();
    let (lw, rw) = (widen(&l), widen(&r));
    let batches_fit = lw[..rank - 2].iter().zip(&rw[..rank - 2]).all(|(a, b)| a == b || *a == 1 || *b == 1);
    if !batches_fit {
        return Err(format!("batches of {l:?} and {r:?} do not broadcast"));
    }
    Ok(B::float_matmul(reshape::<B>(left, lw), reshape::<B>(right, rw)))
}

fn gemm<B: TrainBackend>(
    operator: &Operator,
    a: FloatTensor<B>,
    b: FloatTensor<B>,
    c: Option<FloatTensor<B>>,
) -> Result<FloatTensor<B>, String> {
    let Operator::Gemm { alpha, beta, transpose_a, transpose_b } = operator else {
        return Err("called for another operator".to_owned());
    };
    if dims::<B>(&a).len() != 2 || dims::<B>(&b).len() != 2 {
        return Err(format!("expected two matrices, found {:?} and {:?}", dims::<B>(&a), dims::<B>(&b)));
    }
    let a = if *transpose_a { B::float_transpose(a) } else { a };
    let b = if *transpose_b { B::float_transpose(b) } else { b };
    let mut y = matrix_multiply::<B>(a, b)?;
    if *alpha != 1.0 {
        y = B::float_mul_scalar(y, (*alpha).into());
    }
    let Some(mut c) = c else { return Ok(y) };
    if *beta != 1.0 {
        c = B::float_mul_scalar(c, (*beta).into());
    }
    let (y, c) = same_rank::<B>(y, c)?;
    Ok(B::float_add(y, c))
}

/// `[images, channels, height, width]`.
fn image<B: TrainBackend>(x: &FloatTensor<B>) -> Result<[usize; 4], String> {
    let shape = dims::<B>(x);
    <[usize; 4]>::try_from(shape.as_slice())
        .map_err(|_| format!("expected images [batch, channels, height, width], found {shape:?}"))
}

fn convolution<B: TrainBackend>(
    x: &FloatTensor<B>,
    weight: &FloatTensor<B>,
    bias: Option<&FloatTensor<B>>,
    window: &WindowAttributes,
    groups: usize,
    relu: bool,
) -> Result<Convolution, String> {
    let [images, channels_in, height, width] = image::<B>(x)?;
    let w = dims::<B>(weight);
    let [channels_out, group_in, kernel_height, kernel_width] = <[usize; 4]>::try_from(w.as_slice())
        .map_err(|_| format!("expected a weight [out, in / groups, height, width], found {w:?}"))?;
    let kernel = [kernel_height, kernel_width];
    if !window.kernel.is_empty() && window.kernel != kernel {
        return Err(format!("attribute kernel_shape {:?} differs from the weight {w:?}", window.kernel));
    }
    if group_in * groups != channels_in || !channels_out.is_multiple_of(groups) || w.contains(&0) {
        return Err(format!("weight {w:?} with {groups} groups does not fit {channels_in} channels"));
    }
    if let Some(bias) = bias
        && dims::<B>(bias) != [channels_out]
    {
        return Err(format!("bias {:?} does not fit {channels_out} channels", dims::<B>(bias)));
    }
    let window = window.resolve([height, width], kernel);
    let output = window
        .output([height, width])
        .ok_or_else(|| format!("the kernel {kernel:?} is larger than the padded image {height} x {width}"))?;
    Ok(Convolution { images, groups, channels_in, channels_out, input: [height, width], output, window, relu })
}

fn pooling<B: TrainBackend>(
    x: &FloatTensor<B>,
    window: &WindowAttributes,
    includes_padding: bool,
) -> Result<Pooling, String> {
    let [images, channels, height, width] = image::<B>(x)?;
    let kernel = [window.kernel[0], window.kernel[1]];
    let window = window.resolve([height, width], kernel);
    for axis in 0..2 {
        if window.pads_begin[axis].max(window.pads_end[axis]) >= window.extent(axis) {
            return Err(format!("padding {:?} is as large as the kernel {kernel:?}", window.pads_begin));
        }
    }
    let output = window
        .output([height, width])
        .ok_or_else(|| format!("the kernel {kernel:?} is larger than the padded image {height} x {width}"))?;
    Ok(Pooling { planes: images * channels, input: [height, width], output, window, includes_padding })
}

fn global_average<B: TrainBackend>(x: FloatTensor<B>) -> Result<FloatTensor<B>, String> {
    let [images, channels, height, width] = image::<B>(&x)?;
    let flat = reshape::<B>(x, vec![images, channels, height * width]);
    Ok(reshape::<B>(B::float_mean_dim(flat, 2), vec![images, channels, 1, 1]))
}

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias` with fixed statistics.
fn batch_normalization<B: TrainBackend>(
    x: FloatTensor<B>,
    inputs: &mut Inputs<B>,
    epsilon: f32,
) -> Result<FloatTensor<B>, String> {
    let shape = dims::<B>(&x);
    let channels = *shape.get(1).ok_or("expected a channel axis")?;
    let mut broadcast = vec![1; shape.len()];
    broadcast[1] = channels;
    let mut column = |position: usize| {
        let tensor = take::<B>(inputs, position)?;
        if dims::<B>(&tensor) != [channels] {
            return Err(format!("input {position} has shape {:?}, expected [{channels}]", dims::<B>(&tensor)));
        }
        Ok(reshape::<B>(tensor, broadcast.clone()))
    };
    let (scale, bias, mean, variance) = (column(1)?, column(2)?, column(3)?, column(4)?);
    let deviation = B::float_sqrt(B::float_add_scalar(variance, epsilon.into()));
    let factor = B::float_div(scale, deviation);
    let offset = B::float_sub(bias, B::float_mul(mean, factor.clone()));
    Ok(B::float_add(B::float_mul(x, factor), offset))
}

fn concat<B: TrainBackend>(parts: Vec<FloatTensor<B>>, axis: i64) -> Result<FloatTensor<B>, String> {
    let first = dims::<B>(&parts[0]);
    let axis = axis_of(axis, first.len())?;
    for part in &parts {
        let shape = dims::<B>(part);
        let fits =
            shape.len() == first.len() && shape.iter().zip(&first).enumerate().all(|(at, (a, b))| at == axis || a == b);
        if !fits {
            return Err(format!("shapes {first:?} and {shape:?} differ outside axis {axis}"));
        }
    }
    Ok(B::float_cat(parts, axis))
}

/// Drops by a seeded mask and scales what stays, in training only.
fn dropout<B: TrainBackend>(x: FloatTensor<B>, ratio: f32, context: Context<'_, '_, B>) -> FloatTensor<B> {
    let Mode::Training(random) = context.mode else {
        return x;
    };
    if ratio == 0.0 {
        return x;
    }
    let shape = dims::<B>(&x);
    let kept = 1.0 / (1.0 - ratio);
    let mask: Vec<f32> =
        (0..shape.iter().product::<usize>()).map(|_| if random.random::<f32>() < ratio { 0.0 } else { kept }).collect();
    let mask = B::float_from_data(TensorData::new(mask, shape), context.device);
    B::float_mul(x, mask)
}

fn softmax<B: TrainBackend>(x: FloatTensor<B>, axis: i64, flattened: bool) -> Result<FloatTensor<B>, String> {
    let shape = dims::<B>(&x);
    let axis = axis_of(axis, shape.len())?;
    if !flattened || axis + 1 == shape.len() {
        return Ok(B::softmax(x, axis));
    }
    let rows = shape[..axis].iter().product();
    let columns = shape[axis..].iter().product();
    Ok(reshape::<B>(B::softmax(reshape::<B>(x, vec![rows, columns]), 1), shape))
}

fn transpose<B: TrainBackend>(x: FloatTensor<B>, permutation: Option<&[i64]>) -> Result<FloatTensor<B>, String> {
    let rank = dims::<B>(&x).len();
    let axes: Vec<usize> = match permutation {
        None => (0..rank).rev().collect(),
        Some(order) => order.iter().map(|axis| axis_of(*axis, rank)).collect::<Result<_, _>>()?,
    };
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if sorted != (0..rank).collect::<Vec<_>>() {
        return Err(format!("{permutation:?} is no permutation of {rank} axes"));
    }
    Ok(B::float_permute(x, &axes))
}
