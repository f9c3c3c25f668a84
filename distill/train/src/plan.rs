//! A checked ONNX graph: which initializers are trained, which are constants, and what runs in which order.

use std::collections::{BTreeMap, BTreeSet};

use runtime_graph::{Graph, Model, Node};
use runtime_tensor::{Dimension, ElementType, Tensor, TensorSpec};

use crate::error::{RefusedNode, TrainError};
use crate::operator::{self, Operator};

/// A graph that the trainer can run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The one input that data is fed to.
    pub(crate) input: TensorSpec,
    /// The value that losses compare: the graph's output, or what goes into its last Softmax.
    pub(crate) logits: String,
    /// The graph's output.
    pub(crate) output: String,
    pub(crate) steps: Vec<Step>,
    /// Trained initializers, in the order of their names.
    pub(crate) parameters: Vec<Parameter>,
    /// Constants that are read as floating-point values.
    pub(crate) constants: BTreeMap<String, Tensor>,
    /// True when the file declares a batch of one, so that shapes inside it may say 1 where a batch is meant.
    pub(crate) batch_fixed_to_one: bool,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Step {
    /// For messages.
    pub(crate) node: String,
    /// For messages.
    pub(crate) name: String,
    pub(crate) operator: Operator,
    /// Values read; `None` where an optional input is absent.
    pub(crate) inputs: Vec<Option<String>>,
    pub(crate) output: String,
    /// Values that no later step reads.
    pub(crate) last_use_of: Vec<String>,
}

/// One trained initializer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

impl Plan {
    /// Checks the whole graph.
    ///
    /// # Errors
    /// [`TrainError::Unsupported`] lists every node without a gradient; [`TrainError::BadGraph`] says what else is in
    /// the way.
    pub(crate) fn new(model: &Model) -> Result<Self, TrainError> {
        let graph = model.graph();
        let input = only_input(model)?;
        let output = match graph.outputs.as_slice() {
            [output] => output.name.clone(),
            outputs => {
                return Err(bad(format!("it has {} outputs, exactly 1 can be trained", outputs.len())));
            }
        };
        let known = constants(graph);
        let steps = read_steps(graph, model.opset(), &known)?;
        let mut steps = fuse_relu(steps, &output);
        let logits = before_softmax(&steps, &output);
        mark_last_uses(&mut steps, [&output, &logits]);
        let (parameters, constants) = split_initializers(&steps, graph, &known)?;
        if parameters.is_empty() {
            return Err(bad("it has no trainable initializer".to_owned()));
        }
        Ok(Self {
            batch_fixed_to_one: input.shape.first() == Some(&Dimension::Fixed(1)),
            input,
            logits,
            output,
            steps,
            parameters,
            constants,
        })
    }
}

fn bad(reason: String) -> TrainError {
    TrainError::BadGraph { reason }
}

fn only_input(model: &Model) -> Result<TensorSpec, TrainError> {
    let inputs = model.inputs();
    let [input] = inputs.as_slice() else {
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        return Err(bad(format!("it has {} inputs ({}), exactly 1 can be trained", names.len(), names.join(", "))));
    };
    if input.element != ElementType::F32 {
        return Err(bad(format!("its input `{}` has element type {}, expected f32", input.name, input.element)));
    }
    if input.shape.is_empty() {
        return Err(bad(format!("its input `{}` is a scalar, expected a batch axis first", input.name)));
    }
    Ok(input.clone())
}

/// Initializers and the values of Constant nodes.
fn constants(graph: &Graph) -> BTreeMap<String, Tensor> {
    let mut known = graph.initializers.clone();
    for node in graph.nodes.iter().filter(|node| node.is("Constant")) {
        if let (Some(output), Some(value)) = (node.output(0), constant_value(node)) {
            known.insert(output.to_owned(), value);
        }
    }
    known
}

fn constant_value(node: &Node) -> Option<Tensor> {
    use runtime_graph::Attribute::{Float, Floats, Int, Ints};
    if let Some(value) = node.tensor("value") {
        return Some(value.clone());
    }
    let attribute = |name: &str| node.attributes.get(name);
    match (attribute("value_float"), attribute("value_floats"), attribute("value_int"), attribute("value_ints")) {
        (Some(Float(value)), ..) => Tensor::from_f32(vec![], vec![*value]).ok(),
        (_, Some(Floats(values)), ..) => Tensor::from_f32(vec![values.len()], values.clone()).ok(),
        (_, _, Some(Int(value)), _) => Tensor::from_i64(vec![], vec![*value]).ok(),
        (_, _, _, Some(Ints(values))) => Tensor::from_i64(vec![values.len()], values.clone()).ok(),
        _ => None,
    }
}

fn read_steps(graph: &Graph, opset: i64, known: &BTreeMap<String, Tensor>) -> Result<Vec<Step>, TrainError> {
    let (mut steps, mut refused) = (Vec::new(), Vec::new());
    for node in &graph.nodes {
        let refuse = |reason: String| RefusedNode { node: node.label(), operator: node.operator_path(), reason };
        if node.is("Constant") {
            if node.output(0).is_some_and(|output| !known.contains_key(output)) {
                refused.push(refuse("its value is neither a tensor nor numbers".to_owned()));
            }
            continue;
        }
        let Some(output) = node.output(0) else { continue };
        match operator::read(node, opset, known) {
            Ok(operator) => steps.push(Step {
                node: node.label(),
                name: node.operator.clone(),
                inputs: computed_inputs(node, &operator),
                operator,
                output: output.to_owned(),
                last_use_of: Vec::new(),
            }),
            Err(reason) => refused.push(refuse(reason)),
        }
    }
    if refused.is_empty() { Ok(steps) } else { Err(TrainError::Unsupported { nodes: refused }) }
}

/// The inputs that are tensors at run time; those read into the operator are left out.
fn computed_inputs(node: &Node, operator: &Operator) -> Vec<Option<String>> {
    let count = match operator {
        Operator::Clip { .. } | Operator::Dropout { .. } | Operator::Reshape { .. } | Operator::Squeeze { .. } => 1,
        _ => node.inputs.len(),
    };
    (0..count).map(|position| node.input(position).map(str::to_owned)).collect()
}

/// Merges a Relu into the convolution before it where nothing else reads the convolution's result.
fn fuse_relu(steps: Vec<Step>, output: &str) -> Vec<Step> {
    let mut reads: BTreeMap<String, usize> = BTreeMap::new();
    for name in steps.iter().flat_map(|step| step.inputs.iter().flatten()) {
        *reads.entry(name.clone()).or_default() += 1;
    }
    let mut fused: Vec<Step> = Vec::with_capacity(steps.len());
    // Position in `fused` of the convolution that makes a value read once.
    let mut open: BTreeMap<String, usize> = BTreeMap::new();
    for step in steps {
        if step.operator == Operator::Relu
            && let Some(Some(input)) = step.inputs.first()
            && let Some(at) = open.remove(input)
            && let Operator::Convolution { relu, .. } = &mut fused[at].operator
        {
            *relu = true;
            fused[at].output = step.output;
            continue;
        }
        let single = reads.get(&step.output) == Some(&1) && step.output != output;
        if single && matches!(step.operator, Operator::Convolution { .. }) {
            open.insert(step.output.clone(), fused.len());
        }
        fused.push(step);
    }
    fused
}

/// Losses need logits: when the graph ends in a Softmax, the value before it.
fn before_softmax(steps: &[Step], output: &str) -> String {
    let mut name = output;
    while let Some(step) = steps.iter().find(|step| step.output == name) {
        match (&step.operator, step.inputs.first()) {
            (Operator::Softmax { .. }, Some(Some(input))) => return input.clone(),
            (Operator::Identity, Some(Some(input))) => name = input,
            _ => break,
        }
    }
    output.to_owned()
}

fn mark_last_uses(steps: &mut [Step], kept: [&String; 2]) {
    let mut seen: BTreeSet<String> = kept.into_iter().cloned().collect();
    for step in steps.iter_mut().rev() {
        for name in step.inputs.iter().flatten() {
            if seen.insert(name.clone()) {
                step.last_use_of.push(name.clone());
            }
        }
    }
}

/// Which initializers are trained.
///
/// Trained: every f32 initializer with more than one element that a step reads, except the statistics of
/// BatchNormalization. A single element is a scale that somebody chose, and Constant nodes say what they are.
fn split_initializers(
    steps: &[Step],
    graph: &Graph,
    known: &BTreeMap<String, Tensor>,
) -> Result<(Vec<Parameter>, BTreeMap<String, Tensor>), TrainError> {
    let (mut read, mut statistics) = (BTreeSet::new(), BTreeSet::new());
    for step in steps {
        for (position, name) in step.inputs.iter().enumerate() {
            let Some(name) = name else { continue };
            read.insert(name);
            if matches!(step.operator, Operator::BatchNormalization { .. }) && position >= 3 {
                statistics.insert(name);
            }
        }
    }
    let (mut parameters, mut constants) = (Vec::new(), BTreeMap::new());
    for name in read {
        let Some(tensor) = known.get(name) else { continue };
        if tensor.element() != ElementType::F32 {
            return Err(bad(format!("initializer `{name}` has element type {}, expected f32", tensor.element())));
        }
        let trained = tensor.len() > 1 && graph.initializers.contains_key(name) && !statistics.contains(name);
        if trained {
            parameters.push(Parameter {
                name: name.clone(),
                shape: tensor.shape().to_vec(),
                values: tensor.as_f32()?.to_vec(),
            });
        } else {
            constants.insert(name.clone(), tensor.clone());
        }
    }
    Ok((parameters, constants))
}
