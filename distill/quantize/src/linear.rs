//! The nodes that carry weights: Conv, Gemm and MatMul with constant weights, seen as one thing.

use runtime_graph::{Attribute, Graph, Node};
use runtime_tensor::{Tensor, TensorError};

use crate::weights::{DEPTH_MAX, WeightLayout};

/// y = weights * x + bias, for each output channel.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    /// Name of the weights in the graph.
    pub(crate) name: String,
    pub(crate) weights: Tensor,
    pub(crate) layout: WeightLayout,
    pub(crate) bias: Option<Vec<f32>>,
    /// Groups of a convolution; 1 for matrices.
    pub(crate) groups: usize,
}

/// Whether the operator can be a [`Linear`].
pub(crate) fn is_linear(node: &Node) -> bool {
    ["Conv", "Gemm", "MatMul"].iter().any(|operator| node.is(operator))
}

impl Linear {
    /// Reads a node; the error says what it has that the integer form does not.
    pub(crate) fn of(node: &Node, graph: &Graph) -> Result<Self, String> {
        let constant = |position: usize| node.input(position).and_then(|name| graph.initializers.get(name));
        let name = node.input(1).unwrap_or_default().to_owned();
        let weights = constant(1).ok_or("its weights are no constant")?;
        if node.input(0).is_none_or(|input| graph.initializers.contains_key(input)) {
            return Err("its input is a constant".to_owned());
        }
        if weights.as_f32().is_err() {
            return Err(format!("its weights are {}, not f32", weights.element()));
        }
        let layout = match node.operator.as_str() {
            "Conv" => WeightLayout::convolution(weights.shape()),
            "Gemm" if node.int("transA", 0) != 0 => return Err("its input is transposed".to_owned()),
            "Gemm" => WeightLayout::matrix(weights.shape(), if node.int("transB", 0) != 0 { 0 } else { 1 }),
            _ => WeightLayout::matrix(weights.shape(), 1),
        };
        let layout = layout.ok_or_else(|| format!("its weights have the shape {:?}", weights.shape()))?;
        if layout.depth() > DEPTH_MAX || layout.depth() == 0 || layout.outputs == 0 {
            return Err(format!("it sums over {} inputs, 1 to {DEPTH_MAX} fit into 32 bits", layout.depth()));
        }
        let bias = match (node.input(2), constant(2)) {
            (None, _) => None,
            (Some(_), None) => return Err("its bias is no constant".to_owned()),
            (Some(_), Some(bias)) => Some(spread_bias(bias, layout.outputs)?),
        };
        let groups = if node.is("Conv") { usize::try_from(node.int("group", 1)).unwrap_or(1).max(1) } else { 1 };
        if !layout.outputs.is_multiple_of(groups) {
            return Err(format!("it has {} outputs in {groups} groups", layout.outputs));
        }
        let mut linear = Self { name, weights: weights.clone(), layout, bias, groups };
        if node.is("Gemm") {
            linear.scale(node.float("alpha", 1.0), node.float("beta", 1.0)).map_err(|error| error.to_string())?;
        }
        Ok(linear)
    }

    /// Takes Gemm's two factors into weights and bias.
    fn scale(&mut self, alpha: f32, beta: f32) -> Result<(), TensorError> {
        if alpha != 1.0 {
            self.weights.as_f32_mut()?.iter_mut().for_each(|weight| *weight *= alpha);
        }
        if let Some(bias) = self.bias.as_mut().filter(|_| beta != 1.0) {
            bias.iter_mut().for_each(|bias| *bias *= beta);
        }
        Ok(())
    }

    /// Follows this by y * factor + offset for each output channel.
    pub(crate) fn then(&mut self, factors: &[f64], offsets: &[f64]) -> Result<(), TensorError> {
        let (outputs, depth) = (self.layout.outputs, self.layout.depth());
        let by_rows = self.layout.axis == 0;
        for (index, weight) in self.weights.as_f32_mut()?.iter_mut().enumerate() {
            let output = if by_rows { index / depth } else { index % outputs };
            *weight = (f64::from(*weight) * factors[output]) as f32;
        }
        let old = self.bias.take().unwrap_or_else(|| vec![0.0; outputs]);
        let new = old
            .iter()
            .zip(factors.iter().zip(offsets))
            .map(|(&bias, (factor, offset))| f64::from(bias) * factor + offset);
        self.bias = Some(new.map(|bias| bias as f32).collect());
        Ok(())
    }

    /// Input channels of the node: those of one output, times the groups.
    pub(crate) fn inputs(&self) -> usize {
        self.layout.channels * self.groups
    }

    /// The input channel that the weight at `index` of `output` is for.
    fn input_of(&self, output: usize, index: usize) -> usize {
        let group = output / (self.layout.outputs / self.groups).max(1);
        group * self.layout.channels + index / self.layout.places
    }

    /// Calls `see` with every weight, its output channel and its input channel.
    pub(crate) fn each_weight(&self, mut see: impl FnMut(f32, usize, usize)) {
        let Ok(weights) = self.weights.as_f32() else { return };
        for output in 0..self.layout.outputs {
            for index in 0..self.layout.depth() {
                see(weights[self.layout.offset(output, index)], output, self.input_of(output, index));
            }
        }
    }

    /// Takes in a division of each input channel by its factor.
    pub(crate) fn behind(&mut self, factors: &[f64]) -> Result<(), TensorError> {
        let layout = self.layout;
        for output in 0..layout.outputs {
            for index in 0..layout.depth() {
                let factor = factors[self.input_of(output, index)];
                let weight = &mut self.weights.as_f32_mut()?[layout.offset(output, index)];
                *weight = (f64::from(*weight) / factor) as f32;
            }
        }
        Ok(())
    }

    /// Writes changed weights and bias back to the node at `index`; weights that other nodes read, too, are
    /// copied.
    pub(crate) fn write(self, graph: &mut Graph, index: usize) -> Result<(), TensorError> {
        let output = graph.nodes[index].output(0).unwrap_or("linear").to_owned();
        let old = [1, 2].map(|position| graph.nodes[index].input(position).map(str::to_owned));
        let mut place = |wish: Option<&String>, default: &str, tensor: Tensor| match wish {
            Some(name) if graph.only_reader(name).is_some() => {
                graph.initializers.insert(name.clone(), tensor);
                name.clone()
            }
            wish => graph.add_initializer(wish.map_or(default, String::as_str), tensor),
        };
        let mut inputs = vec![place(old[0].as_ref(), "weights", self.weights)];
        if let Some(bias) = self.bias {
            let bias = Tensor::from_f32(vec![bias.len()], bias)?;
            inputs.push(place(old[1].as_ref(), &format!("{output}_bias"), bias));
        }
        let node = &mut graph.nodes[index];
        node.inputs.truncate(1);
        node.inputs.append(&mut inputs);
        if node.is("Gemm") {
            node.attributes.remove("alpha");
            node.attributes.remove("beta");
        }
        Ok(())
    }

    /// Writes a changed bias alone: the weights stay as and where they are.
    pub(crate) fn write_bias(self, graph: &mut Graph, index: usize) -> Result<(), TensorError> {
        let Some(bias) = self.bias else { return Ok(()) };
        let node = &graph.nodes[index];
        // What Gemm multiplies its bias with was taken in when the bias was read.
        let beta = if node.is("Gemm") { node.float("beta", 1.0) } else { 1.0 };
        let wish = node.input(2).map_or_else(|| format!("{}_bias", node.output(0).unwrap_or("linear")), str::to_owned);
        let bias = Tensor::from_f32(vec![bias.len()], bias)?;
        let name = match node.input(2).and_then(|name| graph.only_reader(name)) {
            Some(_) => {
                graph.initializers.insert(wish.clone(), bias);
                wish
            }
            None => graph.add_initializer(&wish, bias),
        };
        let node = &mut graph.nodes[index];
        node.inputs.resize(2, String::new());
        node.inputs.push(name);
        if beta != 1.0 {
            node.attributes.remove("beta");
        }
        Ok(())
    }

    /// Turns a matrix product of two axes into the form that can have a bias.
    pub(crate) fn make_gemm(node: &mut Node) {
        node.operator = "Gemm".to_owned();
        node.attributes.insert("transB".to_owned(), Attribute::Int(0));
    }
}

/// A bias with one value an output: Gemm lets it be smaller.
fn spread_bias(bias: &Tensor, outputs: usize) -> Result<Vec<f32>, String> {
    let values = bias.as_f32().map_err(|_| format!("its bias is {}, not f32", bias.element()))?;
    let rows: usize = bias.shape().iter().rev().skip(1).product();
    match (values, rows) {
        ([only], _) => Ok(vec![*only; outputs]),
        (values, 1) if values.len() == outputs => Ok(values.to_vec()),
        _ => Err(format!("its bias has the shape {:?} for {outputs} outputs", bias.shape())),
    }
}
