//! Which nodes run on integers, and which of their tensors share a scale.

use std::collections::{BTreeMap, BTreeSet};

use runtime_graph::{Graph, Node, producers};
use runtime_tensor::{ElementType, TensorSpec};

use crate::bound::Bound;
use crate::fuse::is_carrier;
use crate::linear::{Linear, is_linear};

/// What becomes of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Choice {
    /// Runs on integers.
    Integer(Form),
    /// A bound that the node at this index takes over.
    Absorbed(usize),
    /// Stays in float, because.
    Float(String),
}

/// How an integer node treats scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Weights; input and output each have a scale.
    Linear,
    /// Inputs and output each have a scale: Add, average pooling, Concat of unlike values.
    Mixing,
    /// All inputs and the output share one scale: Concat of like values.
    Joining,
    /// Input and output share one scale: MaxPool, Reshape.
    Carrying,
}

/// The decision for a whole graph.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// One a node.
    pub(crate) choices: Vec<Choice>,
    /// For an integer node the bound that it takes over.
    pub(crate) bounds: BTreeMap<usize, usize>,
    /// Every activation that needs a scale, with the name of the tensor that stands for all that share it.
    pub(crate) groups: BTreeMap<String, String>,
}

impl Selection {
    /// Decides; `skip` names nodes to leave in float.
    pub(crate) fn of(graph: &Graph, shapes: &BTreeMap<String, TensorSpec>, skip: &[String]) -> Self {
        let mut forms: Vec<Result<Form, String>> =
            graph.nodes.iter().map(|node| form_of(node, graph, shapes, skip)).collect();
        let bounds = absorbed_bounds(graph, &forms, skip);
        spread(graph, &mut forms, &bounds);
        let bounds: BTreeMap<usize, usize> = bounds.into_iter().filter(|(index, _)| forms[*index].is_ok()).collect();
        part_unlike_inputs(graph, &mut forms, &bounds);
        let absorbed: BTreeMap<usize, usize> = bounds.iter().map(|(&index, &bound)| (bound, index)).collect();
        let choice = |(index, form): (usize, Result<Form, String>)| match (absorbed.get(&index), form) {
            (Some(&into), _) => Choice::Absorbed(into),
            (None, Ok(form)) => Choice::Integer(form),
            (None, Err(reason)) => Choice::Float(reason),
        };
        let choices = forms.into_iter().enumerate().map(choice).collect();
        let mut selection = Self { choices, bounds, groups: BTreeMap::new() };
        selection.groups = groups(graph, &selection);
        selection
    }

    /// Indices and forms of the integer nodes.
    pub(crate) fn integer_nodes(&self) -> impl Iterator<Item = (usize, Form)> {
        self.choices.iter().enumerate().filter_map(|(index, choice)| match choice {
            Choice::Integer(form) => Some((index, *form)),
            _ => None,
        })
    }

    /// The same decision with only the node at `index`, and the bound that it takes over, on integers.
    pub(crate) fn only(&self, graph: &Graph, index: usize) -> Self {
        let bounds: BTreeMap<usize, usize> =
            self.bounds.iter().filter(|(into, _)| **into == index).map(|(&a, &b)| (a, b)).collect();
        let choice = |(at, choice): (usize, &Choice)| match choice {
            Choice::Integer(_) if at == index => choice.clone(),
            Choice::Absorbed(into) if *into == index => choice.clone(),
            _ => Choice::Float("left in float to judge another node".to_owned()),
        };
        let choices = self.choices.iter().enumerate().map(choice).collect();
        let mut selection = Self { choices, bounds, groups: BTreeMap::new() };
        selection.groups = groups(graph, &selection);
        selection
    }

    /// The value that an integer node gives to others: the output of the bound that it takes over, or its own.
    pub(crate) fn made<'g>(&self, graph: &'g Graph, index: usize) -> Option<&'g str> {
        let last = self.bounds.get(&index).copied().unwrap_or(index);
        graph.nodes[last].output(0)
    }
}

/// The activations that an integer node reads.
pub(crate) fn data_inputs(node: &Node, form: Form) -> impl Iterator<Item = &str> {
    let count = match form {
        Form::Linear | Form::Carrying => 1,
        Form::Mixing if node.is("AveragePool") || node.is("GlobalAveragePool") => 1,
        Form::Mixing | Form::Joining => node.inputs.len(),
    };
    node.inputs.iter().take(count).map(String::as_str)
}

fn form_of(node: &Node, graph: &Graph, shapes: &BTreeMap<String, TensorSpec>, skip: &[String]) -> Result<Form, String> {
    if skip.contains(&node.name) || skip.contains(&node.label()) {
        return Err("left in float on request".to_owned());
    }
    let form = match node.operator.as_str() {
        _ if is_linear(node) => Linear::of(node, graph).map(|_| Form::Linear)?,
        _ if is_carrier(node) => Form::Carrying,
        "Add" | "AveragePool" | "GlobalAveragePool" if node.is_standard() => Form::Mixing,
        "Concat" if node.is_standard() => Form::Joining,
        _ => return Err(format!("{} has no integer form here", node.operator_path())),
    };
    let is_float = |name: &str| shapes.get(name).is_some_and(|spec| spec.element == ElementType::F32);
    if !data_inputs(node, form).chain(node.output(0)).all(is_float) {
        return Err("it works on something else than f32 of known shape".to_owned());
    }
    if data_inputs(node, form).all(|name| graph.initializers.contains_key(name)) {
        return Err("its inputs are constants".to_owned());
    }
    Ok(form)
}

/// For each node that can saturate at its output: the bound that alone reads it.
fn absorbed_bounds(graph: &Graph, forms: &[Result<Form, String>], skip: &[String]) -> BTreeMap<usize, usize> {
    let mut bounds = BTreeMap::new();
    for (index, form) in forms.iter().enumerate() {
        let (Ok(Form::Linear | Form::Mixing), Some(output)) = (form, graph.nodes[index].output(0)) else { continue };
        let Some(reader) = graph.only_reader(output) else { continue };
        let node = &graph.nodes[reader];
        let skipped = skip.contains(&node.name) || skip.contains(&node.label());
        if !skipped && node.input(0) == Some(output) && Bound::of(node, graph).is_some() {
            bounds.insert(index, reader);
        }
    }
    bounds
}

/// Keeps nodes without weights only beside integer neighbours: alone they would gain nothing and lose accuracy.
///
/// What carries elements unchanged joins on either side, since moving the quantization across it changes no
/// value; what mixes them joins only behind an integer node.
fn spread(graph: &Graph, forms: &mut [Result<Form, String>], bounds: &BTreeMap<usize, usize>) {
    let makers = producers(graph);
    let before = |name: &str| -> Option<usize> {
        let index = *makers.get(name)?;
        Some(bounds.iter().find(|(_, bound)| **bound == index).map_or(index, |(&into, _)| into))
    };
    let mut integer: BTreeSet<usize> = (0..forms.len()).filter(|&index| forms[index] == Ok(Form::Linear)).collect();
    loop {
        let mut joined = BTreeSet::new();
        for (index, form) in forms.iter().enumerate() {
            let Ok(form) = form else { continue };
            for maker in data_inputs(&graph.nodes[index], *form).filter_map(before) {
                if integer.contains(&maker) && !integer.contains(&index) {
                    joined.insert(index);
                }
                if integer.contains(&index) && !integer.contains(&maker) && forms[maker] == Ok(Form::Carrying) {
                    joined.insert(maker);
                }
            }
        }
        if joined.is_empty() {
            break;
        }
        integer.append(&mut joined);
    }
    for (index, form) in forms.iter_mut().enumerate() {
        if form.is_ok() && !integer.contains(&index) {
            *form = Err("no integer node stands beside it".to_owned());
        }
    }
}

/// Lets a Concat have a scale for each input when they are not alike.
///
/// One scale for all makes Concat a copy. But where one input ends in a Relu and another does not, the common zero
/// point would be none at which the Relu is saturation, and the node before it could not run on integers.
fn part_unlike_inputs(graph: &Graph, forms: &mut [Result<Form, String>], bounds: &BTreeMap<usize, usize>) {
    let makers = producers(graph);
    // What each node's values are bounded by; nodes stand in order, so inputs come first.
    let mut ends: Vec<Option<Bound>> = vec![None; graph.nodes.len()];
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let before = |name: &str| makers.get(name).and_then(|&maker| ends[maker]);
        let found = match &forms[index] {
            Ok(Form::Carrying) => node.input(0).and_then(before),
            Ok(Form::Joining) => {
                let found: Vec<Option<Bound>> = data_inputs(node, Form::Joining).map(before).collect();
                let alike = found.windows(2).all(|pair| pair[0] == pair[1]);
                if !alike {
                    forms[index] = Ok(Form::Mixing);
                }
                found.first().copied().flatten().filter(|_| alike)
            }
            _ => None,
        };
        if found.is_some() {
            ends[index] = found;
        }
        // The bound stands behind this node, and whoever reads it reads the bound's output.
        if let Some(&bound) = bounds.get(&index) {
            ends[bound] = Bound::of(&graph.nodes[bound], graph);
        }
    }
}

/// Joins the tensors of nodes that need one scale for all.
fn groups(graph: &Graph, selection: &Selection) -> BTreeMap<String, String> {
    let mut leaders: BTreeMap<String, String> = BTreeMap::new();
    for (index, form) in selection.integer_nodes() {
        let node = &graph.nodes[index];
        let made = selection.made(graph, index);
        let members: Vec<&str> = data_inputs(node, form).chain(made).collect();
        for &member in &members {
            leaders.entry(member.to_owned()).or_insert_with(|| member.to_owned());
        }
        if matches!(form, Form::Carrying | Form::Joining) {
            let found: BTreeSet<String> = members.iter().map(|member| leaders[*member].clone()).collect();
            // The first by name, so that the result does not depend on the order of nodes.
            let Some(first) = found.first().cloned() else { continue };
            leaders.values_mut().filter(|leader| found.contains(*leader)).for_each(|leader| *leader = first.clone());
        }
    }
    leaders
}

#[cfg(test)]
mod tests {
    use runtime_graph::infer_shapes;
    use runtime_tensor::{Dimension, Tensor};

    use super::*;

    fn spec(name: &str, shape: &[u64]) -> TensorSpec {
        let shape = shape.iter().map(|&size| Dimension::Fixed(size)).collect();
        TensorSpec { name: name.to_owned(), element: ElementType::F32, shape }
    }

    fn selected(nodes: Vec<Node>, skip: &[&str]) -> (Graph, Selection) {
        let mut graph = Graph { nodes, inputs: vec![spec("x", &[1, 2, 4, 4])], outputs: vec![], ..Graph::default() };
        graph.initializers.insert("w".to_owned(), Tensor::from_f32(vec![2, 2, 1, 1], vec![1.0; 4]).unwrap());
        let shapes = infer_shapes(&graph, 13, &BTreeMap::new()).unwrap();
        let last = graph.nodes.last().and_then(|node| node.output(0)).unwrap();
        graph.outputs.push(shapes[last].clone());
        let skip: Vec<String> = skip.iter().map(|name| name.to_string()).collect();
        let selection = Selection::of(&graph, &shapes, &skip);
        (graph, selection)
    }

    fn conv(input: &str, output: &str) -> Node {
        Node::new("Conv", &[input, "w"], &[output])
    }

    fn plain(operator: &str, inputs: &[&str], output: &str) -> Node {
        let ints = |values: &[i64]| runtime_graph::Attribute::Ints(values.to_vec());
        Node::new(operator, inputs, &[output]).with("kernel_shape", ints(&[2, 2])).with("axes", ints(&[1]))
    }

    #[test]
    fn bounds_are_absorbed_and_pools_share_their_scale() {
        let nodes = vec![conv("x", "c"), plain("Relu", &["c"], "r"), plain("MaxPool", &["r"], "p"), conv("p", "y")];
        let (graph, found) = selected(nodes, &[]);
        assert_eq!(found.choices[1], Choice::Absorbed(0));
        assert_eq!(found.made(&graph, 0), Some("r"));
        assert_eq!((found.groups["r"].as_str(), found.groups["p"].as_str()), ("p", "p"));
        assert_eq!(found.groups["x"], "x");
        assert!(!found.groups.contains_key("c"), "nobody sees it");
    }

    #[test]
    fn a_value_with_two_readers_keeps_its_bound() {
        let nodes = vec![conv("x", "c"), plain("Relu", &["c"], "r"), plain("Add", &["c", "r"], "y")];
        let (_, found) = selected(nodes, &[]);
        assert!(matches!(found.choices[1], Choice::Float(_)));
        assert_eq!(found.choices[2], Choice::Integer(Form::Mixing));
        assert!(found.groups.contains_key("c") && found.groups.contains_key("r"));
    }

    #[test]
    fn concat_joins_all_its_scales() {
        let nodes = vec![
            conv("x", "a"),
            conv("x", "b"),
            plain("Concat", &["a", "b"], "y").with("axis", runtime_graph::Attribute::Int(1)),
        ];
        let (_, found) = selected(nodes, &[]);
        assert_eq!([&found.groups["a"], &found.groups["b"], &found.groups["y"]], ["a", "a", "a"]);
    }

    #[test]
    fn concat_of_a_bounded_and_a_free_value_parts_their_scales() {
        let concat = plain("Concat", &["p", "b"], "y").with("axis", runtime_graph::Attribute::Int(1));
        let free = vec![
            conv("x", "a"),
            conv("x", "b0"),
            plain("Relu", &["a"], "r"),
            plain("MaxPool", &["r"], "p"),
            plain("MaxPool", &["b0"], "b"),
            concat,
        ];
        let (_, found) = selected(free, &[]);
        assert_eq!(found.choices[5], Choice::Integer(Form::Mixing));
        assert_eq!(
            [&found.groups["r"], &found.groups["p"], &found.groups["b"], &found.groups["y"]],
            ["p", "p", "b", "y"]
        );
    }

    #[test]
    fn nodes_far_from_weights_stay_in_float() {
        let nodes = vec![
            plain("Add", &["x", "x"], "s"),
            plain("MaxPool", &["s"], "m"),
            conv("m", "c"),
            plain("Tanh", &["c"], "t"),
            plain("MaxPool", &["t"], "n"),
            plain("Add", &["n", "n"], "y"),
        ];
        let (_, found) = selected(nodes, &[]);
        let integer: Vec<usize> = found.integer_nodes().map(|(index, _)| index).collect();
        assert_eq!(integer, [1, 2], "the pool in front of the weights, and the weights");
        assert_eq!(found.choices[3], Choice::Float("Tanh has no integer form here".to_owned()));
        assert_eq!(found.choices[5], Choice::Float("no integer node stands beside it".to_owned()));
    }

    #[test]
    fn what_is_skipped_stays_in_float() {
        let (_, found) = selected(vec![conv("x", "c"), conv("c", "y")], &["Conv:c"]);
        assert_eq!(found.choices[0], Choice::Float("left in float on request".to_owned()));
        assert!(matches!(found.choices[1], Choice::Integer(Form::Linear)));
    }
}
