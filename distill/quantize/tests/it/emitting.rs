use std::collections::BTreeMap;

use distill_quantize::{
    Activation, CalibrationOptions, QuantizeError, QuantizeOptions, Quantized, calibrate, is_pair_safe, quantize,
};
use runtime_graph::{Graph, Model, Node, ReadLimits, consumers, producers};
use runtime_tensor::{ElementType, QuantizationPlan};

use crate::reference::Reference;
use crate::samples::{batches, mixture, student};

pub(crate) fn planned(model: &Model, options: &QuantizeOptions) -> QuantizationPlan {
    let options = CalibrationOptions { quantize: options.clone(), ..CalibrationOptions::default() };
    calibrate(model, &mut batches(4, 4), &Reference, &options).unwrap()
}

pub(crate) fn quantized(model: &Model, options: &QuantizeOptions) -> Quantized {
    quantize(model, &planned(model, options), options).unwrap()
}

/// Every node that is not at a border stands between DequantizeLinear and QuantizeLinear.
fn check_borders(graph: &Graph) {
    let (makers, readers) = (producers(graph), consumers(graph));
    for node in &graph.nodes {
        if node.is("QuantizeLinear") || node.is("DequantizeLinear") {
            continue;
        }
        let data = if node.is("Reshape") { 1 } else { node.inputs.len() };
        for input in node.inputs.iter().take(data).filter(|input| !input.is_empty()) {
            assert!(graph.nodes[makers[input.as_str()]].is("DequantizeLinear"), "{} reads {input}", node.label());
        }
        let readers = &readers[node.outputs[0].as_str()];
        assert!(readers.len() == 1 && graph.nodes[readers[0]].is("QuantizeLinear"), "{}", node.label());
    }
}

#[test]
fn students_run_on_integers_wholly() {
    for (float, integer_nodes) in [(student(), 9), (mixture(), 11)] {
        for activation in [Activation::U8, Activation::I8] {
            let options = QuantizeOptions { activation, ..QuantizeOptions::default() };
            let found = quantized(&float, &options);
            let graph = found.model.graph();
            check_borders(graph);
            assert_eq!((found.report.quantized(), found.report.left_out().count()), (integer_nodes, 0));
            assert_eq!(found.model.inputs(), float.inputs());
            assert_eq!(found.model.outputs(), float.outputs());
            assert!(graph.nodes[0].is("QuantizeLinear") && graph.nodes[0].inputs[0] == "x");
            let last = graph.nodes.iter().find(|node| node.outputs[0] == "y").unwrap();
            assert!(last.is("DequantizeLinear"), "the output is float");
            let bounds = graph.nodes.iter().filter(|node| node.is("Relu") || node.is("Clip"));
            assert_eq!(bounds.count(), 0, "saturation does their work");
            let zero_points = graph.initializers.iter().filter(|(name, _)| name.ends_with("_zero_point"));
            for (name, tensor) in zero_points.filter(|(name, _)| !name.starts_with('w')) {
                assert_eq!(tensor.element(), activation.element(), "{name}");
            }
            let read = Model::read(&found.model.write(), &ReadLimits::default()).unwrap();
            assert_eq!(read.graph(), graph);
        }
    }
}

#[test]
fn weights_are_bytes_and_biases_words_in_the_scale_of_their_product() {
    let options = QuantizeOptions::default();
    let float = student();
    let plan = planned(&float, &options);
    let found = quantize(&float, &plan, &options).unwrap();
    let constants = &found.model.graph().initializers;
    assert!(constants.values().all(|tensor| tensor.element() != ElementType::F32 || tensor.shape().len() <= 1));
    assert_eq!(constants["w3_quantized"].element(), ElementType::I8);
    assert_eq!(constants["w3_scale"].as_f32().unwrap(), plan.tensors["w3"].scales);
    let (bias, scales) = (constants["b3_quantized"].as_i32().unwrap(), constants["b3_scale"].as_f32().unwrap());
    let float_bias = float.graph().initializers["b3"].as_f32().unwrap();
    for output in 0..10 {
        assert_eq!(scales[output], plan.tensors["f"].scales[0] * plan.tensors["w3"].scales[output]);
        assert_eq!(bias[output], (float_bias[output] / scales[output]).round_ties_even() as i32);
    }
    let node = found.model.graph().nodes.iter().find(|node| node.outputs[0] == "w3_dequantized").unwrap();
    assert_eq!(node.int("axis", 9), 0);
    assert_eq!(node.inputs.len(), 3);
}

#[test]
fn one_scale_a_tensor_when_asked() {
    let options = QuantizeOptions { per_channel: false, ..QuantizeOptions::default() };
    let found = quantized(&mixture(), &options);
    let constants = &found.model.graph().initializers;
    for name in ["w1_scale", "wd_scale", "w2_scale", "w2_zero_point"] {
        assert_eq!(constants[name].shape(), [] as [usize; 0], "{name}");
    }
    check_borders(found.model.graph());
}

#[test]
fn pair_safe_weights_cannot_saturate() {
    let options = QuantizeOptions { pair_safe: true, ..QuantizeOptions::default() };
    let found = quantized(&student(), &options);
    let weights = &found.model.graph().initializers["w2_quantized"];
    assert!(weights.as_i8().unwrap().chunks(72).all(|channel| is_pair_safe(channel, 8, 9)));
    let plain = quantized(&student(), &QuantizeOptions::default());
    let weights = &plain.model.graph().initializers["w2_quantized"];
    assert!(
        !weights.as_i8().unwrap().chunks(72).all(|channel| is_pair_safe(channel, 8, 9)),
        "or the test says nothing"
    );
    assert!(found.report.nodes.iter().filter_map(|node| node.weight_noise_db).all(|noise| noise < -35.0));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let options = QuantizeOptions { pair_safe: true, ..QuantizeOptions::default() };
    assert_eq!(quantized(&mixture(), &options).model.write(), quantized(&mixture(), &options).model.write());
}

#[test]
fn what_is_skipped_stays_float_between_integers() {
    let options = QuantizeOptions { skip: vec!["Conv:c2".to_owned()], ..QuantizeOptions::default() };
    let found = quantized(&student(), &options);
    let left: Vec<(&str, &str)> = found
        .report
        .left_out()
        .map(|node| (node.node.as_str(), node.left_out.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(left, [("Conv:c2", "left in float on request")]);
    let graph = found.model.graph();
    let conv = graph.nodes.iter().find(|node| node.label() == "Conv:c2").unwrap();
    assert_eq!(conv.inputs, ["p1_dequantized", "w2", "b2"]);
    assert_eq!(graph.initializers["w2"].element(), ElementType::F32);
}

/// Softmax has no integer form: the logits are dequantized for it.
#[test]
fn float_nodes_behind_integers_read_dequantized_values() {
    let mut float = student();
    let graph = float.graph_mut();
    graph.nodes.push(Node::new("Tanh", &["y"], &["z"]));
    graph.outputs[0].name = "z".to_owned();
    let found = quantized(&float, &QuantizeOptions::default());
    let last = found.model.graph().nodes.last().unwrap();
    assert_eq!((last.operator.as_str(), last.inputs[0].as_str()), ("Tanh", "y_dequantized"));
    assert_eq!(found.report.left_out().next().unwrap().left_out.as_deref(), Some("Tanh has no integer form here"));
}

/// A clip whose range the scale does not reach cannot be left to saturation.
#[test]
fn a_bound_that_saturation_does_not_reach_is_written() {
    let options = QuantizeOptions::default();
    let mut plan = planned(&mixture(), &options);
    plan.tensors.get_mut("k1").unwrap().scales = vec![2.0 / 255.0];
    let found = quantize(&mixture(), &plan, &options).unwrap();
    let clips: Vec<&Node> = found.model.graph().nodes.iter().filter(|node| node.is("Clip")).collect();
    assert_eq!(clips.len(), 1);
    let readers = consumers(found.model.graph());
    assert!(found.model.graph().nodes[readers[clips[0].outputs[0].as_str()][0]].is("QuantizeLinear"));
}

#[test]
fn a_plan_that_does_not_fit_is_refused() {
    let options = QuantizeOptions::default();
    let good = planned(&student(), &options);
    type Change = fn(&mut QuantizationPlan);
    let rows: [(&str, Change); 8] = [
        ("tensor \"r1\": the plan does not name it", |plan| drop(plan.tensors.remove("r1"))),
        ("tensor \"w2\": the plan does not name these weights", |plan| drop(plan.tensors.remove("w2"))),
        ("must have the scale of", |plan| plan.tensors.get_mut("p1").unwrap().scales[0] *= 2.0),
        ("positive normal number", |plan| plan.tensors.get_mut("x").unwrap().scales[0] = f32::NAN),
        ("zero point in range", |plan| plan.tensors.get_mut("x").unwrap().zero_points[0] = 256),
        ("another activation type", |plan| plan.tensors.get_mut("x").unwrap().element = ElementType::I8),
        ("along their output axis", |plan| plan.tensors.get_mut("w1").unwrap().axis = Some(1)),
        ("one positive scale for each output channel", |plan| plan.tensors.get_mut("w1").unwrap().scales.truncate(7)),
    ];
    for (expected, change) in rows {
        let mut plan = good.clone();
        change(&mut plan);
        match quantize(&student(), &plan, &options) {
            Err(error @ QuantizeError::Plan { .. }) => assert!(error.to_string().contains(expected), "{error}"),
            other => panic!("{expected}: {:?}", other.map(|found| found.report)),
        }
    }
    let empty = QuantizationPlan { tensors: BTreeMap::new() };
    assert!(quantize(&student(), &empty, &options).is_err());
}
