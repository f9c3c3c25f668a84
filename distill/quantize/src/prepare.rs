//! The float graph in the form that is calibrated and quantized.

use std::collections::BTreeMap;

use runtime_graph::{Graph, Model, fold_constants, infer_shapes, raise_opset};
use runtime_tensor::TensorError;

use crate::QuantizeError;
use crate::fuse::{Scene, affine_into_linear, bound_forward, drop_identity, pad_into_convolution};

/// Per-channel scales exist since this version of ONNX's operator set.
const OPSET_MIN: i64 = 13;

/// A model that computes the same, up to float rounding, with constants folded, batch normalization inside the
/// weights, and an operator set that has per-channel scales.
///
/// Deterministic: calibration and quantization each prepare the model for themselves and mean the same tensors.
pub fn prepare(model: &Model) -> Result<Model, QuantizeError> {
    let mut model = model.clone();
    raise_opset(&mut model, OPSET_MIN)?;
    let opset = model.opset();
    let graph = model.graph_mut();
    // What the file said about inner values may be about values that go away; inference says it anew.
    graph.values.clear();
    fold_constants(graph, opset)?;
    let shapes = infer_shapes(graph, opset, &BTreeMap::new())?;
    rewrite(&mut Scene { graph, shapes: &shapes })?;
    graph.prune();
    model.check()?;
    Ok(model)
}

/// Applies every rewrite until none finds anything: each takes a node away or moves a bound forward, so it ends.
fn rewrite(scene: &mut Scene<'_>) -> Result<(), TensorError> {
    type Rewrite = fn(&mut Scene<'_>, usize) -> Result<bool, TensorError>;
    const REWRITES: [Rewrite; 4] = [drop_identity, pad_into_convolution, affine_into_linear, bound_forward];
    let mut index = 0;
    while index < scene.graph.nodes.len() {
        let mut changed = false;
        for rewrite in REWRITES {
            if rewrite(scene, index)? {
                changed = true;
                break;
            }
        }
        // A change may have made room for another one at or before this node.
        index = if changed { 0 } else { index + 1 };
    }
    Ok(())
}

/// Shapes of a prepared graph, with the batch left open.
pub(crate) fn shapes_of(
    graph: &Graph,
    opset: i64,
) -> Result<BTreeMap<String, runtime_tensor::TensorSpec>, QuantizeError> {
    Ok(infer_shapes(graph, opset, &BTreeMap::new())?)
}
