//! A quantized graph in the form in which tract computes it right.
//!
//! tract 0.23 answers two things wrongly without a word: it takes a scale of shape \[1\], as ONNX Runtime's quantizer
//! writes it, for one that differs along an axis; and a Softmax between a dequantization and a quantization gives
//! ones. Here constants are dequantized once, single scales become scalars, and such a Softmax is written out.

use std::collections::BTreeSet;

use runtime_graph::{Attribute, Graph, Node};
use runtime_tensor::{ElementType, Tensor};

use crate::write_out::write_quantization_out;

/// Whether `graph` has nodes that [`simplify`] changes.
pub(crate) fn has_quantization(graph: &Graph) -> bool {
    graph.nodes.iter().any(|node| node.is("QuantizeLinear") || node.is("DequantizeLinear"))
}

/// Dequantizes constants, makes single scales and zero points scalars, writes Softmax out where it is quantized.
///
/// The error names what cannot be written so that tract computes it right.
pub(crate) fn simplify(graph: &mut Graph, opset: i64) -> Result<(), String> {
    let mut kept = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        let constant = node.is("DequantizeLinear").then(|| dequantized(graph, &node)).flatten();
        match (constant, node.output(0)) {
            (Some(tensor), Some(output)) => {
                graph.initializers.insert(output.to_owned(), tensor);
            }
            _ => kept.push(node),
        }
    }
    for node in kept.iter().filter(|node| node.is("QuantizeLinear") || node.is("DequantizeLinear")) {
        for name in node.inputs.iter().skip(1) {
            let single = graph.initializers.get(name).filter(|tensor| tensor.len() == 1 && tensor.shape().len() == 1);
            if let Some(Ok(scalar)) = single.cloned().map(|tensor| tensor.reshape(vec![])) {
                graph.initializers.insert(name.clone(), scalar);
            }
        }
    }
    graph.nodes = kept;
    write_quantization_out(graph, opset);
    write_softmax_out(graph, opset)?;
    graph.prune();
    Ok(())
}

/// Replaces each Softmax that a QuantizeLinear reads by exp(x - max) / sum.
fn write_softmax_out(graph: &mut Graph, opset: i64) -> Result<(), String> {
    let quantized: BTreeSet<String> = graph
        .nodes
        .iter()
        .filter(|node| node.is("QuantizeLinear"))
        .filter_map(|node| Some(node.input(0)?.to_owned()))
        .collect();
    let is_quantized =
        |node: &Node| node.is("Softmax") && node.output(0).is_some_and(|output| quantized.contains(output));
    let Some(first) = graph.nodes.iter().find(|node| is_quantized(node)) else { return Ok(()) };
    if opset < 13 {
        return Err(format!(
            "{} (Softmax) is quantized; export the model with operator set 13 or later",
            first.label()
        ));
    }
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        match (is_quantized(&node), node.input(0), node.output(0)) {
            (true, Some(input), Some(output)) => {
                let axes = graph.add_initializer(&format!("{output}_axis"), axis_tensor(node.int("axis", -1))?);
                nodes.extend(softmax_nodes(input, output, &axes, node.int("axis", -1), opset));
            }
            _ => nodes.push(node),
        }
    }
    graph.nodes = nodes;
    Ok(())
}

fn axis_tensor(axis: i64) -> Result<Tensor, String> {
    Tensor::from_i64(vec![1], vec![axis]).map_err(|error| format!("failed to {error}"))
}

fn softmax_nodes(input: &str, output: &str, axes: &str, axis: i64, opset: i64) -> [Node; 5] {
    // No name of a model ends so, and a second Softmax of the same output cannot be.
    let inner = |what: &str| format!("{output}/softmax/{what}");
    let (largest, shifted, powers, sum) = (inner("max"), inner("shifted"), inner("exp"), inner("sum"));
    // ReduceMax has taken its axes as an input only since operator set 18, ReduceSum since 13.
    let reduce_max = match opset {
        ..18 => Node::new("ReduceMax", &[input], &[&largest]).with("axes", Attribute::Ints(vec![axis])),
        _ => Node::new("ReduceMax", &[input, axes], &[&largest]),
    };
    [
        reduce_max,
        Node::new("Sub", &[input, &largest], &[&shifted]),
        Node::new("Exp", &[&shifted], &[&powers]),
        Node::new("ReduceSum", &[&powers, axes], &[&sum]),
        Node::new("Div", &[&powers, &sum], &[output]),
    ]
}

/// The real tensor that a DequantizeLinear of a constant gives; `None` when its input is no constant, or is one of
/// the graph's outputs.
fn dequantized(graph: &Graph, node: &Node) -> Option<Tensor> {
    if node.outputs.iter().any(|output| graph.is_output(output)) || node.int("block_size", 0) != 0 {
        return None;
    }
    let constant = |position: usize| graph.initializers.get(node.input(position)?);
    let tensor = constant(0)?;
    if !matches!(tensor.element(), ElementType::I8 | ElementType::U8 | ElementType::I32) {
        return None;
    }
    let scales = constant(1)?.as_f32().ok()?;
    let shape = tensor.shape();
    let axis = node.int("axis", 1);
    let axis = usize::try_from(if axis < 0 { axis + shape.len() as i64 } else { axis }).ok()?;
    if scales.is_empty() || (scales.len() != 1 && shape.get(axis) != Some(&scales.len())) {
        return None;
    }
    let zero_points = match node.input(2) {
        Some(_) => constant(2)?.clone(),
        None => Tensor::zeros(tensor.element(), vec![scales.len()]).ok()?,
    };
    if zero_points.len() != scales.len() {
        return None;
    }
    let inner: usize = if scales.len() == 1 { 1 } else { shape[axis + 1..].iter().product() };
    let real = |index: usize| {
        let slice = index / inner.max(1) % scales.len();
        // The difference of two 32-bit integers is exact in f64 and rounds once, as ONNX says.
        let difference = tensor.value_f64(index)? - zero_points.value_f64(slice)?;
        Some(difference as f32 * scales[slice])
    };
    let values = (0..tensor.len()).map(real).collect::<Option<Vec<f32>>>()?;
    Tensor::from_f32(shape.to_vec(), values).ok()
}

#[cfg(test)]
mod tests {
    use runtime_tensor::TensorSpec;

    use super::*;

    #[test]
    fn weights_become_real_and_scales_scalar() {
        let mut graph = Graph::default();
        let mut constant = |name: &str, tensor: Tensor| graph.initializers.insert(name.into(), tensor);
        constant("w", Tensor::from_i8(vec![2, 2], vec![1, 2, 3, -4]).unwrap());
        constant("ws", Tensor::from_f32(vec![2], vec![0.5, 0.25]).unwrap());
        constant("s", Tensor::from_f32(vec![1], vec![0.1]).unwrap());
        constant("z", Tensor::from_u8(vec![1], vec![3]).unwrap());
        graph.nodes = vec![
            Node::new("DequantizeLinear", &["w", "ws"], &["real"]).with("axis", Attribute::Int(0)),
            Node::new("DequantizeLinear", &["x", "s", "z"], &["x_real"]),
            Node::new("MatMul", &["x_real", "real"], &["y"]),
        ];
        let float = |name: &str| TensorSpec { name: name.into(), element: ElementType::F32, shape: vec![] };
        graph.outputs = vec![float("y")];
        assert!(has_quantization(&graph));
        simplify(&mut graph, 17).unwrap();
        assert_eq!(graph.nodes.len(), 2);
        assert_eq!(graph.initializers["real"].as_f32().unwrap(), [0.5, 1.0, 0.75, -1.0]);
        assert_eq!(graph.initializers["s"].shape(), [] as [usize; 0]);
        assert_eq!(graph.initializers["z"].shape(), [] as [usize; 0]);
        assert!(!graph.initializers.contains_key("w"), "nobody reads it any more");
    }

    #[test]
    fn a_quantized_softmax_is_written_out() {
        let quantized = || Graph {
            nodes: vec![
                Node::new("Softmax", &["x"], &["p"]).with("axis", Attribute::Int(1)),
                Node::new("QuantizeLinear", &["p", "s"], &["y"]),
            ],
            outputs: vec![TensorSpec { name: "y".into(), element: ElementType::U8, shape: vec![] }],
            ..Graph::default()
        };
        for (opset, reads_axes) in [(13, false), (18, true)] {
            let mut graph = quantized();
            simplify(&mut graph, opset).unwrap();
            let operators: Vec<&str> = graph.nodes.iter().map(|node| node.operator.as_str()).collect();
            assert_eq!(operators, ["ReduceMax", "Sub", "Exp", "ReduceSum", "Div", "QuantizeLinear"]);
            assert_eq!(graph.nodes[0].inputs.len() == 2, reads_axes);
        }
        assert!(simplify(&mut quantized(), 11).unwrap_err().contains("operator set 13"));
    }
}
