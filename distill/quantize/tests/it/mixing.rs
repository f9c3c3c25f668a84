use distill_quantize::{
    Batches, Bench, CalibrationOptions, Mixed, ObserverKind, QuantizeOptions, Ranking, Refined, mixed_precision,
    observe, rank,
};
use runtime_graph::{Model, ReadLimits};
use runtime_tensor::ElementType;

use crate::reference::Reference;
use crate::samples::{batches, mixture, student};

fn samples() -> Batches<'static> {
    Box::new(batches(3, 4))
}

fn seen(model: &Model) -> Refined {
    Refined::new(observe(model, &mut samples(), &Reference, &CalibrationOptions::default()).unwrap())
}

fn ranked(refined: &Refined) -> Ranking {
    let bench = Bench { engine: &Reference, samples: &samples, threads: 1 };
    rank(refined, &QuantizeOptions::default(), &bench).unwrap()
}

/// One weight of each output is a hundred times the others: the others have hardly any steps left.
fn with_bad_layer(name: &str) -> Model {
    let mut model = student();
    let weights = model.graph_mut().initializers.get_mut(name).unwrap();
    let depth = weights.len() / weights.shape()[0];
    weights.as_f32_mut().unwrap().chunks_mut(depth).for_each(|row| row[0] *= 100.0);
    model
}

fn searched(refined: &Refined, limit: &mut dyn FnMut(&Model, usize) -> Vec<String>, attempts: usize) -> Mixed {
    let mut measure = |bytes: &[u8]| {
        let model = Model::read(bytes, &ReadLimits::default()).map_err(|error| error.to_string())?;
        Ok(limit(&model, bytes.len()))
    };
    let ranking = ranked(refined);
    mixed_precision(refined, &QuantizeOptions::default(), &ranking, attempts, &mut measure).unwrap()
}

fn is_integer(model: &Model, weights: &str) -> bool {
    let bytes = |(name, tensor): (&String, &runtime_tensor::Tensor)| {
        name.starts_with(weights) && tensor.element() == ElementType::I8 && !tensor.shape().is_empty()
    };
    model.graph().initializers.iter().any(bytes)
}

#[test]
fn the_bad_layer_ranks_first_and_always_the_same() {
    for (weights, node) in [("w2", "Conv:c2"), ("w3", "Gemm:y")] {
        let refined = seen(&with_bad_layer(weights));
        let ranking = ranked(&refined);
        assert_eq!(ranking.layers[0].node, node, "{ranking:#?}");
        assert_eq!(ranking, ranked(&refined));
        assert!(ranking.layers.windows(2).all(|pair| pair[0].sqnr_db <= pair[1].sqnr_db));
    }
    let ranking = ranked(&seen(&student()));
    let mut names: Vec<(&str, u64)> =
        ranking.layers.iter().map(|layer| (layer.node.as_str(), layer.bytes_saved)).collect();
    names.sort_unstable();
    let expected = [("Add:s2", 0), ("Conv:c1", 216), ("Conv:c2", 1728), ("Gemm:y", 240), ("GlobalAveragePool:g", 0)];
    assert_eq!(names, expected, "carriers and bounds have no noise of their own");
    assert!(ranking.layers.iter().all(|layer| (20.0..90.0).contains(&layer.sqnr_db)), "{ranking:#?}");
}

#[test]
fn what_the_measure_forbids_stays_in_float_and_nothing_else() {
    let refined = seen(&with_bad_layer("w2"));
    let mut never = |model: &Model, _: usize| {
        if is_integer(model, "w2") { vec!["w2 is too coarse".to_owned()] } else { vec![] }
    };
    let found = searched(&refined, &mut never, 20);
    assert!(found.met());
    assert_eq!(found.attempts[found.chosen].left_in_float, ["Conv:c2"]);
    assert_eq!(found.attempts.len(), 2, "everything on integers, then without the most sensitive");
    assert_eq!(found.options.skip, ["Conv:c2"]);
    assert!(is_integer(&found.quantized.model, "w1") && is_integer(&found.quantized.model, "w3"));
}

/// The search goes past a node that must stay in float, and gives back those in between.
#[test]
fn nodes_that_do_not_matter_go_back_to_integers() {
    let refined = seen(&mixture());
    let last = ranked(&refined).layers.into_iter().rev().find(|layer| layer.bytes_saved > 0).unwrap();
    let label = last.node.clone();
    let mut never = |model: &Model, _: usize| {
        let node = model.graph().nodes.iter().find(|node| node.label() == label).unwrap();
        if node.inputs[1].ends_with("_dequantized") { vec!["it must stay in float".to_owned()] } else { vec![] }
    };
    let found = searched(&refined, &mut never, 40);
    assert!(found.met(), "{:?}", found.attempts);
    assert!(found.attempts[found.chosen].left_in_float.len() < ranked(&refined).layers.len());
    assert!(found.attempts[found.chosen].left_in_float.contains(&last.node));
}

/// Where bytes forbid the layer that noise asks for, the cheap ones are tried.
#[test]
fn a_limit_of_bytes_turns_the_search_to_other_nodes() {
    let refined = seen(&with_bad_layer("w2"));
    let mut small = |model: &Model, _: usize| {
        let mut broken = Vec::new();
        if !is_integer(model, "w2") {
            broken.push("w2 takes too many bytes".to_owned());
        }
        if is_integer(model, "w1") {
            broken.push("w1 is too coarse".to_owned());
        }
        broken
    };
    let found = searched(&refined, &mut small, 40);
    assert!(found.met(), "{:#?}", found.attempts);
    assert!(is_integer(&found.quantized.model, "w2") && !is_integer(&found.quantized.model, "w1"));
}

#[test]
fn a_limit_that_nothing_meets_gives_the_closest() {
    let refined = seen(&student());
    let found = searched(&refined, &mut |_, bytes| vec![format!("{bytes} bytes")], 5);
    assert!(!found.met());
    assert_eq!(found.attempts.len(), 5, "no more than allowed");
    assert_eq!(found.chosen, 0, "of equals the one with the fewest nodes in float");
    let error = mixed_precision(&refined, &QuantizeOptions::default(), &ranked(&refined), 5, &mut |_| {
        Err("the judge is out".to_owned())
    });
    assert_eq!(error.unwrap_err().to_string(), "measure a quantized model: the judge is out");
}

/// A plan for fewer nodes, from what was seen once, is the plan of a calibration for those nodes.
#[test]
fn plans_for_fewer_nodes_need_no_second_look() {
    for model in [student(), mixture()] {
        let refined = seen(&model);
        for layer in ranked(&refined).layers {
            let quantize = QuantizeOptions { skip: vec![layer.node.clone()], ..QuantizeOptions::default() };
            let options = CalibrationOptions { observer: ObserverKind::MinMax, quantize, threads: 1 };
            let fresh = observe(&model, &mut samples(), &Reference, &options).unwrap();
            let plan = refined.calibration.plan(&options.quantize).unwrap();
            let fresh = fresh.plan(&options.quantize).unwrap();
            let names = |plan: &runtime_tensor::QuantizationPlan| plan.tensors.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&plan), names(&fresh), "without {}", layer.node);
            let quantized = distill_quantize::quantize(&model, &plan, &options.quantize);
            assert!(quantized.is_ok(), "without {}: {quantized:?}", layer.node);
        }
    }
}
