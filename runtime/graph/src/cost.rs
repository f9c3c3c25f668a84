//! What a node costs.

use std::collections::BTreeMap;

use runtime_tensor::{Dimension, TensorSpec};

use crate::Node;

/// Multiply-accumulates of one run of `node`, an estimate: convolutions and matrix products, float and integer.
///
/// `shapes` are those of [`infer_shapes`](crate::infer_shapes). A symbol counts as 1, so the figure is for a
/// batch of one; a node whose shapes are unknown counts as 0; a product over 64 bits saturates.
pub fn macs(node: &Node, shapes: &BTreeMap<String, TensorSpec>) -> u64 {
    if !node.is_standard() {
        return 0;
    }
    let shape = |name: Option<&str>| name.and_then(|name| shapes.get(name)).map(|spec| spec.shape.as_slice());
    let Some(made) = shape(node.output(0)).map(product) else { return 0 };
    let inner = match node.operator.as_str() {
        // Each output element sums over the weights of one output channel.
        "Conv" | "ConvInteger" => shape(node.input(1)).and_then(|weights| weights.get(1..)).map(product),
        "QLinearConv" => shape(node.input(3)).and_then(|weights| weights.get(1..)).map(product),
        "Gemm" => shape(node.input(0)).and_then(|left| {
            let axis = if node.int("transA", 0) == 0 { 1 } else { 0 };
            left.get(axis).map(size)
        }),
        "MatMul" | "MatMulInteger" | "QLinearMatMul" => shape(node.input(0)).and_then(|left| left.last().map(size)),
        _ => None,
    };
    inner.map_or(0, |inner| made.saturating_mul(inner))
}

fn size(dimension: &Dimension) -> u64 {
    match dimension {
        Dimension::Fixed(size) => *size,
        Dimension::Symbol(_) => 1,
    }
}

fn product(shape: &[Dimension]) -> u64 {
    shape.iter().map(size).fold(1, u64::saturating_mul)
}
