//! The walk over the graph.

use std::collections::{BTreeMap, BTreeSet};

use runtime_engine::{LeftOut, NumericsClass};
use runtime_graph::{Graph, Node, producers};
use runtime_kernels::Table;
use runtime_tensor::{ElementType, Tensor};

use super::batch::Batch;
use super::elements::File;
use super::meaning::Meaning;
use super::tables::Derived;
use crate::program::{BufferId, Builder, Element, Program, Step, ValueId};

/// Why a node has no meaning here.
pub(crate) type Reason = String;

/// The reason of an operator that is not known here.
pub(crate) const NO_KERNEL: &str = "no kernel for this operator";

/// Operators of which only the first input is data; what feeds the others is worked out by shape inference.
const FIRST_INPUT_ONLY: [&str; 7] = ["Reshape", "Squeeze", "Unsqueeze", "Flatten", "Clip", "Resize", "Upsample"];

/// The state of the walk.
pub(crate) struct Reader<'a> {
    pub(crate) graph: &'a Graph,
    /// The constants that the graph has left in the file.
    pub(crate) file: &'a File<'a>,
    pub(crate) batch: &'a Batch,
    pub(crate) opset: i64,
    pub(crate) table: &'static Table,
    pub(crate) builder: Builder,
    meanings: BTreeMap<&'a str, Meaning>,
    /// How many nodes and outputs of the graph read each value.
    pub(crate) readers: BTreeMap<&'a str, usize>,
    /// Float results into whose steps more may be put, by the name that they have by now.
    pub(crate) fusible: BTreeMap<String, ValueId>,
    /// Float inputs of the model that are in the arena.
    pub(crate) imports: BTreeMap<usize, ValueId>,
    /// Buffers of bytes that are functions of the bytes of other buffers.
    pub(crate) derived: BTreeMap<BufferId, Derived>,
    /// Whether a step does float arithmetic that is not the same on every CPU.
    pub(crate) approximate: bool,
    left_out: Vec<Refused>,
}

/// What is left out, and the position of its node if it is one.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) node: Option<usize>,
    pub(crate) why: LeftOut,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        (graph, file): (&'a Graph, &'a File<'a>),
        batch: &'a Batch,
        opset: i64,
        table: &'static Table,
    ) -> Self {
        let builder = Builder::default();
        let mut readers = BTreeMap::new();
        let outputs = graph.outputs.iter().map(|output| output.name.as_str());
        for name in graph.nodes.iter().flat_map(Node::reads).chain(outputs) {
            *readers.entry(name).or_insert(0) += 1;
        }
        Self {
            graph,
            file,
            batch,
            opset,
            table,
            builder,
            meanings: BTreeMap::new(),
            readers,
            fusible: BTreeMap::new(),
            imports: BTreeMap::new(),
            derived: BTreeMap::new(),
            approximate: false,
            left_out: Vec::new(),
        }
    }

    /// Gives every value that an output depends on a meaning, as far as that goes.
    pub(crate) fn walk(&mut self) {
        for (position, input) in self.graph.inputs.iter().enumerate() {
            match self.input(position, input.element) {
                Ok(meaning) => {
                    self.meanings.insert(&input.name, meaning);
                }
                Err(reason) => {
                    let why = LeftOut { node: input.name.clone(), operator: "input".into(), reason };
                    self.left_out.push(Refused { node: None, why });
                }
            }
        }
        let needed = needed_nodes(self.graph);
        for (position, node) in self.graph.nodes.iter().enumerate() {
            if !needed.contains(&position) {
                continue;
            }
            match self.nodes_outputs(node) {
                Ok(meanings) => {
                    let named = node.outputs.iter().map(String::as_str).zip(meanings);
                    self.meanings.extend(named.filter(|(name, _)| !name.is_empty()));
                }
                Err(reason) => {
                    let why = LeftOut { node: node.label(), operator: node.operator_path(), reason };
                    self.left_out.push(Refused { node: Some(position), why });
                    self.enter_behind(node);
                }
            }
        }
    }

    /// Goes on behind a node that is left out, as if what it makes were inputs.
    fn enter_behind(&mut self, node: &'a Node) {
        for output in node.outputs.iter().filter(|output| !output.is_empty()) {
            let Some(&position) = self.batch.borders.get(output) else { continue };
            let Some(element) = self.batch.specs.get(output).map(|spec| spec.element) else { continue };
            if let Ok(meaning) = self.input(position, element) {
                self.meanings.insert(output, meaning);
            }
        }
    }

    fn input(&mut self, position: usize, element: ElementType) -> Result<Meaning, Reason> {
        let signed = match element {
            ElementType::F32 => return Ok(Meaning::FloatInput(position)),
            ElementType::U8 => false,
            ElementType::I8 => true,
            other => return Err(format!("inputs of type {other} are not quantized; f32, u8 and i8 are taken")),
        };
        let shape = &self.batch.input_shapes[position];
        let order = (0..shape.len()).collect();
        let value = self.builder.add_value(Element::Stored { signed }, shape, order);
        let output = self.builder.buffer(value);
        self.builder.add_step(Step::ImportInput { input: position, signed, output });
        Ok(Meaning::Stored(value))
    }

    /// The program and what its answers promise, or everything that was left out.
    pub(crate) fn finish(mut self) -> Result<(Program, NumericsClass), Vec<Refused>> {
        let mut outputs = Vec::new();
        let makers = producers(self.graph);
        for output in &self.graph.outputs {
            match self.output(&output.name, output.element) {
                Ok(value) => outputs.push(value),
                // A missing meaning was explained where it went missing.
                Err(reason) => {
                    let why = LeftOut { node: output.name.clone(), operator: "output".into(), reason };
                    self.left_out.push(Refused { node: makers.get(output.name.as_str()).copied(), why });
                }
            }
        }
        if !self.left_out.is_empty() {
            return Err(self.left_out);
        }
        let numerics = if self.approximate { NumericsClass::Float } else { NumericsClass::Exact };
        Ok((self.builder.finish(self.table, &outputs), numerics))
    }

    fn output(&mut self, name: &str, element: ElementType) -> Result<ValueId, Reason> {
        self.batch.shape(name)?;
        let value = match self.meaning(name)? {
            Meaning::Stored(value) => value,
            other => self.floats_of(&other)?,
        };
        let found = match self.builder.value(value).element {
            Element::Float => ElementType::F32,
            Element::Stored { signed: true } => ElementType::I8,
            Element::Stored { signed: false } => ElementType::U8,
        };
        if found != element {
            return Err(format!("it is {found} here and {element} in the model"));
        }
        let order: Vec<usize> = (0..self.builder.value(value).shape.len()).collect();
        self.builder.in_order(value, &order)
    }

    /// What `name` stands for.
    pub(crate) fn meaning(&self, name: &str) -> Result<Meaning, Reason> {
        if let Some(meaning) = self.meanings.get(name) {
            return Ok(meaning.clone());
        }
        if self.graph.initializers.contains_key(name) {
            return Err(format!("it reads the constant {name} as data, which is not quantized"));
        }
        Err(format!("it reads {name}, which is left out"))
    }

    /// The meaning of input `position` of `node`.
    pub(crate) fn input_meaning(&self, node: &Node, position: usize) -> Result<Meaning, Reason> {
        self.meaning(node.input(position).ok_or_else(|| format!("it has no input {position}"))?)
    }

    /// The constant at input `position` of `node`; `None` when the input is absent.
    pub(crate) fn constant(&self, node: &Node, position: usize) -> Result<Option<&'a Tensor>, Reason> {
        let Some(name) = node.input(position) else { return Ok(None) };
        let constant = self.graph.initializers.get(name);
        constant.map(Some).ok_or_else(|| format!("its input {name} is not a constant"))
    }

    /// The shape of output 0 of `node` for one sample.
    pub(crate) fn output_shape(&self, node: &Node) -> Result<Vec<usize>, Reason> {
        self.batch.shape(node.output(0).ok_or("it has no output")?)
    }

    fn nodes_outputs(&mut self, node: &Node) -> Result<Vec<Meaning>, Reason> {
        if node.is("Split") {
            return self.float_split(node);
        }
        if node.is_standard()
            && let Some(meanings) = self.dynamic_node(node)
        {
            return meanings;
        }
        Ok(vec![self.node(node)?])
    }

    /// In float arithmetic where it reads floats, else on stored bytes, and in float arithmetic after all where those
    /// have no kernel.
    fn node(&mut self, node: &Node) -> Result<Meaning, Reason> {
        if node.outputs.iter().skip(1).any(|output| self.readers.contains_key(output.as_str())) {
            return Err("only its first output is supported".into());
        }
        if !node.is_standard() && !is_quantizer(node) {
            return Err(NO_KERNEL.into());
        }
        if self.reads_floats(node) {
            return self.float_node(node);
        }
        self.stored_node(node).or_else(|reason| match node.operator.as_str() {
            "QuantizeLinear" | "DequantizeLinear" => Err(reason),
            // Where bytes have no kernel at all, what floats lack says more.
            _ => self.float_node(node).map_err(|of_floats| if reason == NO_KERNEL { of_floats } else { reason }),
        })
    }

    /// The meaning of a node on stored bytes.
    fn stored_node(&mut self, node: &Node) -> Result<Meaning, Reason> {
        match node.operator.as_str() {
            "QuantizeLinear" => self.quantize_linear(node),
            "DequantizeLinear" => self.dequantize_linear(node),
            "Conv" => self.conv(node),
            "Gemm" => self.gemm(node),
            "MatMul" => self.mat_mul(node),
            "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Sum" => self.pairwise(node),
            "Relu" => self.clip(node, 0.0, f32::INFINITY),
            "Clip" => {
                let (low, high) = self.clip_bounds(node)?;
                self.clip(node, low, high)
            }
            "Softmax" => self.softmax(node),
            "LayerNormalization" => self.layer_norm(node),
            "ReduceMean" => self.mean(node),
            "Resize" | "Upsample" => self.resize(node),
            "MaxPool" | "GlobalMaxPool" => self.max_pool(node),
            "AveragePool" => self.average_pool(node),
            "GlobalAveragePool" => self.global_average_pool(node),
            "Concat" => self.concat(node),
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Identity" | "Dropout" | "Transpose" => {
                self.movement(node)
            }
            "Sigmoid" | "Tanh" | "Erf" | "Exp" | "Log" | "Sqrt" | "Reciprocal" | "Abs" | "Neg" | "Softplus"
            | "Gelu" | "HardSwish" | "LeakyRelu" | "Elu" | "HardSigmoid" | "Pow" => self.function(node),
            _ => Err(NO_KERNEL.into()),
        }
    }
}

/// ONNX Runtime's own QuantizeLinear and DequantizeLinear, which older quantizers write.
fn is_quantizer(node: &Node) -> bool {
    node.domain == "com.microsoft" && matches!(node.operator.as_str(), "QuantizeLinear" | "DequantizeLinear")
}

/// What a covered node reads as data.
pub(crate) fn data_reads(node: &Node) -> impl Iterator<Item = &str> {
    let first_only = node.is_standard() && FIRST_INPUT_ONLY.contains(&node.operator.as_str());
    node.reads().take(if first_only { 1 } else { usize::MAX })
}

/// Positions of the nodes whose data an output of the graph depends on. The others compute shapes.
pub(crate) fn needed_nodes(graph: &Graph) -> BTreeSet<usize> {
    let makers = producers(graph);
    let mut names: Vec<&str> = graph.outputs.iter().map(|output| output.name.as_str()).collect();
    let mut needed = BTreeSet::new();
    while let Some(name) = names.pop() {
        let Some(&maker) = makers.get(name) else { continue };
        if !needed.insert(maker) {
            continue;
        }
        names.extend(data_reads(&graph.nodes[maker]));
    }
    needed
}
