//! Shapes of one sample, and the proof that samples do not mix.

use std::collections::BTreeMap;

use runtime_graph::{Graph, infer_shapes};
use runtime_tensor::{Dimension, TensorSpec};

/// Elements of the largest value that may be the input of a region: behind a node that is left out nobody has checked
/// yet that a size makes sense.
const BORDER_ELEMENTS_MAX: usize = 1 << 28;

/// The shapes for which a program is compiled.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The symbol of the first axis of every input; `None` when all sizes are fixed.
    pub(crate) symbol: Option<String>,
    /// Every value's specification for one sample.
    pub(crate) specs: BTreeMap<String, TensorSpec>,
    /// The same for two samples; empty when all sizes are fixed.
    two: BTreeMap<String, TensorSpec>,
    /// Shapes of the inputs for one sample, and behind them those of what `borders` says.
    pub(crate) input_shapes: Vec<Vec<usize>>,
    /// Values that a program may take as inputs where the node that makes them is left out, with their positions.
    pub(crate) borders: BTreeMap<String, usize>,
}

impl Batch {
    /// Finds the batch symbol of `graph` and infers the shapes of one sample.
    pub(crate) fn of(graph: &Graph, opset: i64) -> Result<Self, String> {
        let symbol = batch_symbol(graph)?;
        let infer = |size: u64| {
            let bindings = symbol.iter().map(|symbol| (symbol.clone(), size)).collect();
            infer_shapes(graph, opset, &bindings).map_err(|error| format!("failed to {error}"))
        };
        let specs = infer(1)?;
        let two = if symbol.is_some() { infer(2)? } else { BTreeMap::new() };
        let input_shape =
            |input: &TensorSpec| specs.get(&input.name).and_then(|spec| spec.bound_shape(&BTreeMap::new()));
        let input_shapes = graph.inputs.iter().map(input_shape).collect::<Option<Vec<_>>>();
        Ok(Self {
            input_shapes: input_shapes.ok_or("an input has a size beside the batch that is not known")?,
            symbol,
            specs,
            two,
            borders: BTreeMap::new(),
        })
    }

    /// Lets each value of `graph` be an input where its node is left out, if samples do not mix in it.
    pub(crate) fn add_borders(&mut self, graph: &Graph) {
        for name in graph.nodes.iter().flat_map(|node| &node.outputs) {
            let elements = |shape: &[usize]| shape.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
            let is_bounded = |shape: &Vec<usize>| elements(shape).is_some_and(|all| all <= BORDER_ELEMENTS_MAX);
            if let Some(shape) = self.shape(name).ok().filter(is_bounded) {
                self.borders.insert(name.clone(), self.input_shapes.len());
                self.input_shapes.push(shape);
            }
        }
    }

    /// Makes this the batch of a region that reads `inputs`.
    pub(crate) fn set_inputs(&mut self, inputs: &[String]) -> Result<(), String> {
        self.borders.clear();
        self.input_shapes = inputs.iter().map(|input| self.shape(input)).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The shape of a value for one sample; an error when it is not known, or when samples mix in it.
    ///
    /// A value of two samples must be that of one with its first axis twice as long: then every row-major step on
    /// it that keeps this works on one sample at a time.
    pub(crate) fn shape(&self, name: &str) -> Result<Vec<usize>, String> {
        let of = |specs: &BTreeMap<String, TensorSpec>| specs.get(name)?.bound_shape(&BTreeMap::new());
        let one = of(&self.specs).ok_or_else(|| format!("the shape of {name} is not known for a fixed batch"))?;
        if self.symbol.is_none() {
            return Ok(one);
        }
        let two = of(&self.two).ok_or_else(|| format!("the shape of {name} is not known for every batch"))?;
        let keeps = one.first() == Some(&1) && two.first() == Some(&2) && one[1..] == two[1..];
        if keeps { Ok(one) } else { Err(format!("{name} does not keep the batch as its first axis: {one:?}, {two:?}")) }
    }
}

/// The one symbol that is the first axis of every input and no other axis.
fn batch_symbol(graph: &Graph) -> Result<Option<String>, String> {
    let symbols = |spec: &TensorSpec| spec.shape.iter().any(|size| matches!(size, Dimension::Symbol(_)));
    if !graph.inputs.iter().any(symbols) {
        return Ok(None);
    }
    let mut found: Option<&str> = None;
    for input in &graph.inputs {
        let Some(Dimension::Symbol(first)) = input.shape.first() else {
            return Err(format!("input {input} does not begin with the batch that another input has"));
        };
        if input.shape[1..].iter().any(|size| matches!(size, Dimension::Symbol(_))) {
            return Err(format!("input {input} has a symbolic size beside the batch; fix it when exporting"));
        }
        if found.is_some_and(|found| found != first) {
            return Err(format!("input {input} has another batch symbol than an earlier input"));
        }
        found = Some(first);
    }
    Ok(found.map(str::to_owned))
}
