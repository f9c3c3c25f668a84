//! Rewrites of the float graph that compute the same with fewer nodes.
//!
//! Each function looks at one node and says whether it changed the graph. They keep the names of the values that
//! remain, so that a plan made for the prepared graph speaks of the model's own tensors.

use std::collections::BTreeMap;

use runtime_graph::{Attribute, Graph, Node};
use runtime_tensor::{Tensor, TensorError, TensorSpec};

use crate::bound::Bound;
use crate::linear::{Linear, is_linear};

/// What a rewrite may look at.
pub(crate) struct Scene<'a> {
    pub(crate) graph: &'a mut Graph,
    pub(crate) shapes: &'a BTreeMap<String, TensorSpec>,
}

impl Scene<'_> {
    fn constant(&self, name: Option<&str>) -> Option<&Tensor> {
        self.graph.initializers.get(name?)
    }

    fn rank(&self, name: Option<&str>) -> Option<usize> {
        self.shapes.get(name?).map(|spec| spec.shape.len())
    }

    /// The node that alone reads the first output of the node at `index`.
    fn follower(&self, index: usize) -> Option<usize> {
        self.graph.only_reader(self.graph.nodes[index].output(0)?)
    }
}

type Changed = Result<bool, TensorError>;

/// A node that hands its input on goes away.
pub(crate) fn drop_identity(scene: &mut Scene<'_>, index: usize) -> Changed {
    let node = &scene.graph.nodes[index];
    let is_idle =
        node.is("Identity") || (node.is("Dropout") && node.output(1).is_none_or(|mask| !is_read(scene.graph, mask)));
    let (Some(input), Some(output)) = (node.input(0), node.output(0)) else { return Ok(false) };
    if !is_idle || scene.graph.is_output(output) || is_captured(scene.graph, output) {
        return Ok(false);
    }
    let (input, output) = (input.to_owned(), output.to_owned());
    scene.graph.replace_reads(&output, &input);
    scene.graph.nodes.remove(index);
    Ok(true)
}

fn is_read(graph: &Graph, value: &str) -> bool {
    graph.is_output(value) || graph.nodes.iter().any(|node| node.reads().any(|name| name == value))
}

/// Whether a subgraph reads the value: then its name must stay.
fn is_captured(graph: &Graph, value: &str) -> bool {
    let reads = |node: &Node| node.reads().filter(|&name| name == value).count();
    let lists = |node: &Node| node.inputs.iter().filter(|&name| name == value).count();
    graph.nodes.iter().any(|node| reads(node) > lists(node))
}

/// A constant zero Pad in front of a Conv becomes the Conv's own padding.
pub(crate) fn pad_into_convolution(scene: &mut Scene<'_>, index: usize) -> Changed {
    let pad = &scene.graph.nodes[index];
    let zero = match pad.input(2) {
        None => true,
        Some(name) => scene.constant(Some(name)).and_then(|value| value.as_f32().ok()) == Some(&[0.0]),
    };
    let mode = pad.text("mode").unwrap_or("constant");
    let pads = scene.constant(pad.input(1)).and_then(|pads| pads.as_i64().ok()).map(<[i64]>::to_vec);
    let (true, "constant", None, Some(pads), Some(reader)) =
        (pad.is("Pad") && zero, mode, pad.input(3), pads, scene.follower(index))
    else {
        return Ok(false);
    };
    let axes = pads.len() / 2;
    let conv = &scene.graph.nodes[reader];
    let explicit = conv.text("auto_pad").unwrap_or("NOTSET") == "NOTSET" && conv.input(0) == pad.output(0);
    let outside = |axis: usize| pads[axis] == 0 && pads[axis + axes] == 0;
    if !conv.is("Conv") || !explicit || axes < 3 || !outside(0) || !outside(1) || pads.iter().any(|&pad| pad < 0) {
        return Ok(false);
    }
    let space = axes - 2;
    let own = conv.ints("pads").map_or_else(|| vec![0; 2 * space], <[i64]>::to_vec);
    let Some(input) = pad.input(0).map(str::to_owned) else { return Ok(false) };
    if own.len() != 2 * space {
        return Ok(false);
    }
    let added = |place: usize| pads[if place < space { place + 2 } else { place - space + axes + 2 }];
    let sum = (0..2 * space).map(|place| own[place].saturating_add(added(place))).collect();
    let conv = &mut scene.graph.nodes[reader];
    conv.attributes.insert("pads".to_owned(), Attribute::Ints(sum));
    conv.inputs[0] = input;
    scene.graph.nodes.remove(index);
    Ok(true)
}

/// BatchNormalization, or a factor or offset for each channel, behind weights goes into the weights.
pub(crate) fn affine_into_linear(scene: &mut Scene<'_>, index: usize) -> Changed {
    let node = &scene.graph.nodes[index];
    if !is_linear(node) {
        return Ok(false);
    }
    let (Some(reader), Ok(mut linear)) = (scene.follower(index), Linear::of(node, scene.graph)) else {
        return Ok(false);
    };
    let rank = if node.is("MatMul") { scene.rank(node.output(0)) } else { Some(linear.weights.shape().len()) };
    let channel_axis = if node.is("Conv") { 1 } else { rank.unwrap_or(1).saturating_sub(1) };
    let place = Channels { rank, axis: channel_axis, count: linear.layout.outputs, input: node.output(0) };
    let Some((factors, offsets)) = affine(scene, &scene.graph.nodes[reader], &place) else { return Ok(false) };
    let needs_bias = linear.bias.is_some() || offsets.iter().any(|&offset| offset != 0.0);
    if node.is("MatMul") && needs_bias && rank != Some(2) {
        return Ok(false);
    }
    linear.then(&factors, &offsets)?;
    if !needs_bias {
        linear.bias = None;
    }
    let output = scene.graph.nodes[reader].outputs[0].clone();
    linear.write(scene.graph, index)?;
    let node = &mut scene.graph.nodes[index];
    if node.is("MatMul") && needs_bias {
        Linear::make_gemm(node);
    }
    node.outputs[0] = output;
    scene.graph.nodes.remove(reader);
    Ok(true)
}

/// Where the channels of a value lie.
struct Channels<'a> {
    rank: Option<usize>,
    axis: usize,
    count: usize,
    /// The value that the follower must read as its data.
    input: Option<&'a str>,
}

/// What a node does to each channel: factor and offset.
fn affine(scene: &Scene<'_>, node: &Node, channels: &Channels<'_>) -> Option<(Vec<f64>, Vec<f64>)> {
    let (zeros, ones) = (vec![0.0; channels.count], vec![1.0; channels.count]);
    if node.is("BatchNormalization") {
        return batch_normalization(scene, node, channels);
    }
    // Which of the two inputs is the constant.
    let (first, second) = (node.input(0)?, node.input(1)?);
    let (data, constant) = if Some(first) == channels.input { (0, second) } else { (1, first) };
    let values = per_channel(scene.constant(Some(constant))?, channels)?;
    match (node.operator.as_str(), data) {
        ("Add", _) => Some((ones, values)),
        ("Sub", 0) => Some((ones, values.iter().map(|value| -value).collect())),
        ("Mul", _) => Some((values, zeros)),
        ("Div", 0) if values.iter().all(|&value| value != 0.0) => {
            Some((values.iter().map(|value| 1.0 / value).collect(), zeros))
        }
        _ => None,
    }
    .filter(|_| node.is_standard())
}

fn batch_normalization(scene: &Scene<'_>, node: &Node, channels: &Channels<'_>) -> Option<(Vec<f64>, Vec<f64>)> {
    let used = |position: usize| node.output(position).is_some_and(|output| is_read(scene.graph, output));
    if node.int("training_mode", 0) != 0 || (1..node.outputs.len()).any(used) || channels.axis != 1 {
        return None;
    }
    let list = |position: usize| -> Option<Vec<f64>> {
        let values = scene.constant(node.input(position))?.as_f32().ok()?;
        (values.len() == channels.count).then(|| values.iter().map(|&value| f64::from(value)).collect())
    };
    let (gamma, beta, mean, variance) = (list(1)?, list(2)?, list(3)?, list(4)?);
    let epsilon = f64::from(node.float("epsilon", 1e-5));
    let factor = |channel: usize| gamma[channel] / (variance[channel] + epsilon).sqrt();
    let factors: Vec<f64> = (0..channels.count).map(factor).collect();
    let offset = |channel: usize| beta[channel] - mean[channel] * factors[channel];
    let offsets: Vec<f64> = (0..channels.count).map(offset).collect();
    factors.iter().chain(&offsets).all(|value| value.is_finite()).then_some((factors, offsets))
}

/// A constant that differs at most from channel to channel, as one value a channel.
fn per_channel(tensor: &Tensor, channels: &Channels<'_>) -> Option<Vec<f64>> {
    let values = tensor.as_f32().ok()?;
    let rank = channels.rank?;
    let lead = rank.checked_sub(tensor.shape().len())?;
    if let [only] = values {
        return Some(vec![f64::from(*only); channels.count]);
    }
    let fits = |(axis, &size): (usize, &usize)| size == if axis + lead == channels.axis { channels.count } else { 1 };
    (channels.axis >= lead && tensor.shape().iter().enumerate().all(fits))
        .then(|| values.iter().map(|&value| f64::from(value)).collect())
}

/// Relu or Clip behind MaxPool or a reshape moves in front of it, next to the node that can absorb it.
pub(crate) fn bound_forward(scene: &mut Scene<'_>, index: usize) -> Changed {
    let carrier = &scene.graph.nodes[index];
    let Some(input) = carrier.input(0).map(str::to_owned) else { return Ok(false) };
    let made = scene.graph.nodes[..index].iter().any(|node| node.outputs.contains(&input));
    let Some(reader) = scene.follower(index) else { return Ok(false) };
    let bound = &scene.graph.nodes[reader];
    let reads_it = bound.input(0) == carrier.output(0);
    if !is_carrier(carrier)
        || !made
        || scene.graph.only_reader(&input) != Some(index)
        || Bound::of(bound, scene.graph).is_none()
        || !reads_it
    {
        return Ok(false);
    }
    let between = scene.graph.fresh_name(&format!("{input}_bounded"));
    let (mut carrier, mut bound) = (carrier.clone(), bound.clone());
    carrier.outputs[0] = std::mem::replace(&mut bound.outputs[0], between.clone());
    carrier.inputs[0] = between;
    bound.inputs[0] = input;
    scene.graph.nodes[index] = bound;
    scene.graph.nodes[reader] = carrier;
    Ok(true)
}

/// Operators that give elements of their input unchanged: what comes out is what went in, or the largest of it.
pub(crate) fn is_carrier(node: &Node) -> bool {
    let only_data = node.operator != "MaxPool" || node.output(1).is_none();
    only_data
        && ["MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze"]
            .iter()
            .any(|operator| node.is(operator))
}
