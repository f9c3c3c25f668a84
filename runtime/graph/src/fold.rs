//! Constant folding: nodes whose result is known now become initializers.

use std::collections::{BTreeMap, BTreeSet};

use runtime_tensor::{Dimension, Tensor, TensorSpec};

use crate::evaluate::{Constants, evaluate};
use crate::shapes::infer_shapes;
use crate::{Graph, GraphError, Node};

/// Bytes that all folded constants together may take.
pub const FOLDED_BYTES_MAX: u64 = 512 << 20;

/// Replaces nodes whose inputs are all constant by initializers, as far as this crate can compute them, and drops
/// what nobody reads any more. Returns the number of nodes that went away.
///
/// `Shape` of a value whose sizes are all known counts as constant. Nodes that make an output of the graph stay,
/// and so do QuantizeLinear and DequantizeLinear, which say how a model is to run. Folding stops quietly at
/// [`FOLDED_BYTES_MAX`].
pub fn fold_constants(graph: &mut Graph, opset: i64) -> Result<usize, GraphError> {
    let shapes = infer_shapes(graph, opset, &BTreeMap::new())?;
    let wanted: BTreeSet<String> = graph.outputs.iter().map(|output| output.name.clone()).collect();
    let before = graph.nodes.len();
    let mut bytes_left = FOLDED_BYTES_MAX;
    let mut kept = Vec::with_capacity(before);
    for node in std::mem::take(&mut graph.nodes) {
        let folded = match node.output(0) {
            Some(output) if !wanted.contains(output) => fold(&node, &graph.initializers, &shapes, bytes_left),
            _ => None,
        };
        match (folded, node.output(0)) {
            (Some(tensor), Some(output)) => {
                bytes_left = bytes_left.saturating_sub(tensor.bytes().len() as u64);
                graph.initializers.insert(output.to_owned(), tensor);
            }
            _ => kept.push(node),
        }
    }
    graph.nodes = kept;
    graph.prune();
    Ok(before - graph.nodes.len())
}

fn fold(
    node: &Node,
    initializers: &BTreeMap<String, Tensor>,
    shapes: &BTreeMap<String, TensorSpec>,
    bytes_max: u64,
) -> Option<Tensor> {
    if node.is("Shape") || node.is("Size") {
        return fold_shape(node, shapes);
    }
    let inputs = node.inputs.iter().map(|name| match initializers.get(name) {
        Some(tensor) => Some(Some(tensor)),
        None => name.is_empty().then_some(None),
    });
    let inputs = inputs.collect::<Option<Vec<_>>>()?;
    let shape = node.output(0).and_then(|output| shapes.get(output)).and_then(numbers);
    evaluate(node, &Constants { inputs, shape, bytes_max })
}

fn numbers(spec: &TensorSpec) -> Option<Vec<usize>> {
    let number = |size: &Dimension| match size {
        Dimension::Fixed(size) => usize::try_from(*size).ok(),
        Dimension::Symbol(_) => None,
    };
    spec.shape.iter().map(number).collect()
}

fn fold_shape(node: &Node, shapes: &BTreeMap<String, TensorSpec>) -> Option<Tensor> {
    let sizes = numbers(shapes.get(node.input(0)?)?)?;
    let sizes: Vec<i64> = sizes.into_iter().map(|size| i64::try_from(size).ok()).collect::<Option<_>>()?;
    if node.is("Size") {
        let count = sizes.iter().try_fold(1i64, |product, &size| product.checked_mul(size))?;
        return Tensor::from_i64(vec![], vec![count]).ok();
    }
    let rank = sizes.len() as i64;
    let bound = |value: i64| (if value < 0 { value.saturating_add(rank) } else { value }).clamp(0, rank) as usize;
    let (start, end) = (bound(node.int("start", 0)), bound(node.int("end", rank)));
    let part = sizes[start..end.max(start)].to_vec();
    Tensor::from_i64(vec![part.len()], part).ok()
}
