//! Cross-layer equalization: channels change their scale between layers so that each has its share of the integers.
//!
//! Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv 1906.04721,
//! section 4.1: a factor per channel may move from the weights that make a value to the weights that read it when
//! everything in between passes it on. The paper looks at pairs of layers; here all makers and readers of a value
//! move together, so that values which a residual adds up are equalized, too. The model computes the same.

use std::collections::{BTreeMap, BTreeSet};

use runtime_graph::{Graph, Model, Node};
use runtime_tensor::{Dimension, TensorSpec};

use crate::QuantizeError;
use crate::bound::Bound;
use crate::linear::{Linear, is_linear};
use crate::prepare::{prepare, shapes_of};

/// Walks over all classes; each brings the factors nearer to one.
const ROUNDS_MAX: u32 = 40;
/// A round whose factors are all this near to one is the last.
const FACTOR_NEAR_ONE: f64 = 0.01;
/// Factors of one round stay between this and its inverse.
const FACTOR_MIN: f64 = 1e-8;

/// Layers between which channels changed their scale.
#[derive(Clone, Debug, PartialEq)]
pub struct EqualizedChannels {
    /// Nodes whose weights make the channels.
    pub makers: Vec<String>,
    /// Nodes whose weights read them.
    pub readers: Vec<String>,
    /// Number of channels.
    pub channels: usize,
    /// Largest weight of the makers' strongest channel relative to their weakest that is not zero.
    pub spread_before: f64,
    /// The same afterwards.
    pub spread_after: f64,
}

/// A model that computes the same with more even weights.
#[derive(Clone, Debug)]
pub struct Equalized {
    /// The prepared model with changed weights and biases.
    pub model: Model,
    /// What changed, in the order of the graph.
    pub channels: Vec<EqualizedChannels>,
    /// Rounds until the factors were one.
    pub rounds: u32,
}

/// Evens out the ranges of channels wherever nothing but homogeneous operators stands between weights.
///
/// Homogeneous are Relu, a Clip from zero without upper end, pooling, sums of values, and reshaping of single
/// pixels. A Clip with an upper end (ReLU6) is not: it would have to differ from channel to channel.
pub fn equalize(model: &Model) -> Result<Equalized, QuantizeError> {
    let mut model = prepare(model)?;
    let shapes = shapes_of(model.graph(), model.opset())?;
    let mut linears: BTreeMap<usize, Linear> = BTreeMap::new();
    for (index, node) in model.graph().nodes.iter().enumerate().filter(|(_, node)| is_linear(node)) {
        if let Ok(linear) = Linear::of(node, model.graph()) {
            linears.insert(index, linear);
        }
    }
    let classes = Classes::of(model.graph(), &shapes, &linears);
    let before: Vec<f64> = classes.iter().map(|class| spread(class, &linears)).collect();
    let mut rounds = 0;
    while rounds < ROUNDS_MAX {
        rounds += 1;
        let mut furthest = 0.0f64;
        for class in &classes {
            furthest = furthest.max(class.step(&mut linears)?);
        }
        if furthest < FACTOR_NEAR_ONE {
            break;
        }
    }
    let label = |index: &usize| model.graph().nodes[*index].label();
    let channels = classes.iter().zip(before).map(|(class, spread_before)| EqualizedChannels {
        makers: class.makers.iter().map(label).collect(),
        readers: class.readers.iter().map(label).collect(),
        channels: class.channels,
        spread_before,
        spread_after: spread(class, &linears),
    });
    let channels = channels.collect();
    let touched: BTreeSet<usize> =
        classes.iter().flat_map(|class| class.makers.iter().chain(&class.readers).copied()).collect();
    for (index, linear) in linears.into_iter().filter(|(index, _)| touched.contains(index)) {
        linear.write(model.graph_mut(), index)?;
    }
    model.graph_mut().prune();
    model.check()?;
    Ok(Equalized { model, channels, rounds })
}

/// Weights that make a set of channels and weights that read it.
#[derive(Debug)]
struct Class {
    makers: Vec<usize>,
    readers: Vec<usize>,
    channels: usize,
}

impl Class {
    /// Largest weight of each channel, over all makers.
    fn made(&self, linears: &BTreeMap<usize, Linear>) -> Vec<f64> {
        let mut found = vec![0.0f64; self.channels];
        for linear in self.makers.iter().map(|index| &linears[index]) {
            linear.each_weight(|weight, output, _| found[output] = found[output].max(f64::from(weight.abs())));
        }
        found
    }

    /// Moves one factor a channel from makers to readers; returns how far from one the furthest was.
    fn step(&self, linears: &mut BTreeMap<usize, Linear>) -> Result<f64, QuantizeError> {
        let mut read = vec![0.0f64; self.channels];
        for linear in self.readers.iter().map(|index| &linears[index]) {
            linear.each_weight(|weight, _, input| read[input] = read[input].max(f64::from(weight.abs())));
        }
        let factor = |(made, read): (f64, f64)| {
            // A channel that is switched off, or that nobody reads, has nothing to even out.
            let found = if made > 0.0 && read > 0.0 { (read / made).sqrt() } else { 1.0 };
            found.clamp(FACTOR_MIN, 1.0 / FACTOR_MIN)
        };
        let factors: Vec<f64> = self.made(linears).into_iter().zip(read).map(factor).collect();
        let zeros = vec![0.0; self.channels];
        for index in &self.makers {
            if let Some(linear) = linears.get_mut(index) {
                let had_bias = linear.bias.is_some();
                linear.then(&factors, &zeros)?;
                linear.bias = linear.bias.take().filter(|_| had_bias);
            }
        }
        for index in &self.readers {
            if let Some(linear) = linears.get_mut(index) {
                linear.behind(&factors)?;
            }
        }
        Ok(factors.iter().map(|factor| factor.ln().abs()).fold(0.0, f64::max))
    }
}

fn spread(class: &Class, linears: &BTreeMap<usize, Linear>) -> f64 {
    let made = class.made(linears);
    let least = made.iter().copied().filter(|&value| value > 0.0).fold(f64::INFINITY, f64::min);
    let most = made.iter().copied().fold(0.0, f64::max);
    if most > 0.0 { most / least } else { 1.0 }
}

/// Values whose channels must have one scale, found by joining what homogeneous operators connect.
struct Classes<'g> {
    graph: &'g Graph,
    shapes: &'g BTreeMap<String, TensorSpec>,
    leaders: BTreeMap<String, String>,
    /// Values that somebody reads or makes who does not pass a factor on.
    fixed: BTreeSet<String>,
}

impl<'g> Classes<'g> {
    fn of(graph: &'g Graph, shapes: &'g BTreeMap<String, TensorSpec>, linears: &BTreeMap<usize, Linear>) -> Vec<Class> {
        let mut classes = Self { graph, shapes, leaders: BTreeMap::new(), fixed: BTreeSet::new() };
        let borders = graph.inputs.iter().chain(&graph.outputs).map(|spec| spec.name.clone());
        classes.fixed.extend(borders.chain(graph.initializers.keys().cloned()));
        for (index, node) in graph.nodes.iter().enumerate() {
            let is_free = linears.get(&index).is_some_and(|linear| graph.only_reader(&linear.name) == Some(index));
            if is_free {
                continue;
            }
            if classes.passes(node) {
                for value in node.inputs.iter().take(data_count(node)) {
                    classes.join(value, &node.outputs[0]);
                }
            } else {
                let values = node.reads().map(str::to_owned).chain(node.outputs.iter().cloned());
                classes.fixed.extend(values.filter(|name| !name.is_empty()));
            }
        }
        classes.collect(linears)
    }

    fn leader(&self, value: &str) -> String {
        let mut found = value;
        while let Some(next) = self.leaders.get(found) {
            found = next;
        }
        found.to_owned()
    }

    fn join(&mut self, left: &str, right: &str) {
        let (left, right) = (self.leader(left), self.leader(right));
        if left != right {
            self.leaders.insert(right, left);
        }
    }

    fn sizes(&self, value: &str) -> Option<&'g [Dimension]> {
        self.shapes.get(value).map(|spec| spec.shape.as_slice())
    }

    /// Whether a factor for each channel of its inputs is the same factor of its output.
    fn passes(&self, node: &Node) -> bool {
        let (Some(input), Some(output)) = (node.input(0), node.output(0)) else { return false };
        let only_output = node.outputs.iter().skip(1).all(String::is_empty);
        let is_single_pixel = || {
            let ones =
                |shape: &[Dimension]| shape.iter().skip(1).filter(|&size| *size != Dimension::Fixed(1)).count() <= 1;
            self.sizes(input).is_some_and(|shape| shape.len() > 1 && ones(shape))
                && self.sizes(output).is_some_and(|shape| shape.len() > 1 && ones(shape))
        };
        only_output
            && match node.operator.as_str() {
                _ if !node.is_standard() => false,
                "Relu" | "Identity" | "LeakyRelu" | "MaxPool" | "AveragePool" | "GlobalAveragePool" => true,
                "Clip" => Bound::of(node, self.graph).is_some_and(|bound| bound.is_homogeneous()),
                "Add" => {
                    node.inputs.iter().all(|name| self.sizes(name).is_some() && self.sizes(name) == self.sizes(output))
                }
                "Flatten" | "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze" => is_single_pixel(),
                _ => false,
            }
    }

    /// Classes with makers and readers that agree about the number of channels and where they lie.
    fn collect(&self, linears: &BTreeMap<usize, Linear>) -> Vec<Class> {
        let fixed: BTreeSet<String> = self.fixed.iter().map(|value| self.leader(value)).collect();
        let mut found: BTreeMap<String, (Class, BTreeSet<(usize, usize)>)> = BTreeMap::new();
        for (&index, linear) in linears {
            if self.graph.only_reader(&linear.name) != Some(index) {
                continue;
            }
            let node = &self.graph.nodes[index];
            let axis = |value: &str| {
                if node.is("Conv") { 1 } else { self.sizes(value).map_or(0, |shape| shape.len().saturating_sub(1)) }
            };
            let ends = [(node.output(0), linear.layout.outputs, true), (node.input(0), linear.inputs(), false)];
            for (value, channels, makes) in ends {
                let Some(value) = value.filter(|value| !fixed.contains(&self.leader(value))) else { continue };
                let fresh = || (Class { makers: Vec::new(), readers: Vec::new(), channels }, BTreeSet::new());
                let (class, forms) = found.entry(self.leader(value)).or_insert_with(fresh);
                forms.insert((channels, axis(value)));
                if makes { class.makers.push(index) } else { class.readers.push(index) }
            }
        }
        let mut classes: Vec<Class> = found
            .into_values()
            .filter(|(class, forms)| forms.len() == 1 && !class.makers.is_empty() && !class.readers.is_empty())
            .map(|(class, _)| class)
            .collect();
        classes.sort_by_key(|class| class.makers[0]);
        classes
    }
}

fn data_count(node: &Node) -> usize {
    if node.is("Add") { 2 } else { 1 }
}
