//! Quantized operators written as what they mean.
//!
//! ONNX's QLinearConv and ONNX Runtime's QLinearAdd and the like are each a dequantization, a plain operator and a
//! quantization. Rewritten so, they have one front end here, shapes that can be inferred, and, where no kernel takes
//! them, an engine that need not know them.

use std::collections::BTreeSet;

use runtime_graph::{Attribute, Graph, Node};
use runtime_tensor::Tensor;

/// A tensor of a quantized operator: positions of its data, scale and zero point.
type Triple = [usize; 3];

/// How one quantized operator is written.
struct Form {
    /// Operator set.
    domain: &'static str,
    name: &'static str,
    /// The plain operator.
    plain: &'static str,
    /// Data inputs, in the plain operator's order.
    inputs: &'static [Triple],
    /// Which data input is weights, and the axis of its channels.
    weights: Option<(usize, WeightAxis)>,
    /// Position of a 32-bit bias.
    bias: Option<usize>,
    /// Position of the output's scale; its zero point is next.
    output: usize,
}

#[derive(Clone, Copy)]
enum WeightAxis {
    First,
    Last,
    /// The first when `transB` is set.
    ByTransposition,
}

const ONNX: &str = "";
const MICROSOFT: &str = "com.microsoft";
const ONE: &[Triple] = &[[0, 1, 2]];
const TWO: &[Triple] = &[[0, 1, 2], [3, 4, 5]];

const FORMS: [Form; 10] = [
    Form {
        domain: ONNX,
        name: "QLinearConv",
        plain: "Conv",
        inputs: TWO,
        weights: Some((1, WeightAxis::First)),
        bias: Some(8),
        output: 6,
    },
    Form {
        domain: ONNX,
        name: "QLinearMatMul",
        plain: "MatMul",
        inputs: TWO,
        weights: Some((1, WeightAxis::Last)),
        bias: None,
        output: 6,
    },
    Form {
        domain: MICROSOFT,
        name: "QGemm",
        plain: "Gemm",
        inputs: TWO,
        weights: Some((1, WeightAxis::ByTransposition)),
        bias: Some(6),
        output: 7,
    },
    Form { domain: MICROSOFT, name: "QLinearAdd", plain: "Add", inputs: TWO, weights: None, bias: None, output: 6 },
    Form { domain: MICROSOFT, name: "QLinearMul", plain: "Mul", inputs: TWO, weights: None, bias: None, output: 6 },
    Form {
        domain: MICROSOFT,
        name: "QLinearAveragePool",
        plain: "AveragePool",
        inputs: ONE,
        weights: None,
        bias: None,
        output: 3,
    },
    Form {
        domain: MICROSOFT,
        name: "QLinearGlobalAveragePool",
        plain: "GlobalAveragePool",
        inputs: ONE,
        weights: None,
        bias: None,
        output: 3,
    },
    Form {
        domain: MICROSOFT,
        name: "QLinearSigmoid",
        plain: "Sigmoid",
        inputs: ONE,
        weights: None,
        bias: None,
        output: 3,
    },
    Form {
        domain: MICROSOFT,
        name: "QLinearLeakyRelu",
        plain: "LeakyRelu",
        inputs: ONE,
        weights: None,
        bias: None,
        output: 3,
    },
    Form {
        domain: MICROSOFT,
        name: "QLinearSoftmax",
        plain: "Softmax",
        inputs: ONE,
        weights: None,
        bias: None,
        output: 3,
    },
];

/// Whether `graph` has an operator that [`expand`] rewrites.
pub(crate) fn has_quantized_operators(graph: &Graph) -> bool {
    graph.nodes.iter().any(|node| form_of(node).is_some() || is_concat(node))
}

fn form_of(node: &Node) -> Option<&'static Form> {
    let domain = if node.is_standard() { ONNX } else { node.domain.as_str() };
    let form = FORMS.iter().find(|form| form.domain == domain && form.name == node.operator)?;
    // Another layout than ONNX's: left as it is, and left out by name.
    (node.int("channels_last", 0) == 0).then_some(form)
}

fn is_concat(node: &Node) -> bool {
    node.domain == MICROSOFT && node.operator == "QLinearConcat"
}

/// Rewrites every quantized operator that it knows; what does not have the expected inputs stays as it is.
pub(crate) fn expand(graph: &mut Graph) {
    let mut names = Names::of(graph);
    let mut nodes = Vec::with_capacity(graph.nodes.len() * 4);
    for node in std::mem::take(&mut graph.nodes) {
        let mut writer = Writer { graph: &mut *graph, names: &mut names, node: &node, written: Vec::new() };
        let done = match form_of(&node) {
            Some(form) => writer.write(form),
            None if is_concat(&node) => writer.write_concat(),
            None => None,
        };
        match done {
            Some(()) => nodes.append(&mut writer.written),
            None => nodes.push(node),
        }
    }
    graph.nodes = nodes;
}

/// Value names that are free.
struct Names {
    taken: BTreeSet<String>,
    next: u64,
}

impl Names {
    fn of(graph: &Graph) -> Self {
        let values = graph.nodes.iter().flat_map(|node| node.outputs.iter().map(String::as_str).chain(node.reads()));
        let specs = graph.inputs.iter().chain(&graph.outputs).map(|spec| spec.name.as_str());
        let all = values.chain(specs).chain(graph.initializers.keys().map(String::as_str));
        Self { taken: all.map(str::to_owned).collect(), next: 0 }
    }

    fn fresh(&mut self) -> String {
        loop {
            self.next += 1;
            let name = format!("expanded_{}", self.next);
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

struct Writer<'a> {
    graph: &'a mut Graph,
    names: &'a mut Names,
    node: &'a Node,
    written: Vec<Node>,
}

impl Writer<'_> {
    fn write(&mut self, form: &Form) -> Option<()> {
        let mut inputs = Vec::new();
        for (position, triple) in form.inputs.iter().enumerate() {
            let axis = match form.weights {
                Some((weights, axis)) if weights == position => self.axis(axis, triple[0]),
                _ => None,
            };
            inputs.push(self.dequantized(*triple, axis)?);
        }
        if let Some(bias) = form.bias.filter(|&bias| self.node.input(bias).is_some()) {
            inputs.push(self.dequantized_bias(bias)?);
        }
        let plain = self.plain(form.plain, inputs)?;
        let Some(scale) = self.node.input(form.output).map(str::to_owned) else {
            // QGemm without an output scale is float.
            self.written.last_mut()?.outputs = self.node.outputs.clone();
            return Some(());
        };
        self.quantized(&plain, &scale, form.output + 1);
        Some(())
    }

    fn write_concat(&mut self) -> Option<()> {
        let count = self.node.inputs.len().checked_sub(2).filter(|rest| rest % 3 == 0)? / 3;
        let triples = (0..count).map(|part| [2 + 3 * part, 3 + 3 * part, 4 + 3 * part]);
        let inputs = triples.map(|triple| self.dequantized(triple, None)).collect::<Option<Vec<_>>>()?;
        let plain = self.plain("Concat", inputs)?;
        let scale = self.node.input(0)?.to_owned();
        self.quantized(&plain, &scale, 1);
        Some(())
    }

    /// The axis of a weight tensor's channels; `None` for weights that are known at run time only.
    fn axis(&self, axis: WeightAxis, weights: usize) -> Option<i64> {
        let rank = self.graph.initializers.get(self.node.input(weights)?)?.shape().len() as i64;
        Some(match axis {
            WeightAxis::First => 0,
            WeightAxis::Last => rank - 1,
            WeightAxis::ByTransposition if self.node.int("transB", 0) != 0 => 0,
            WeightAxis::ByTransposition => 1,
        })
    }

    fn dequantized(&mut self, [data, scale, zero_point]: Triple, axis: Option<i64>) -> Option<String> {
        let output = self.names.fresh();
        let mut inputs = vec![self.node.input(data)?, self.node.input(scale)?];
        inputs.extend(self.node.input(zero_point));
        let node = Node::new("DequantizeLinear", &inputs, &[&output]);
        let per_channel = self.graph.initializers.get(inputs[1]).is_some_and(|scales| scales.len() > 1);
        self.written.push(match axis {
            Some(axis) if per_channel => node.with("axis", Attribute::Int(axis)),
            _ => node,
        });
        Some(output)
    }

    /// The bias, whose scale is input scale times weight scale: both must be constants.
    fn dequantized_bias(&mut self, bias: usize) -> Option<String> {
        let scales = |position: usize| {
            self.graph.initializers.get(self.node.input(position)?)?.as_f32().ok().map(<[f32]>::to_vec)
        };
        let (x_scales, weight_scales) = (scales(1)?, scales(4)?);
        let [x_scale] = x_scales[..] else { return None };
        let products: Vec<f32> = weight_scales.iter().map(|scale| x_scale * scale).collect();
        let shape = if products.len() == 1 { vec![] } else { vec![products.len()] };
        let (scale, output) = (self.names.fresh(), self.names.fresh());
        self.graph.initializers.insert(scale.clone(), Tensor::from_f32(shape, products).ok()?);
        let node = Node::new("DequantizeLinear", &[self.node.input(bias)?, &scale], &[&output]);
        self.written.push(node.with("axis", Attribute::Int(0)));
        Some(output)
    }

    fn plain(&mut self, operator: &str, inputs: Vec<String>) -> Option<String> {
        let output = self.names.fresh();
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let mut node = Node::new(operator, &inputs, &[&output]);
        node.name = self.node.label();
        node.attributes = self.node.attributes.clone();
        node.attributes.remove("channels_last");
        node.attributes.remove("opset");
        self.written.push(node);
        Some(output)
    }

    fn quantized(&mut self, value: &str, scale: &str, zero_point: usize) {
        let mut inputs = vec![value, scale];
        inputs.extend(self.node.input(zero_point));
        let outputs: Vec<&str> = self.node.outputs.iter().map(String::as_str).collect();
        self.written.push(Node::new("QuantizeLinear", &inputs, &outputs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(graph: &Graph) -> Vec<String> {
        let line = |node: &Node| format!("{} <- {}({})", node.outputs.join(" "), node.operator, node.inputs.join(" "));
        graph.nodes.iter().map(line).collect()
    }

    fn microsoft(operator: &str, inputs: &[&str]) -> Node {
        Node { domain: MICROSOFT.into(), ..Node::new(operator, inputs, &["y"]) }
    }

    #[test]
    fn an_operator_becomes_its_meaning() {
        let scales = Tensor::from_f32(vec![2], vec![0.5, 0.25]).unwrap();
        let weights = Tensor::from_i8(vec![2, 1, 1, 1], vec![1, 2]).unwrap();
        let mut graph = Graph::default();
        graph.initializers.insert("ws".into(), scales);
        graph.initializers.insert("xs".into(), Tensor::from_f32(vec![], vec![2.0]).unwrap());
        graph.initializers.insert("w".into(), weights);
        graph.nodes.push(Node::new("QLinearConv", &["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"], &["y"]));
        assert!(has_quantized_operators(&graph));
        expand(&mut graph);
        assert_eq!(
            text(&graph),
            [
                "expanded_1 <- DequantizeLinear(x xs xz)",
                "expanded_2 <- DequantizeLinear(w ws wz)",
                "expanded_4 <- DequantizeLinear(b expanded_3)",
                "expanded_5 <- Conv(expanded_1 expanded_2 expanded_4)",
                "y <- QuantizeLinear(expanded_5 ys yz)",
            ]
        );
        assert_eq!(graph.initializers["expanded_3"].as_f32().unwrap(), [1.0, 0.5]);
        assert_eq!(graph.nodes[1].int("axis", 1), 0);
        assert!(!has_quantized_operators(&graph));
    }

    #[test]
    fn two_activations_need_no_axis() {
        let mut graph = Graph::default();
        graph.nodes.push(Node::new("QLinearMatMul", &["a", "as", "az", "b", "bs", "bz", "ys", "yz"], &["y"]));
        expand(&mut graph);
        assert_eq!(
            text(&graph),
            [
                "expanded_1 <- DequantizeLinear(a as az)",
                "expanded_2 <- DequantizeLinear(b bs bz)",
                "expanded_3 <- MatMul(expanded_1 expanded_2)",
                "y <- QuantizeLinear(expanded_3 ys yz)",
            ]
        );
    }

    #[test]
    fn concatenations_have_their_output_first() {
        let mut graph = Graph::default();
        graph.nodes.push(microsoft("QLinearConcat", &["ys", "yz", "a", "as", "az", "b", "bs", "bz"]));
        expand(&mut graph);
        assert_eq!(
            text(&graph)[2..],
            ["expanded_3 <- Concat(expanded_1 expanded_2)", "y <- QuantizeLinear(expanded_3 ys yz)"]
        );
    }

    #[test]
    fn what_does_not_fit_stays_as_it_is() {
        let mut graph = Graph::default();
        let channels_last = microsoft("QLinearAveragePool", &["x", "xs", "xz", "ys", "yz"]);
        graph.nodes.push(channels_last.with("channels_last", Attribute::Int(1)));
        graph.nodes.push(microsoft("QLinearConcat", &["ys", "yz", "a"]));
        graph.nodes.push(microsoft("QLinearAdd", &["a"]));
        let before = graph.clone();
        expand(&mut graph);
        assert_eq!(graph, before);
    }
}
