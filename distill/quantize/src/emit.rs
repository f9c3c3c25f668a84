//! Writing the QDQ graph.
//!
//! Each activation with a scale gets one QuantizeLinear and one DequantizeLinear behind whatever makes it; integer
//! nodes read the dequantized value, so an engine sees DequantizeLinear, operator, QuantizeLinear around each.
//! A bound that saturation takes over is not written; one that it cannot is left between operator and
//! QuantizeLinear.

use std::collections::{BTreeMap, BTreeSet};

use runtime_graph::{Attribute, Graph, Node};
use runtime_tensor::{ElementType, QuantizationParameters, QuantizationPlan, Tensor};

use crate::bound::Bound;
use crate::linear::Linear;
use crate::parameters::requantized;
use crate::refine::WeightCodes;
use crate::select::{Choice, Form, Selection, data_inputs};
use crate::weights::{IntegerWeights, WeightWish, bias_scales, integer_bias, integer_weights};
use crate::{NodeReport, QuantizeError, QuantizeOptions};

/// Characters that a new name takes over from the value that it belongs to.
const NAME_CHARS_MAX: usize = 32;

pub(crate) struct Emitter<'a> {
    float: &'a Graph,
    selection: &'a Selection,
    plan: &'a QuantizationPlan,
    options: &'a QuantizeOptions,
    codes: &'a BTreeMap<String, WeightCodes>,
    graph: Graph,
    /// Every name in use, in the float graph and in the one that is written.
    taken: BTreeSet<String>,
    /// What integer nodes read for each activation.
    dequantized: BTreeMap<String, String>,
    /// Names of scale and zero point, by the tensor that stands for the group.
    parameters: BTreeMap<String, [String; 2]>,
    /// Names of dequantized weights, by the name of the float weights.
    weights: BTreeMap<String, DequantizedWeights>,
}

#[derive(Clone)]
struct DequantizedWeights {
    name: String,
    noise_db: f64,
    shrunk: u64,
    guarded: u64,
}

impl<'a> Emitter<'a> {
    pub(crate) fn new(
        float: &'a Graph,
        selection: &'a Selection,
        plan: &'a QuantizationPlan,
        options: &'a QuantizeOptions,
        codes: &'a BTreeMap<String, WeightCodes>,
    ) -> Self {
        let mut taken: BTreeSet<String> = float.initializers.keys().cloned().collect();
        taken.extend(float.inputs.iter().chain(&float.outputs).map(|spec| spec.name.clone()));
        taken.extend(
            float.nodes.iter().flat_map(|node| node.outputs.iter().cloned().chain(node.reads().map(str::to_owned))),
        );
        let mut emitter = Self {
            float,
            selection,
            plan,
            options,
            codes,
            graph: Graph { nodes: Vec::new(), values: BTreeMap::new(), ..float.clone() },
            taken,
            dequantized: BTreeMap::new(),
            parameters: BTreeMap::new(),
            weights: BTreeMap::new(),
        };
        for tensor in selection.groups.keys() {
            // An output of the graph that integers make keeps its name on the float side.
            let name = match emitter.is_made_by_integers(tensor) && float.is_output(tensor) {
                true => tensor.clone(),
                false => emitter.fresh(tensor, "dequantized"),
            };
            emitter.dequantized.insert(tensor.clone(), name);
        }
        emitter
    }

    /// A name for what becomes of `value`: the first free of `value_role`, `value_role_1` and so on.
    fn fresh(&mut self, value: &str, role: &str) -> String {
        // Some exporters give names of hundreds of bytes; five new ones each would outweigh the weights.
        let end = value.char_indices().nth(NAME_CHARS_MAX).map_or(value.len(), |(end, _)| end);
        let wish = format!("{}_{role}", &value[..end]);
        let mut name = wish.clone();
        let mut number = 1u64;
        while !self.taken.insert(name.clone()) {
            name = format!("{wish}_{number}");
            number += 1;
        }
        name
    }

    fn constant(&mut self, value: &str, role: &str, tensor: Tensor) -> String {
        let name = self.fresh(value, role);
        self.graph.initializers.insert(name.clone(), tensor);
        name
    }

    /// The whole graph; fills in what `report` says about weights.
    pub(crate) fn emit(mut self, report: &mut [NodeReport]) -> Result<Graph, QuantizeError> {
        let mut nodes = Vec::new();
        let inputs = self.float.inputs.iter().map(|input| input.name.as_str());
        let constants = self.float.initializers.keys().map(String::as_str);
        for name in inputs.chain(constants).filter(|name| self.selection.groups.contains_key(*name)) {
            nodes.extend(self.border(name, name)?);
        }
        for (index, node) in self.float.nodes.iter().enumerate() {
            match &self.selection.choices[index] {
                Choice::Absorbed(_) => {}
                Choice::Float(_) => nodes.extend(self.float_node(node)?),
                Choice::Integer(form) => nodes.extend(self.integer_node(index, *form, &mut report[index])?),
            }
        }
        self.graph.nodes = nodes;
        self.graph.prune();
        Ok(self.graph)
    }

    fn bounds(&self) -> (i32, i32) {
        self.options.activation.bounds()
    }

    /// Scale and zero point of an activation, checked.
    fn activation(&self, tensor: &str) -> Result<(f32, i32), QuantizeError> {
        let refuse = |reason: &str| QuantizeError::Plan { tensor: tensor.to_owned(), reason: reason.to_owned() };
        let found =
            self.plan.tensors.get(tensor).ok_or_else(|| refuse("the plan does not name it; calibrate this model"))?;
        let ([scale], [zero_point]) = (found.scales.as_slice(), found.zero_points.as_slice()) else {
            return Err(refuse("an activation has one scale and one zero point"));
        };
        let (smallest, largest) = self.bounds();
        if found.element != self.options.activation.element() {
            return Err(refuse("the plan has another activation type than the options"));
        }
        if !scale.is_normal() || *scale <= 0.0 || !(smallest..=largest).contains(zero_point) {
            return Err(refuse("its scale must be a positive normal number and its zero point in range"));
        }
        Ok((*scale, *zero_point))
    }

    /// The names of the constants that hold scale and zero point of an activation; one pair for a group.
    fn activation_constants(&mut self, tensor: &str) -> Result<[String; 2], QuantizeError> {
        let (scale, zero_point) = self.activation(tensor)?;
        let leader = self.selection.groups.get(tensor).cloned().unwrap_or_else(|| tensor.to_owned());
        if self.activation(&leader)? != (scale, zero_point) {
            return Err(QuantizeError::Plan {
                tensor: tensor.to_owned(),
                reason: format!("it must have the scale of {leader:?}, which the same integers pass through"),
            });
        }
        if let Some(names) = self.parameters.get(&leader) {
            return Ok(names.clone());
        }
        let zero_point = match self.options.activation.element() {
            ElementType::I8 => Tensor::from_i8(vec![], vec![zero_point as i8])?,
            _ => Tensor::from_u8(vec![], vec![zero_point as u8])?,
        };
        let names = [
            self.constant(&leader, "scale", Tensor::from_f32(vec![], vec![scale])?),
            self.constant(&leader, "zero_point", zero_point),
        ];
        self.parameters.insert(leader, names.clone());
        Ok(names)
    }

    /// QuantizeLinear and DequantizeLinear for `tensor`, whose float value is called `float`.
    fn border(&mut self, tensor: &str, float: &str) -> Result<Vec<Node>, QuantizeError> {
        let [scale, zero_point] = self.activation_constants(tensor)?;
        let dequantized = self.dequantized[tensor].clone();
        let dequantize = |from: &str| node("DequantizeLinear", &[from, &scale, &zero_point], &dequantized);
        if let Some(constant) = self.float.initializers.get(tensor) {
            let (scale, zero_point) = self.activation(tensor)?;
            let codes = constant.as_f32()?.iter().map(|&value| requantized(value, scale, zero_point, self.bounds()));
            let shape = constant.shape().to_vec();
            let integers = match self.options.activation.element() {
                ElementType::I8 => Tensor::from_i8(shape, codes.map(|code| code as i8).collect())?,
                _ => Tensor::from_u8(shape, codes.map(|code| code as u8).collect())?,
            };
            let quantized = self.constant(tensor, "quantized", integers);
            return Ok(vec![dequantize(&quantized)]);
        }
        let quantized = self.fresh(tensor, "quantized");
        Ok(vec![node("QuantizeLinear", &[float, &scale, &zero_point], &quantized), dequantize(&quantized)])
    }

    fn is_made_by_integers(&self, tensor: &str) -> bool {
        self.selection.integer_nodes().any(|(index, _)| self.selection.made(self.float, index) == Some(tensor))
    }

    /// A float node reads dequantized what integer nodes made, and the float itself of all else.
    fn float_node(&mut self, node: &Node) -> Result<Vec<Node>, QuantizeError> {
        let mut written = node.clone();
        for input in &mut written.inputs {
            if self.selection.groups.contains_key(input) && self.is_made_by_integers(input) {
                *input = self.dequantized[input.as_str()].clone();
            }
        }
        let mut nodes = vec![written];
        for output in &node.outputs {
            if self.selection.groups.contains_key(output) {
                nodes.extend(self.border(output, output)?);
            }
        }
        Ok(nodes)
    }

    fn integer_node(&mut self, index: usize, form: Form, report: &mut NodeReport) -> Result<Vec<Node>, QuantizeError> {
        let node = &self.float.nodes[index];
        let made = self.selection.made(self.float, index).unwrap_or_default().to_owned();
        let mut written = node.clone();
        let data: Vec<&str> = data_inputs(node, form).collect();
        for (position, name) in data.iter().enumerate() {
            written.inputs[position] = self.dequantized[*name].clone();
        }
        let mut nodes = Vec::new();
        if form == Form::Linear {
            nodes.extend(self.linear_inputs(node, &mut written, report)?);
        }
        // The name of an output of the graph belongs to its dequantized form.
        let float = if self.float.is_output(&made) { self.fresh(&made, "float") } else { made.clone() };
        match self.selection.bounds.get(&index).map(|&bound| &self.float.nodes[bound]) {
            Some(bound) if !self.is_saturation(bound, &made)? => {
                let mut bound = bound.clone();
                bound.outputs[0] = float.clone();
                nodes.extend([written, bound]);
            }
            _ => {
                written.outputs[0] = float.clone();
                nodes.push(written);
            }
        }
        nodes.extend(self.border(&made, &float)?);
        Ok(nodes)
    }

    fn is_saturation(&self, bound: &Node, made: &str) -> Result<bool, QuantizeError> {
        let (scale, zero_point) = self.activation(made)?;
        let found = Bound::of(bound, self.float);
        Ok(found.is_some_and(|bound| bound.is_saturation(scale, zero_point, self.bounds())))
    }

    /// Dequantized weights and bias in place of the float ones.
    fn linear_inputs(
        &mut self,
        node: &Node,
        written: &mut Node,
        report: &mut NodeReport,
    ) -> Result<Vec<Node>, QuantizeError> {
        let refuse = |reason: String| QuantizeError::Plan { tensor: node.label(), reason };
        let linear = Linear::of(node, self.float).map_err(refuse)?;
        let (input_scale, _) = self.activation(&node.inputs[0])?;
        let parameters = self.weight_plan(&linear)?;
        let mut nodes = Vec::new();
        let weights = match self.weights.get(&linear.name) {
            Some(weights) => weights.clone(),
            None => {
                let (weights, made) = self.dequantized_weights(&linear, &parameters)?;
                nodes.push(made);
                self.weights.insert(linear.name.clone(), weights.clone());
                weights
            }
        };
        report.weight_noise_db = Some(weights.noise_db);
        report.weights_shrunk = weights.shrunk;
        report.channels_guarded = weights.guarded;
        written.inputs.truncate(1);
        written.inputs.push(weights.name);
        written.attributes.remove("alpha");
        written.attributes.remove("beta");
        if let Some(bias) = &linear.bias {
            let scales = bias_scales(input_scale, &parameters);
            if !scales.iter().all(|scale| scale.is_normal()) {
                return Err(refuse(format!(
                    "the product of the scales of {:?} and {:?} is no normal number",
                    node.inputs[0], linear.name
                )));
            }
            let wish = node.input(2).unwrap_or("bias").to_owned();
            let integers = Tensor::from_i32(vec![bias.len()], integer_bias(bias, &scales))?;
            let (name, made) = self.dequantized_constant(&wish, integers, scales, None, 0)?;
            nodes.push(made);
            written.inputs.push(name);
        }
        Ok(nodes)
    }

    fn weight_plan(&self, linear: &Linear) -> Result<QuantizationParameters, QuantizeError> {
        let refuse = |reason: &str| QuantizeError::Plan { tensor: linear.name.clone(), reason: reason.to_owned() };
        let found =
            self.plan.tensors.get(&linear.name).ok_or_else(|| refuse("the plan does not name these weights"))?;
        let count = if found.axis.is_some() { linear.layout.outputs } else { 1 };
        let axis_fits = found.axis.is_none_or(|axis| axis == linear.layout.axis);
        if found.element != ElementType::I8 || found.zero_points.iter().any(|&zero_point| zero_point != 0) || !axis_fits
        {
            return Err(refuse("weights are symmetric i8 along their output axis"));
        }
        if found.scales.len() != count || found.scales.iter().any(|scale| !scale.is_normal() || *scale <= 0.0) {
            return Err(refuse("there must be one positive scale for each output channel, or one for all"));
        }
        Ok(found.clone())
    }

    fn dequantized_weights(
        &mut self,
        linear: &Linear,
        parameters: &QuantizationParameters,
    ) -> Result<(DequantizedWeights, Node), QuantizeError> {
        let wish = WeightWish { per_channel: parameters.axis.is_some(), ..WeightWish::of(self.options) };
        let given = self.codes.get(&linear.name).filter(|codes| codes.scales == parameters.scales);
        let given = given.map(|codes| codes.codes.as_slice());
        let found = integer_weights(&linear.weights, &linear.layout, parameters, wish, given)?;
        let zeros = if parameters.axis.is_some() { vec![parameters.scales.len()] } else { vec![] };
        let zeros = Tensor::zeros(ElementType::I8, zeros)?;
        let axis = parameters.axis.unwrap_or(0);
        let (name, made) = self.dequantized_constant(
            &linear.name,
            found.tensor.clone(),
            parameters.scales.clone(),
            Some(zeros),
            axis,
        )?;
        let IntegerWeights { noise_db, shrunk, guarded, .. } = found;
        Ok((DequantizedWeights { name, noise_db, shrunk, guarded }, made))
    }

    /// A constant of integers with its DequantizeLinear; returns the name of what comes out.
    fn dequantized_constant(
        &mut self,
        wish: &str,
        integers: Tensor,
        scales: Vec<f32>,
        zero_points: Option<Tensor>,
        axis: usize,
    ) -> Result<(String, Node), QuantizeError> {
        let per_axis = scales.len() > 1 || zero_points.as_ref().is_some_and(|zeros| zeros.shape().len() == 1);
        let shape = if per_axis { vec![scales.len()] } else { vec![] };
        let integers = self.constant(wish, "quantized", integers);
        let scale = self.constant(wish, "scale", Tensor::from_f32(shape, scales)?);
        let output = self.fresh(wish, "dequantized");
        let mut inputs = vec![integers, scale];
        if let Some(zeros) = zero_points {
            inputs.push(self.constant(wish, "zero_point", zeros));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let mut made = node("DequantizeLinear", &inputs, &output);
        if per_axis {
            made = made.with("axis", Attribute::Int(axis as i64));
        }
        Ok((output, made))
    }
}

/// A node without a name: messages call it by its output.
fn node(operator: &str, inputs: &[&str], output: &str) -> Node {
    Node { name: String::new(), ..Node::new(operator, inputs, &[output]) }
}
