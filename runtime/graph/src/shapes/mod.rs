//! Shape inference: element type and shape of every value, symbols where a size is known only at run time.
//!
//! Invariant: a shape that is given is right for every size of the symbols in it; where that cannot be said
//! the size is a symbol of its own, named after the value and the axis. Shapes that contradict each other are
//! errors that name the node. A value of an operator that is not known here has the shape that the file
//! declares, or none.

mod call;
mod contents;
mod elementwise;
mod layout;
mod linear;
mod made;
mod movement;
mod reduction;
mod rules;
mod windows;

use std::collections::BTreeMap;

use runtime_tensor::{Dimension, TENSOR_RANK_MAX, Tensor, TensorSpec};

use crate::read::made_up;
use crate::{Graph, GraphError, Node};
use call::{Call, Known};
use contents::Contents;

pub(crate) use call::{axis_index, broadcast_sizes};

/// Oldest version of ONNX's operator set whose shapes are known here: 7 has today's broadcasting.
const OPSET_MIN: i64 = 7;

/// Element type and shape of every value that can be known: inputs, initializers, node outputs.
///
/// `bindings` gives symbols of the inputs a size. Unknown sizes get a symbol of their own.
pub fn infer_shapes(
    graph: &Graph,
    opset: i64,
    bindings: &BTreeMap<String, u64>,
) -> Result<BTreeMap<String, TensorSpec>, GraphError> {
    let mut inference = Inference::new(graph, bindings);
    for node in &graph.nodes {
        inference.visit(node, opset)?;
    }
    inference.check_outputs(graph)?;
    Ok(inference.specs)
}

struct Inference<'a> {
    specs: BTreeMap<String, TensorSpec>,
    /// What small integer values hold, as far as it is known: the targets of `Reshape` come out of these.
    contents: Contents,
    constants: BTreeMap<&'a str, &'a Tensor>,
    declared: BTreeMap<&'a str, &'a TensorSpec>,
    bindings: &'a BTreeMap<String, u64>,
}

impl<'a> Inference<'a> {
    fn new(graph: &'a Graph, bindings: &'a BTreeMap<String, u64>) -> Self {
        let declared = graph.values.values().chain(&graph.outputs);
        let mut inference = Self {
            specs: BTreeMap::new(),
            contents: Contents::default(),
            constants: graph.initializers.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect(),
            declared: declared.map(|spec| (spec.name.as_str(), spec)).collect(),
            bindings,
        };
        for (name, tensor) in &graph.initializers {
            inference.contents.set_tensor(name, tensor);
            inference.specs.insert(name.clone(), spec_of(name, tensor));
        }
        inference.specs.extend(graph.deferred.iter().map(|(name, spec)| (name.clone(), spec.clone())));
        for input in &graph.inputs {
            let spec = inference.bound(input);
            inference.specs.insert(input.name.clone(), spec);
        }
        inference
    }

    /// The specification with bound symbols replaced by their sizes.
    fn bound(&self, spec: &TensorSpec) -> TensorSpec {
        let bind = |dimension: &Dimension| match dimension {
            Dimension::Symbol(symbol) if self.bindings.contains_key(symbol) => Dimension::Fixed(self.bindings[symbol]),
            other => other.clone(),
        };
        TensorSpec { name: spec.name.clone(), element: spec.element, shape: spec.shape.iter().map(bind).collect() }
    }

    fn visit(&mut self, node: &'a Node, opset: i64) -> Result<(), GraphError> {
        if let (true, Some(tensor), Some(output)) = (node.is("Constant"), node.tensor("value"), node.output(0)) {
            self.constants.insert(output, tensor);
            self.contents.set_tensor(output, tensor);
        }
        let rule = rules::rule_for(node);
        let found = match rule {
            Some(_) if opset < OPSET_MIN => {
                return Err(GraphError::Unsupported {
                    node: node.label(),
                    operator: node.operator_path(),
                    reason: format!("operator set {opset} is older than {OPSET_MIN}; convert the model to a newer one"),
                });
            }
            Some(rule) => {
                let call =
                    Call { node, opset, specs: &self.specs, contents: &self.contents, constants: &self.constants };
                rule(&call).map_err(|reason| GraphError::Shape {
                    node: node.label(),
                    operator: node.operator_path(),
                    reason,
                })?
            }
            None => None,
        };
        self.contents.visit(node, &self.specs);
        let mut found = found.unwrap_or_default().into_iter();
        for output in &node.outputs {
            let known = found.next();
            if known.as_ref().is_some_and(|known| known.shape.len() > TENSOR_RANK_MAX) {
                return Err(GraphError::Shape {
                    node: node.label(),
                    operator: node.operator_path(),
                    reason: format!("{output} has more than {TENSOR_RANK_MAX} axes"),
                });
            }
            if !output.is_empty() {
                self.settle(output, known);
            }
        }
        Ok(())
    }

    /// Joins what a rule found with what the file declares; the rule is right where they differ.
    fn settle(&mut self, output: &str, known: Option<Known>) {
        let declared = self.declared.get(output).map(|spec| self.bound(spec));
        let Some(known) = known else {
            if let Some(spec) = declared {
                self.specs.insert(output.to_owned(), spec);
            }
            return;
        };
        let declared = declared.filter(|spec| spec.shape.len() == known.shape.len());
        let size = |(axis, size): (usize, Option<Dimension>)| {
            let said = || declared.as_ref().map(|spec| spec.shape[axis].clone());
            size.or_else(said).unwrap_or_else(|| made_up(output, axis))
        };
        let shape = known.shape.into_iter().enumerate().map(size).collect();
        self.specs.insert(output.to_owned(), TensorSpec { name: output.to_owned(), element: known.element, shape });
    }

    /// What a model promises its callers must be so.
    fn check_outputs(&self, graph: &Graph) -> Result<(), GraphError> {
        for output in &graph.outputs {
            let Some(found) = self.specs.get(&output.name) else { continue };
            let clash = |(found, declared): (&Dimension, &Dimension)| matches!((found, declared), (Dimension::Fixed(found), Dimension::Fixed(declared)) if found != declared);
            let sizes_clash = found.shape.iter().zip(&output.shape).any(clash);
            if found.element != output.element || found.shape.len() != output.shape.len() || sizes_clash {
                let maker = graph.nodes.iter().find(|node| node.outputs.contains(&output.name));
                return Err(GraphError::Shape {
                    node: maker.map_or_else(|| format!("output {:?}", output.name), Node::label),
                    operator: maker.map_or_else(String::new, Node::operator_path),
                    reason: format!("the nodes make {found}, the graph declares {output}"),
                });
            }
        }
        Ok(())
    }
}

/// The specification of a constant.
pub(crate) fn spec_of(name: &str, tensor: &Tensor) -> TensorSpec {
    let shape = tensor.shape().iter().map(|&size| Dimension::Fixed(size as u64)).collect();
    TensorSpec { name: name.to_owned(), element: tensor.element(), shape }
}
