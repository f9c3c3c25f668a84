//! What exporters write as several operators, brought back to the one that is meant: layer normalization, GELU, a batch
//! normalization behind a convolution.
//!
//! Only values that nobody else reads are put together, and a graph that has none of the patterns stays as it is.

use std::collections::BTreeMap;

use runtime_graph::{Attribute, Graph, Node, producers};
use runtime_tensor::{ElementType, Tensor};

/// How far a constant may lie from the number that the pattern has.
const NUMBER_DEVIATION_MAX: f64 = 1e-4;

/// Rewrites every pattern in `graph`.
pub(crate) fn rewrite(graph: &mut Graph) {
    let batch_norms = find(graph, "BatchNormalization", batch_norm_of);
    for Fused { at, node, constants } in batch_norms {
        graph.initializers.extend(constants);
        graph.nodes[at] = node;
    }
    let wholes = [find(graph, "Erf", gelu_of), find(graph, "Sqrt", layer_norm_of)];
    for Fused { at, node, .. } in wholes.into_iter().flatten() {
        graph.nodes[at] = node;
    }
    graph.prune();
}

/// One node in the place of the last of several.
struct Fused {
    /// The position of the last.
    at: usize,
    node: Node,
    constants: Vec<(String, Tensor)>,
}

fn find(graph: &Graph, operator: &str, of: fn(&View<'_>, &Node) -> Option<Fused>) -> Vec<Fused> {
    if !graph.nodes.iter().any(|node| node.is(operator)) {
        return Vec::new();
    }
    let view = View { graph, makers: producers(graph) };
    graph.nodes.iter().filter(|node| node.is(operator)).filter_map(|node| of(&view, node)).collect()
}

struct View<'a> {
    graph: &'a Graph,
    makers: BTreeMap<&'a str, usize>,
}

impl<'a> View<'a> {
    /// The node that makes `name`, if it is `operator`.
    fn maker(&self, name: &str, operator: &str) -> Option<&'a Node> {
        let node = &self.graph.nodes[*self.makers.get(name)?];
        node.is(operator).then_some(node)
    }

    /// The only reader of a node's output, if it is `operator`, and its position.
    fn reader(&self, node: &Node, operator: &str) -> Option<(usize, &'a Node)> {
        let at = self.graph.only_reader(node.output(0)?)?;
        let reader = &self.graph.nodes[at];
        reader.is(operator).then_some((at, reader))
    }

    /// A constant of one number.
    fn number(&self, name: &str) -> Option<f64> {
        let tensor = self.graph.initializers.get(name)?;
        if tensor.len() == 1 { tensor.value_f64(0) } else { None }
    }

    fn is_number(&self, name: &str, number: f64) -> bool {
        self.number(name).is_some_and(|found| (found - number).abs() <= NUMBER_DEVIATION_MAX * number.abs())
    }

    fn floats(&self, name: &str) -> Option<&'a Tensor> {
        self.graph.initializers.get(name).filter(|tensor| tensor.element() == ElementType::F32)
    }
}

/// The two inputs of `node`, the one that is not `name` last.
fn other_input<'a>(node: &'a Node, name: &str) -> Option<&'a str> {
    match (node.input(0)?, node.input(1)?) {
        (a, b) if a == name => Some(b),
        (a, b) if b == name => Some(a),
        _ => None,
    }
}

/// `x * 0.5 * (1 + erf(x / sqrt 2))`, its factors in any order.
fn gelu_of(view: &View<'_>, erf: &Node) -> Option<Fused> {
    let inner = erf.input(0)?;
    let x = match (view.maker(inner, "Div"), view.maker(inner, "Mul")) {
        (Some(div), _) if view.is_number(div.input(1)?, std::f64::consts::SQRT_2) => div.input(0)?,
        (_, Some(mul)) => {
            let (a, b) = (mul.input(0)?, mul.input(1)?);
            let is_root = |name: &str| view.is_number(name, std::f64::consts::FRAC_1_SQRT_2);
            if is_root(b) { a } else { is_root(a).then_some(b)? }
        }
        _ => return None,
    };
    let (_, plus_one) = view.reader(erf, "Add")?;
    if !view.is_number(other_input(plus_one, erf.output(0)?)?, 1.0) {
        return None;
    }
    let (at, product) = view.reader(plus_one, "Mul")?;
    let factor = other_input(product, plus_one.output(0)?)?;
    let gelu = |at: usize, last: &Node| {
        let output = last.output(0)?;
        Some(Fused { at, node: Node::new("Gelu", &[x], &[output]), constants: Vec::new() })
    };
    if let Some(half) = view.maker(factor, "Mul") {
        let is_half = other_input(half, x).is_some_and(|name| view.is_number(name, 0.5));
        if is_half {
            return gelu(at, product);
        }
    }
    let (at, last) = view.reader(product, "Mul")?;
    let rest = other_input(last, product.output(0)?)?;
    let fits = (factor == x && view.is_number(rest, 0.5)) || (rest == x && view.is_number(factor, 0.5));
    if fits { gelu(at, last) } else { None }
}

/// `(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * scale (+ bias)` over the last axis.
fn layer_norm_of(view: &View<'_>, root: &Node) -> Option<Fused> {
    let sum = view.maker(root.input(0)?, "Add")?;
    let (a, b) = (sum.input(0)?, sum.input(1)?);
    let (variance, epsilon) = match (view.number(a), view.number(b)) {
        (_, Some(epsilon)) => (a, epsilon),
        (Some(epsilon), _) => (b, epsilon),
        _ => return None,
    };
    let square = mean_of(view, variance)?;
    let from_mean = match (view.maker(square, "Pow"), view.maker(square, "Mul")) {
        (Some(power), _) if view.is_number(power.input(1)?, 2.0) => power.input(0)?,
        (_, Some(product)) if product.input(0) == product.input(1) => product.input(0)?,
        _ => return None,
    };
    let x = difference_of(view, from_mean)?;
    let (_, normal) = view.reader(root, "Div")?;
    if normal.input(1) != root.output(0) || difference_of(view, normal.input(0)?)? != x {
        return None;
    }
    let row = |name: &str| view.floats(name).is_some_and(|tensor| tensor.shape().len() == 1 && tensor.len() > 1);
    let (at, scaled) = view.reader(normal, "Mul")?;
    let scale = other_input(scaled, normal.output(0)?).filter(|name| row(name))?;
    let mut inputs = vec![x, scale];
    let (mut at, mut output) = (at, scaled.output(0)?);
    if let Some((later, biased)) = view.reader(scaled, "Add")
        && let Some(bias) = other_input(biased, output).filter(|name| row(name))
    {
        inputs.push(bias);
        (at, output) = (later, biased.output(0)?);
    }
    let node = Node::new("LayerNormalization", &inputs, &[output])
        .with("axis", Attribute::Int(-1))
        .with("epsilon", Attribute::Float(epsilon as f32));
    Some(Fused { at, node, constants: Vec::new() })
}

/// What `name` is the mean of over the last axis, which it keeps.
fn mean_of<'a>(view: &View<'a>, name: &str) -> Option<&'a str> {
    let mean = view.maker(name, "ReduceMean")?;
    let last = match mean.ints("axes") {
        Some(axes) => axes == [-1],
        None => {
            let axes = view.graph.initializers.get(mean.input(1)?)?;
            axes.len() == 1 && axes.value_f64(0) == Some(-1.0)
        }
    };
    if last && mean.int("keepdims", 1) == 1 { mean.input(0) } else { None }
}

/// The x of `x - mean(x)`.
fn difference_of<'a>(view: &View<'a>, name: &str) -> Option<&'a str> {
    let difference = view.maker(name, "Sub")?;
    let x = difference.input(0)?;
    (mean_of(view, difference.input(1)?)? == x).then_some(x)
}

/// A batch normalization behind a convolution, as other weights and another bias.
fn batch_norm_of(view: &View<'_>, norm: &Node) -> Option<Fused> {
    if norm.outputs.iter().skip(1).any(|output| !output.is_empty()) || norm.int("training_mode", 0) != 0 {
        return None;
    }
    let convolution = view.maker(norm.input(0)?, "Conv")?;
    let at = view.graph.only_reader(convolution.output(0)?)?;
    let weights = view.floats(convolution.input(1)?)?;
    let channels = *weights.shape().first()?;
    let row = |position: usize| {
        let values = view.floats(norm.input(position)?)?.as_f32().ok()?;
        (values.len() == channels).then_some(values)
    };
    let (scale, shift, mean, variance) = (row(1)?, row(2)?, row(3)?, row(4)?);
    let bias = match convolution.input(2) {
        None => vec![0.0; channels],
        Some(name) => view.floats(name)?.as_f32().ok()?.to_vec(),
    };
    if bias.len() != channels {
        return None;
    }
    let epsilon = norm.float("epsilon", 1e-5);
    let factors: Vec<f32> = scale.iter().zip(variance).map(|(scale, var)| scale / (var + epsilon).sqrt()).collect();
    let filter = weights.len() / channels.max(1);
    let values = weights.as_f32().ok()?.iter().enumerate();
    let values = values.map(|(index, weight)| weight * factors[index / filter.max(1)]).collect();
    let bias = (0..channels).map(|channel| (bias[channel] - mean[channel]) * factors[channel] + shift[channel]);
    let output = norm.output(0)?;
    // No name of a model ends so, and there is one such node for an output.
    let names = [format!("{output}/normalized/weights"), format!("{output}/normalized/bias")];
    let mut node = convolution.clone();
    node.inputs = vec![convolution.input(0)?.to_owned(), names[0].clone(), names[1].clone()];
    node.outputs = vec![output.to_owned()];
    let [weights_name, bias_name] = names;
    let constants = vec![
        (weights_name, Tensor::from_f32(weights.shape().to_vec(), values).ok()?),
        (bias_name, Tensor::from_f32(vec![channels], bias.collect()).ok()?),
    ];
    Some(Fused { at, node, constants })
}

#[cfg(test)]
mod tests {
    use runtime_tensor::TensorSpec;

    use super::*;

    fn graph(nodes: Vec<Node>, constants: &[(&str, &[f32])]) -> Graph {
        let y = TensorSpec { name: "y".into(), element: ElementType::F32, shape: vec![] };
        let tensor = |values: &[f32]| {
            let shape = if values.len() == 1 { vec![] } else { vec![values.len()] };
            Tensor::from_f32(shape, values.to_vec()).unwrap()
        };
        let initializers = constants.iter().map(|(name, values)| ((*name).to_owned(), tensor(values))).collect();
        Graph { nodes, outputs: vec![y], initializers, ..Graph::default() }
    }

    fn operators(graph: &Graph) -> Vec<&str> {
        graph.nodes.iter().map(|node| node.operator.as_str()).collect()
    }

    #[test]
    fn gelu_in_either_order_of_its_factors() {
        let head = || {
            vec![
                Node::new("Div", &["x", "root"], &["d"]),
                Node::new("Erf", &["d"], &["e"]),
                Node::new("Add", &["e", "one"], &["a"]),
            ]
        };
        let constants: [(&str, &[f32]); 3] = [("root", &[std::f32::consts::SQRT_2]), ("one", &[1.0]), ("half", &[0.5])];
        let tails = [
            vec![Node::new("Mul", &["x", "a"], &["m"]), Node::new("Mul", &["m", "half"], &["y"])],
            vec![Node::new("Mul", &["x", "half"], &["m"]), Node::new("Mul", &["m", "a"], &["y"])],
            vec![Node::new("Mul", &["half", "a"], &["m"]), Node::new("Mul", &["x", "m"], &["y"])],
        ];
        for tail in tails {
            let mut gelu = graph([head(), tail].concat(), &constants);
            rewrite(&mut gelu);
            assert_eq!(operators(&gelu), ["Gelu"]);
            assert_eq!((gelu.nodes[0].input(0), gelu.nodes[0].output(0)), (Some("x"), Some("y")));
        }
        let other = [("root", &[1.5][..]), constants[1], constants[2]];
        let tail = vec![Node::new("Mul", &["x", "a"], &["m"]), Node::new("Mul", &["m", "half"], &["y"])];
        let mut none = graph([head(), tail].concat(), &other);
        rewrite(&mut none);
        assert_eq!(none.nodes.len(), 5);
    }

    #[test]
    fn layer_normalization_with_and_without_bias() {
        let mean =
            |from: &str, to: &str| Node::new("ReduceMean", &[from], &[to]).with("axes", Attribute::Ints(vec![-1]));
        let nodes = |scaled: &str| {
            vec![
                mean("x", "m"),
                Node::new("Sub", &["x", "m"], &["d"]),
                Node::new("Pow", &["d", "two"], &["p"]),
                mean("p", "v"),
                Node::new("Add", &["v", "epsilon"], &["s"]),
                Node::new("Sqrt", &["s"], &["r"]),
                Node::new("Div", &["d", "r"], &["n"]),
                Node::new("Mul", &["n", "scale"], &[scaled]),
            ]
        };
        let constants: [(&str, &[f32]); 4] =
            [("two", &[2.0]), ("epsilon", &[1e-6]), ("scale", &[1.0, 2.0]), ("bias", &[3.0, 4.0])];
        let mut scaled = graph(nodes("y"), &constants);
        rewrite(&mut scaled);
        assert_eq!(operators(&scaled), ["LayerNormalization"]);
        assert_eq!(scaled.nodes[0].inputs, ["x", "scale"]);
        let biased = [nodes("w"), vec![Node::new("Add", &["w", "bias"], &["y"])]].concat();
        let mut biased = graph(biased, &constants);
        rewrite(&mut biased);
        assert_eq!(biased.nodes[0].inputs, ["x", "scale", "bias"]);
        assert_eq!(biased.nodes[0].float("epsilon", 0.0), 1e-6);
    }

    #[test]
    fn a_batch_normalization_goes_into_the_weights() {
        let nodes = vec![
            Node::new("Conv", &["x", "w"], &["c"]),
            Node::new("BatchNormalization", &["c", "scale", "shift", "mean", "variance"], &["y"])
                .with("epsilon", Attribute::Float(0.0)),
        ];
        let rows: [(&str, &[f32]); 4] =
            [("scale", &[2.0, 3.0]), ("shift", &[1.0, 0.0]), ("mean", &[4.0, 0.5]), ("variance", &[4.0, 9.0])];
        let mut norm = graph(nodes, &rows);
        norm.initializers.insert("w".into(), Tensor::from_f32(vec![2, 1, 1, 1], vec![1.0, 5.0]).unwrap());
        rewrite(&mut norm);
        assert_eq!(operators(&norm), ["Conv"]);
        let constant = |position: usize| norm.initializers[norm.nodes[0].input(position).unwrap()].as_f32().unwrap();
        assert_eq!((constant(1), constant(2)), (&[1.0, 5.0][..], &[-3.0, -0.5][..]));
    }
}
