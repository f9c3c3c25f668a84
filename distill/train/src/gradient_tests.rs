//! Every operator's gradient against finite differences of its own forward pass.

use std::collections::BTreeMap;

use burn::backend::Autodiff;
use burn::tensor::{Tensor as BurnTensor, TensorData};
use burn_flex::Flex;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use runtime_graph::{Attribute, Graph, Model, Node};
use runtime_tensor::{Dimension, ElementType, Tensor, TensorSpec};

use crate::backend::{primitive, ranked};
use crate::network::{Mode, Network, download};
use crate::plan::Plan;

type Backend = Autodiff<Flex>;

/// Half the distance of a finite difference.
const STEP: f32 = 4e-3;
/// Elements of one parameter that are checked.
const ELEMENTS_MAX: usize = 60;

/// One operator: the graph is `x = input + start` (so that `start` sees the gradient of the input), then `node`.
struct Case {
    label: &'static str,
    node: Node,
    start: Vec<usize>,
    others: Vec<(&'static str, Tensor)>,
}

fn case(label: &'static str, node: Node, start: &[usize], others: Vec<(&'static str, Tensor)>) -> Case {
    Case { label, node, start: start.to_vec(), others }
}

/// Values at least 0.02 away from each other and 0.01 from zero, shuffled: no kink lies within a finite difference.
fn spaced(shape: &[usize], seed: u64) -> Tensor {
    let count: usize = shape.iter().product();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut values: Vec<f32> = (0..count).map(|i| (i as f32 - (count / 2) as f32 + 0.5) * 0.021).collect();
    for i in (1..count).rev() {
        values.swap(i, random.random_range(0..=i));
    }
    Tensor::from_f32(shape.to_vec(), values).unwrap()
}

fn ints(values: &[i64]) -> Attribute {
    Attribute::Ints(values.to_vec())
}

fn i64s(values: &[i64]) -> Tensor {
    Tensor::from_i64(vec![values.len()], values.to_vec()).unwrap()
}

fn scalar(value: f32) -> Tensor {
    Tensor::from_f32(vec![], vec![value]).unwrap()
}

fn build(case: &Case) -> Model {
    let fixed = |size: &usize| Dimension::Fixed(*size as u64);
    let mut initializers: BTreeMap<String, Tensor> =
        case.others.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
    initializers.insert("start".to_owned(), spaced(&case.start, 7));
    let graph = Graph {
        nodes: vec![Node::new("Add", &["input", "start"], &["x"]), case.node.clone()],
        initializers,
        inputs: vec![TensorSpec {
            name: "input".to_owned(),
            element: ElementType::F32,
            shape: case.start.iter().map(fixed).collect(),
        }],
        outputs: vec![TensorSpec { name: "y".to_owned(), element: ElementType::F32, shape: vec![] }],
        ..Graph::default()
    };
    Model::from_graph(graph, 17)
}

/// `sum(factors * y)` of the forward pass, in f64.
fn loss(network: &Network<'_, Backend>, shape: &[usize], factors: &[f32]) -> f64 {
    let x = network.upload(vec![0.0; shape.iter().product()], shape);
    let y = download::<Backend>(network.forward(x, Mode::Inference).unwrap().output);
    y.iter().zip(factors).map(|(y, f)| f64::from(*y) * f64::from(*f)).sum()
}

/// The worst disagreement of `case`, as a message, or nothing.
fn check(case: &Case) -> Result<(), String> {
    let model = build(case);
    let plan = Plan::new(&model).map_err(|error| error.to_string())?;
    let device = Default::default();
    let mut network = Network::<Backend>::new(&plan, &device).unwrap();
    let x = network.upload(vec![0.0; case.start.iter().product()], &case.start);
    let mut unused = ChaCha8Rng::seed_from_u64(0);
    let y = network.forward(x, Mode::Training(&mut unused)).map_err(|error| error.to_string())?.output;
    let count = {
        use burn::tensor::TensorMetadata as _;
        y.shape().num_elements()
    };
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let factors: Vec<f32> = (0..count).map(|_| random.random_range(-1.0..1.0)).collect();
    let flat = BurnTensor::<Backend, 1>::from_data(TensorData::new(factors.clone(), [count]), &device);
    let y = ranked::<Backend, 1>({
        use burn::tensor::Shape;
        <Backend as burn::tensor::ops::FloatTensorOps<Backend>>::float_reshape(y, Shape::from(vec![count]))
    });
    let mut gradients = (y * flat).sum().backward();
    for at in 0..network.parameters.len() {
        let name = network.parameters[at].name.clone();
        let found: Vec<f32> = match network.parameters[at].flat.grad_remove(&mut gradients) {
            Some(gradient) => gradient.into_data().into_vec().unwrap(),
            None => return Err(format!("{name} has no gradient")),
        };
        let values = download::<Backend>(primitive(network.parameters[at].flat.clone()));
        let stride = values.len().div_ceil(ELEMENTS_MAX);
        for element in (0..values.len()).step_by(stride) {
            let mut moved = |delta: f32| {
                let mut changed = values.clone();
                changed[element] += delta;
                let data = TensorData::new(changed, [values.len()]);
                network.parameters[at].flat = BurnTensor::from_data(data, &device).require_grad();
                loss(&network, &case.start, &factors)
            };
            let expected = (moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP);
            let difference = (f64::from(found[element]) - expected).abs();
            if !difference.is_finite() || difference > 4e-3 + 1e-2 * expected.abs() {
                return Err(format!("{name}[{element}]: gradient {}, finite difference {expected}", found[element]));
            }
        }
        let data = TensorData::new(values.clone(), [values.len()]);
        network.parameters[at].flat = BurnTensor::from_data(data, &device).require_grad();
    }
    Ok(())
}

fn check_all(cases: Vec<Case>) {
    let failures: Vec<String> =
        cases.iter().filter_map(|case| check(case).err().map(|error| format!("{}: {error}", case.label))).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn conv(attributes: &[(&str, Attribute)], bias: bool) -> Node {
    let inputs: &[&str] = if bias { &["x", "w", "b"] } else { &["x", "w"] };
    attributes.iter().fold(Node::new("Conv", inputs, &["y"]), |node, (name, value)| node.with(name, value.clone()))
}

#[test]
fn convolutions() {
    let weight = |shape: &[usize]| ("w", spaced(shape, 1));
    let bias = |count: usize| ("b", spaced(&[count], 2));
    check_all(vec![
        case("1x1", conv(&[], true), &[2, 3, 4, 4], vec![weight(&[2, 3, 1, 1]), bias(2)]),
        case(
            "3x3 padded",
            conv(&[("pads", ints(&[1, 1, 1, 1]))], true),
            &[9, 2, 4, 5],
            vec![weight(&[3, 2, 3, 3]), bias(3)],
        ),
        case("without bias", conv(&[], false), &[1, 2, 4, 4], vec![weight(&[2, 2, 2, 2])]),
        case(
            "strided, dilated, asymmetric",
            conv(&[("strides", ints(&[2, 1])), ("dilations", ints(&[1, 2])), ("pads", ints(&[0, 2, 1, 1]))], true),
            &[2, 2, 6, 7],
            vec![weight(&[2, 2, 3, 2]), bias(2)],
        ),
        case(
            "grouped",
            conv(&[("group", Attribute::Int(2)), ("pads", ints(&[1, 1, 1, 1]))], true),
            &[2, 4, 4, 4],
            vec![weight(&[6, 2, 3, 3]), bias(6)],
        ),
        case(
            "depthwise 3x3",
            conv(&[("group", Attribute::Int(3)), ("pads", ints(&[1, 1, 1, 1]))], true),
            &[2, 3, 5, 4],
            vec![weight(&[3, 1, 3, 3]), bias(3)],
        ),
        case(
            "depthwise, stride 2, multiplier 2",
            conv(&[("group", Attribute::Int(2)), ("strides", ints(&[2, 2])), ("pads", ints(&[0, 1, 1, 2]))], true),
            &[2, 2, 6, 5],
            vec![weight(&[4, 1, 3, 2]), bias(4)],
        ),
        case(
            "depthwise, dilated",
            conv(&[("group", Attribute::Int(2)), ("dilations", ints(&[2, 2])), ("pads", ints(&[2, 2, 2, 2]))], true),
            &[1, 2, 6, 6],
            vec![weight(&[2, 1, 3, 3]), bias(2)],
        ),
        case(
            "same padding",
            conv(&[("auto_pad", Attribute::Text("SAME_UPPER".to_owned())), ("strides", ints(&[2, 2]))], true),
            &[1, 2, 5, 6],
            vec![weight(&[2, 2, 2, 2]), bias(2)],
        ),
    ]);
}

#[test]
fn pooling() {
    let pool = |operator: &str, attributes: &[(&str, Attribute)]| {
        attributes
            .iter()
            .fold(Node::new(operator, &["x"], &["y"]), |node, (name, value)| node.with(name, value.clone()))
    };
    let kernel = |size: i64| ("kernel_shape", ints(&[size, size]));
    let stride = |size: i64| ("strides", ints(&[size, size]));
    check_all(vec![
        case("max 2x2", pool("MaxPool", &[kernel(2), stride(2)]), &[2, 2, 4, 5], vec![]),
        case(
            "max overlapping, padded",
            pool("MaxPool", &[kernel(3), stride(2), ("pads", ints(&[1, 0, 1, 1]))]),
            &[1, 2, 5, 5],
            vec![],
        ),
        case(
            "max rounded up",
            pool("MaxPool", &[kernel(2), stride(2), ("ceil_mode", Attribute::Int(1))]),
            &[1, 1, 5, 5],
            vec![],
        ),
        case("average 2x2", pool("AveragePool", &[kernel(2), stride(2)]), &[2, 2, 4, 4], vec![]),
        case(
            "average padded",
            pool("AveragePool", &[kernel(3), stride(2), ("pads", ints(&[1, 0, 1, 1]))]),
            &[1, 2, 5, 5],
            vec![],
        ),
        case(
            "average with counted padding",
            pool(
                "AveragePool",
                &[kernel(3), stride(2), ("pads", ints(&[1, 1, 1, 1])), ("count_include_pad", Attribute::Int(1))],
            ),
            &[1, 2, 5, 5],
            vec![],
        ),
        case("global average", pool("GlobalAveragePool", &[]), &[2, 3, 4, 3], vec![]),
    ]);
}

#[test]
fn elementwise() {
    let node = |operator: &str| Node::new(operator, &["x"], &["y"]);
    let two = |operator: &str| Node::new(operator, &["x", "o"], &["y"]);
    check_all(vec![
        case("relu", node("Relu"), &[3, 7], vec![]),
        case("sigmoid", node("Sigmoid"), &[3, 7], vec![]),
        case("tanh", node("Tanh"), &[3, 7], vec![]),
        case("hard swish", node("HardSwish"), &[3, 7], vec![]),
        case("identity", node("Identity"), &[3, 7], vec![]),
        case(
            "clip",
            Node::new("Clip", &["x", "lo", "hi"], &["y"]),
            &[4, 9],
            vec![("lo", scalar(-0.1)), ("hi", scalar(0.21))],
        ),
        case("add, broadcast", two("Add"), &[2, 3, 4], vec![("o", spaced(&[3, 1], 3))]),
        case("sub, same shape", two("Sub"), &[2, 6], vec![("o", spaced(&[2, 6], 3))]),
        case("sub from", Node::new("Sub", &["o", "x"], &["y"]), &[2, 6], vec![("o", spaced(&[6], 3))]),
        case("mul, broadcast", two("Mul"), &[2, 3, 2, 2], vec![("o", spaced(&[1, 3, 1, 1], 3))]),
        case("softmax", node("Softmax"), &[3, 5], vec![]),
        case("softmax over channels", node("Softmax").with("axis", Attribute::Int(1)), &[2, 3, 4], vec![]),
        case("dropout of nothing", Node::new("Dropout", &["x", "r"], &["y"]), &[3, 5], vec![("r", scalar(0.0))]),
    ]);
}

#[test]
fn matrices() {
    let flag = |name: &'static str| (name, Attribute::Int(1));
    let gemm = |attributes: &[(&str, Attribute)]| {
        attributes
            .iter()
            .fold(Node::new("Gemm", &["x", "w", "c"], &["y"]), |node, (name, value)| node.with(name, value.clone()))
    };
    let scales = [("alpha", Attribute::Float(0.5)), ("beta", Attribute::Float(2.0))];
    check_all(vec![
        case("gemm", gemm(&[]), &[4, 3], vec![("w", spaced(&[3, 5], 3)), ("c", spaced(&[5], 4))]),
        case(
            "gemm transposed",
            gemm(&[flag("transB")]),
            &[4, 3],
            vec![("w", spaced(&[5, 3], 3)), ("c", spaced(&[1, 5], 4))],
        ),
        case(
            "gemm both, scaled",
            gemm(&[&scales[..], &[flag("transA"), flag("transB")]].concat()),
            &[3, 4],
            vec![("w", spaced(&[5, 3], 3)), ("c", spaced(&[4, 5], 4))],
        ),
        case("matmul", Node::new("MatMul", &["x", "w"], &["y"]), &[4, 3], vec![("w", spaced(&[3, 2], 3))]),
        case(
            "matmul of a stack",
            Node::new("MatMul", &["x", "w"], &["y"]),
            &[2, 4, 3],
            vec![("w", spaced(&[3, 2], 3))],
        ),
        case(
            "matmul of two stacks",
            Node::new("MatMul", &["x", "w"], &["y"]),
            &[2, 4, 3],
            vec![("w", spaced(&[2, 3, 2], 3))],
        ),
    ]);
}

#[test]
fn shapes_and_normalization() {
    let norm = Node::new("BatchNormalization", &["x", "scale", "bias", "mean", "var"], &["y"]);
    let variance = Tensor::from_f32(vec![3], vec![0.5, 1.0, 2.0]).unwrap();
    let statistics =
        vec![("scale", spaced(&[3], 3)), ("bias", spaced(&[3], 4)), ("mean", spaced(&[3], 5)), ("var", variance)];
    check_all(vec![
        case("batch normalization", norm, &[2, 3, 2, 2], statistics),
        case("flatten", Node::new("Flatten", &["x"], &["y"]), &[2, 3, 4], vec![]),
        case("reshape", Node::new("Reshape", &["x", "s"], &["y"]), &[2, 3, 4], vec![("s", i64s(&[0, -1]))]),
        case("squeeze", Node::new("Squeeze", &["x", "a"], &["y"]), &[2, 3, 1, 1], vec![("a", i64s(&[2, 3]))]),
        case(
            "transpose",
            Node::new("Transpose", &["x"], &["y"]).with("perm", ints(&[0, 2, 3, 1])),
            &[2, 3, 2, 2],
            vec![],
        ),
        case(
            "concat",
            Node::new("Concat", &["x", "o", "x"], &["y"]).with("axis", Attribute::Int(1)),
            &[2, 3],
            vec![("o", spaced(&[2, 2], 3))],
        ),
    ]);
}

#[test]
fn a_relu_is_fused_only_where_nothing_else_reads_the_convolution() {
    let graph = |last: Node| {
        let mut model = build(&case(
            "",
            conv(&[("pads", ints(&[1, 1, 1, 1]))], true),
            &[2, 2, 4, 4],
            vec![("w", spaced(&[2, 2, 3, 3], 1)), ("b", spaced(&[2], 2))],
        ));
        let graph = model.graph_mut();
        graph.nodes[1].outputs[0] = "c".to_owned();
        graph.nodes.push(Node::new("Relu", &["c"], &["r"]));
        graph.nodes.push(last);
        model
    };
    let fused = graph(Node::new("Tanh", &["r"], &["y"]));
    assert_eq!(Plan::new(&fused).unwrap().steps.len(), 3);
    let shared = graph(Node::new("Add", &["r", "c"], &["y"]));
    assert_eq!(Plan::new(&shared).unwrap().steps.len(), 4);
}

#[test]
fn a_fused_relu_has_the_gradient_of_both() {
    let start = [3, 2, 4, 4];
    let others = || vec![("w", spaced(&[2, 2, 3, 3], 1)), ("b", spaced(&[2], 2))];
    let convolution = conv(&[("pads", ints(&[1, 1, 1, 1]))], true);
    let gradients = |extra: &[Node]| {
        let mut model = build(&case("", convolution.clone(), &start, others()));
        let graph = model.graph_mut();
        graph.nodes[1].outputs[0] = "c".to_owned();
        graph.nodes.extend(extra.iter().cloned());
        let plan = Plan::new(&model).unwrap();
        let network = Network::<Backend>::new(&plan, &Default::default()).unwrap();
        let x = network.upload(vec![0.0; start.iter().product()], &start);
        let mut unused = ChaCha8Rng::seed_from_u64(0);
        let y = network.forward(x, Mode::Training(&mut unused)).unwrap().output;
        let y = ranked::<Backend, 4>(y);
        let mut gradients = (y.clone() * y).sum().backward();
        network
            .parameters
            .iter()
            .map(|leaf| leaf.flat.grad_remove(&mut gradients).unwrap().into_data().into_vec::<f32>().unwrap())
            .collect::<Vec<_>>()
    };
    let fused = gradients(&[Node::new("Relu", &["c"], &["y"])]);
    // Identity in between keeps the two apart.
    let apart = gradients(&[Node::new("Identity", &["c"], &["i"]), Node::new("Relu", &["i"], &["y"])]);
    assert_eq!(fused, apart);
}
