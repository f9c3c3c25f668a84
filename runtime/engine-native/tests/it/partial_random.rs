//! Networks of random form, of which nodes anywhere are left out.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;
use runtime_engine::{LoadOptions, NumericsClass};
use runtime_graph::{Graph, Node};

use crate::author::{load, load_with};
use crate::partial::{add, convolution, float_convolution, image, request, rounded, whole_numbers};

/// One more value of a network, made of earlier ones.
#[derive(Clone, Debug)]
enum Layer {
    Convolution(Index),
    FloatConvolution(Index),
    /// A convolution of stored bytes that is not quantized.
    Sum(Index),
    Add(Index, Index),
    Relu(Index),
    /// What is left out.
    Odd(Index),
    /// The same on stored bytes.
    OddBytes(Index),
}

fn layer() -> impl Strategy<Value = Layer> {
    let index = any::<Index>;
    prop_oneof![
        3 => index().prop_map(Layer::Convolution),
        1 => index().prop_map(Layer::FloatConvolution),
        1 => index().prop_map(Layer::Sum),
        3 => (index(), index()).prop_map(|(a, b)| Layer::Add(a, b)),
        1 => index().prop_map(Layer::Relu),
        2 => index().prop_map(Layer::Odd),
        1 => index().prop_map(Layer::OddBytes),
    ]
}

/// The network of `layers`, with every value that nobody reads as an output, and how many odd layers it has: nodes
/// without a kernel, or without effect if `is_plain`.
///
/// No value has two of them: tract 0.23 fails on some graphs with several nodes that do the same.
fn network(layers: &[Layer], is_plain: bool) -> (Graph, u64) {
    let mut nodes = [rounded("x", "a0"), rounded("w", "a1")].concat();
    let mut values = vec!["a0".to_owned(), "a1".to_owned()];
    let mut unread: Vec<usize> = vec![0, 1];
    let mut odd = BTreeSet::new();
    for layer in layers {
        let mut pick = |index: &Index| {
            let position = index.index(values.len());
            unread.retain(|&other| other != position);
            values[position].clone()
        };
        let result = format!("a{}", values.len());
        match layer {
            Layer::Convolution(of) => nodes.extend(convolution(&pick(of), &result)),
            Layer::FloatConvolution(of) => {
                let sum = format!("{result}_float");
                nodes.push(float_convolution(&pick(of), &sum));
                nodes.extend(rounded(&sum, &result));
            }
            Layer::Sum(of) => {
                let weights = format!("{result}_weights");
                nodes.push(Node::new("DequantizeLinear", &["weights", "one", "zero"], &[&weights]));
                nodes.push(float_convolution(&pick(of), &result));
                nodes.last_mut().unwrap().inputs[1] = weights;
            }
            Layer::Add(a, b) => nodes.extend(add(&pick(a), &pick(b), &result)),
            Layer::Relu(of) => nodes.push(Node::new("Relu", &[&pick(of)], &[&result])),
            Layer::Odd(of) => {
                let of = pick(of);
                let operator = if is_plain { "Identity" } else { "Round" };
                let operator = if odd.insert(of.clone()) { operator } else { "Relu" };
                nodes.push(Node::new(operator, &[&of], &[&result]));
            }
            Layer::OddBytes(of) => {
                let [before, after] = ["before", "after"].map(|what| format!("{result}_{what}"));
                let [quantize, mut dequantize] = rounded(&pick(of), &result).try_into().unwrap();
                odd.insert(before.clone());
                nodes.push(Node { outputs: vec![before.clone()], ..quantize });
                nodes.push(match is_plain {
                    true => Node::new("Identity", &[&before], &[&after]),
                    false => Node::new("Tile", &[&before, "once"], &[&after]),
                });
                dequantize.inputs[0] = after;
                nodes.push(dequantize);
            }
        }
        unread.push(values.len());
        values.push(result);
    }
    let outputs = unread.iter().map(|&position| image(&values[position])).collect();
    (whole_numbers(nodes, vec![image("x"), image("w")], outputs), odd.len() as u64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_form_answers_as_if_it_were_covered_wholly(layers in prop::collection::vec(layer(), 1..14)) {
        let strict = LoadOptions { strict: true, ..LoadOptions::default() };
        let mut whole = load_with(&network(&layers, true).0, &strict).unwrap();
        let (graph, odd) = network(&layers, false);
        let mut mixed = load(&graph).unwrap();
        let coverage = mixed.coverage();
        prop_assert_eq!(coverage.macs_covered, coverage.macs_total);
        prop_assert!(odd == 0 || mixed.numerics() == NumericsClass::Float);
        prop_assert!(coverage.nodes_total - coverage.nodes_covered >= odd, "{:?}", coverage);
        for batch in [1, 2] {
            let request = request(whole.as_ref(), batch);
            prop_assert_eq!(mixed.run(&request, &[], None).unwrap(), whole.run(&request, &[], None).unwrap());
        }
    }
}
