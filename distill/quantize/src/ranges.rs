//! The best range for each tensor: that with which the model's answers change least when only this tensor is rounded.

use std::collections::BTreeMap;

use runtime_graph::{Graph, Model, Node, producers};
use runtime_tensor::{ElementType, QuantizationParameters, Tensor};

use crate::calibrate::{Calibration, select};
use crate::noise::Bench;
use crate::{ObserverKind, QuantizeError, QuantizeOptions, Range, activation_parameters};

/// What was tried for the tensors of one scale.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeChoice {
    /// The tensors that share the scale and were watched.
    pub tensors: Vec<String>,
    /// Ways to choose the range, the range, and the signal-to-noise ratio of the model's answers with it, in decibels.
    /// A way that gave the range of an earlier one is left out.
    pub tried: Vec<(ObserverKind, Range, f64)>,
    /// Which of [`tried`](Self::tried) is used: the best, of equals the first.
    pub chosen: usize,
}

/// Chooses among all observers for each tensor, by the error of the model's answers.
///
/// The calibration must have been made with [`ObserverKind::Best`], which keeps what all observers would choose.
pub fn choose_ranges(
    calibration: &mut Calibration,
    options: &QuantizeOptions,
    bench: &Bench<'_>,
) -> Result<Vec<RangeChoice>, QuantizeError> {
    let selection = select(calibration.prepared(), &options.skip)?;
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, leader) in selection.groups.iter().filter(|(name, _)| calibration.candidates().contains_key(*name)) {
        groups.entry(leader).or_default().push(name);
    }
    let mut choices = Vec::new();
    let mut plans: Vec<(usize, Vec<&str>, Range)> = Vec::new();
    for members in groups.into_values() {
        let mut choice = RangeChoice {
            tensors: members.iter().map(|&name| name.to_owned()).collect(),
            tried: Vec::new(),
            chosen: 0,
        };
        let count = calibration.candidates()[members[0]].len();
        for position in 0..count {
            let (kind, first) = calibration.candidates()[members[0]][position];
            let range = members.iter().map(|name| calibration.candidates()[*name][position].1).fold(first, Range::join);
            if choice.tried.iter().all(|(_, other, _)| *other != range) {
                choice.tried.push((kind, range, f64::NAN));
                plans.push((choices.len(), members.clone(), range));
            }
        }
        choices.push(choice);
    }
    let prepared = calibration.prepared();
    let found = bench.sqnrs_db(prepared, plans.len(), &mut |position| {
        let (_, members, range) = &plans[position];
        rounded(prepared, members, &activation_parameters(*range, options.activation))
    })?;
    let mut next = vec![0; choices.len()];
    for ((group, ..), sqnr_db) in plans.iter().zip(found) {
        choices[*group].tried[next[*group]].2 = sqnr_db;
        next[*group] += 1;
    }
    for choice in &mut choices {
        let better = |best: usize, at: usize| if choice.tried[at].2 > choice.tried[best].2 { at } else { best };
        choice.chosen = (0..choice.tried.len()).fold(0, better);
        let range = choice.tried[choice.chosen].1;
        let leader = selection.groups.get(&choice.tensors[0]);
        let members = selection.groups.iter().filter(|(_, other)| Some(*other) == leader);
        members.for_each(|(tensor, _)| calibration.set_range(tensor, range));
    }
    Ok(choices)
}

/// The float model with some tensors rounded to integers and back.
fn rounded(prepared: &Model, tensors: &[&str], parameters: &QuantizationParameters) -> Result<Model, QuantizeError> {
    let mut model = prepared.clone();
    let graph = model.graph_mut();
    let scale = graph.add_initializer("rounded_scale", Tensor::from_f32(vec![], parameters.scales.clone())?);
    let zero = parameters.zero_points[0];
    let zero = match parameters.element {
        ElementType::I8 => Tensor::from_i8(vec![], vec![zero as i8])?,
        _ => Tensor::from_u8(vec![], vec![zero as u8])?,
    };
    let zero = graph.add_initializer("rounded_zero_point", zero);
    tensors.iter().for_each(|tensor| round(graph, tensor, &scale, &zero));
    model.check()?;
    Ok(model)
}

fn round(graph: &mut Graph, tensor: &str, scale: &str, zero: &str) {
    let integers = graph.fresh_name(&format!("{tensor}_rounded_integers"));
    let other = graph.fresh_name(&format!("{tensor}_rounded"));
    let maker = producers(graph).get(tensor).copied();
    // What a node makes keeps its name behind the rounding, so that outputs and captures see it, too; what comes from
    // outside keeps it before.
    let (from, to) = if maker.is_some() { (other.as_str(), tensor) } else { (tensor, other.as_str()) };
    match maker {
        Some(maker) => {
            graph.nodes[maker]
                .outputs
                .iter_mut()
                .filter(|output| *output == tensor)
                .for_each(|output| *output = other.clone());
        }
        None => graph.replace_reads(tensor, &other),
    }
    let at = maker.map_or(0, |maker| maker + 1);
    let nodes = [
        Node::new("QuantizeLinear", &[from, scale, zero], &[&integers]),
        Node::new("DequantizeLinear", &[&integers, scale, zero], &[to]),
    ];
    graph.nodes.splice(at..at, nodes);
}
