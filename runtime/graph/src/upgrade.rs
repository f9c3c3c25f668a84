//! Raising the version of ONNX's operator set, as far as 13.
//!
//! Version 13 is where quantization can differ from channel to channel. Between 7 and 13 some operators moved
//! attributes to inputs, and some changed their meaning; each is handled or refused by name here. Nothing is
//! raised past 13: no rewrite needs it, and every version has its own changes.

use runtime_tensor::Tensor;

use crate::shapes::infer_shapes;
use crate::{Attribute, Graph, GraphError, Model, Node};

/// The version that [`raise_opset`] can reach.
const OPSET_REACHABLE: i64 = 13;
/// The oldest version that it understands.
const OPSET_MIN: i64 = 7;

/// Operators whose definition between versions 7 and 13 only gained types or wording.
const UNCHANGED: [&str; 63] = [
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "BatchNormalization",
    "Cast",
    "Ceil",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DepthToSpace",
    "DequantizeLinear",
    "Div",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "HardSigmoid",
    "Identity",
    "LRN",
    "LeakyRelu",
    "Less",
    "Log",
    "MatMul",
    "MatMulInteger",
    "Max",
    "Mean",
    "Min",
    "Mul",
    "Neg",
    "Not",
    "PRelu",
    "Pow",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Sign",
    "Sqrt",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
];
/// More of the same kind, whose default of a padding or rounding attribute only became explicit.
const UNCHANGED_WINDOWS: [&str; 3] = ["AveragePool", "MaxPool", "LpPool"];

/// Raises the model to version `opset` (at most 13) of ONNX's own operator set; a newer model stays as it is.
///
/// The result computes the same. An operator whose change is not known here is an error that names the node.
pub fn raise_opset(model: &mut Model, opset: i64) -> Result<(), GraphError> {
    let from = model.opset();
    if from >= opset {
        return Ok(());
    }
    let refuse = |node: &Node, reason: String| GraphError::Unsupported {
        node: node.label(),
        operator: node.operator_path(),
        reason,
    };
    if opset > OPSET_REACHABLE || from < OPSET_MIN {
        return Err(GraphError::Unsupported {
            node: "the model".to_owned(),
            operator: "opset_import".to_owned(),
            reason: format!(
                "operator set {from} cannot be raised to {opset} here, only {OPSET_MIN} and newer to {OPSET_REACHABLE}"
            ),
        });
    }
    let shapes = infer_shapes(model.graph(), from, &Default::default())?;
    let mut graph = model.graph().clone();
    for index in 0..graph.nodes.len() {
        let node = graph.nodes[index].clone();
        if !node.is_standard() {
            continue;
        }
        let rank = node.input(0).and_then(|name| shapes.get(name)).map(|spec| spec.shape.len());
        let raised = raise(&mut graph, node.clone(), from, rank).map_err(|reason| refuse(&node, reason))?;
        graph.nodes[index] = raised;
    }
    *model.graph_mut() = graph;
    model.set_opset("", opset);
    Ok(())
}

fn raise(graph: &mut Graph, mut node: Node, from: i64, rank: Option<usize>) -> Result<Node, String> {
    let operator = node.operator.clone();
    match operator.as_str() {
        known if UNCHANGED.contains(&known) || UNCHANGED_WINDOWS.contains(&known) => {}
        "Squeeze" | "Unsqueeze" | "ReduceSum" => move_ints(graph, &mut node, "axes", 1)?,
        "Split" => move_ints(graph, &mut node, "split", 1)?,
        "Slice" if from < 10 => {
            move_ints(graph, &mut node, "starts", 1)?;
            move_ints(graph, &mut node, "ends", 2)?;
            move_ints(graph, &mut node, "axes", 3)?;
        }
        "Slice" => {}
        "Clip" if from < 11 => {
            for (position, name, default) in [(1, "min", f32::MIN), (2, "max", f32::MAX)] {
                let value = node.float(name, default);
                node.attributes.remove(name);
                add_input(graph, &mut node, position, name, Tensor::from_f32(vec![], vec![value]))?;
            }
        }
        "Clip" => {}
        "Pad" if from < 11 => {
            move_ints(graph, &mut node, "pads", 1)?;
            let value = node.float("value", 0.0);
            node.attributes.remove("value");
            add_input(graph, &mut node, 2, "value", Tensor::from_f32(vec![], vec![value]))?;
        }
        "Pad" => {}
        // In inference it hands its input on; the ratio only moved.
        "Dropout" => {
            node.attributes.remove("ratio");
            let mask_read = node.output(1).is_some_and(|mask| {
                graph.is_output(mask) || graph.nodes.iter().any(|node| node.reads().any(|name| name == mask))
            });
            if mask_read {
                return Err("its mask is read; export the model for inference".to_owned());
            }
            node.operator = "Identity".to_owned();
            node.inputs.truncate(1);
            node.outputs.truncate(1);
            node.attributes.clear();
        }
        "Softmax" | "LogSoftmax" => raise_softmax(&mut node, rank)?,
        "Resize" if from >= 11 => {}
        other => return Err(format!("how {other} changed between operator sets {from} and 13 is not known here")),
    }
    Ok(node)
}

/// Before 13 Softmax flattened everything from the axis on; that is the same only for the last axis.
fn raise_softmax(node: &mut Node, rank: Option<usize>) -> Result<(), String> {
    let rank = rank.ok_or("the number of axes of its input is unknown")? as i64;
    let axis = node.int("axis", 1);
    let axis = if axis < 0 { axis + rank } else { axis };
    if axis != rank - 1 {
        return Err(format!("axis {axis} of {rank} axes means something else since operator set 13; export it anew"));
    }
    node.attributes.insert("axis".to_owned(), Attribute::Int(-1));
    Ok(())
}

/// An integer list that became an input.
fn move_ints(graph: &mut Graph, node: &mut Node, name: &str, position: usize) -> Result<(), String> {
    match node.attributes.remove(name) {
        None => Ok(()),
        Some(Attribute::Ints(values)) => {
            add_input(graph, node, position, name, Tensor::from_i64(vec![values.len()], values))
        }
        Some(_) => Err(format!("attribute {name} is no list of integers")),
    }
}

fn add_input(
    graph: &mut Graph,
    node: &mut Node,
    position: usize,
    name: &str,
    tensor: Result<Tensor, runtime_tensor::TensorError>,
) -> Result<(), String> {
    let tensor = tensor.map_err(|error| error.to_string())?;
    let wish = format!("{}_{name}", node.output(0).unwrap_or(&node.operator));
    while node.inputs.len() <= position {
        node.inputs.push(String::new());
    }
    node.inputs[position] = graph.add_initializer(&wish, tensor);
    Ok(())
}
