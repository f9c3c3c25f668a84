use std::collections::BTreeMap;

use runtime_graph::{Attribute, Graph, GraphError, Node, infer_shapes, macs};
use runtime_tensor::{ElementType, Tensor};

use crate::samples::{float_tensor, int_tensor, ints, spec};

/// One node, what goes in, what comes out; `"!text"` is an error that says the text.
struct Row {
    node: Node,
    inputs: &'static [&'static str],
    constants: Vec<(&'static str, Tensor)>,
    expected: &'static [&'static str],
}

fn row(node: Node, inputs: &'static [&'static str], expected: &'static [&'static str]) -> Row {
    Row { node, inputs, constants: Vec::new(), expected }
}

impl Row {
    fn with(mut self, name: &'static str, tensor: Tensor) -> Self {
        self.constants.push((name, tensor));
        self
    }

    /// The inputs are called a, b, c.. in order.
    fn found(&self, opset: i64) -> Vec<String> {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let graph = Graph {
            nodes: vec![self.node.clone()],
            inputs: self.inputs.iter().zip(names).map(|(text, name)| spec(name, text)).collect(),
            initializers: self.constants.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect(),
            ..Graph::default()
        };
        match infer_shapes(&graph, opset, &BTreeMap::new()) {
            Ok(found) => self.node.outputs.iter().map(|name| format!("{}", found[name])).collect(),
            Err(error) => vec![error.to_string()],
        }
    }

    fn check(&self, opset: i64) -> Option<String> {
        let found = self.found(opset);
        let fits = |(found, expected): (&String, &&str)| match expected.strip_prefix('!') {
            Some(part) => found.contains(part),
            None => found == expected,
        };
        let right = found.len() == self.expected.len() && found.iter().zip(self.expected).all(fits);
        (!right).then(|| format!("{} {:?}: {found:?} instead of {:?}", self.node.operator, self.inputs, self.expected))
    }
}

fn check(opset: i64, rows: &[Row]) {
    let wrong: Vec<String> = rows.iter().filter_map(|row| row.check(opset)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn node(operator: &str, inputs: &[&str]) -> Node {
    Node::new(operator, inputs, &["y"])
}

#[test]
fn elementwise() {
    check(
        17,
        &[
            row(node("Relu", &["a"]), &["f32 N 3"], &["y: f32[N, 3]"]),
            row(node("Add", &["a", "b"]), &["f32 N 3", "f32 3"], &["y: f32[N, 3]"]),
            row(node("Mul", &["a", "b"]), &["f32 N 1", "f32 1 M"], &["y: f32[N, M]"]),
            row(node("Sub", &["a", "b"]), &["f32 N", "f32 M"], &["y: f32[y.0]"]),
            row(node("Div", &["a", "b"]), &["f32 N", "f32 4"], &["y: f32[4]"]),
            row(node("Add", &["a", "b"]), &["f32 2 3", "f32 2"], &["!sizes 3 and 2 do not spread"]),
            row(node("Add", &["a", "b"]), &["f32 2", "i64 2"], &["!elements of type i64"]),
            row(node("Equal", &["a", "b"]), &["f32 2 1", "f32 3"], &["y: bool[2, 3]"]),
            row(node("Where", &["a", "b", "c"]), &["bool N 1", "f32 4", "f32"], &["y: f32[N, 4]"]),
            row(node("Max", &["a", "b", "c"]), &["f32 2 1", "f32 3", "f32"], &["y: f32[2, 3]"]),
            row(node("Pow", &["a", "b"]), &["f32 N 3", "i64"], &["y: f32[N, 3]"]),
            row(node("Cast", &["a"]).with("to", Attribute::Int(7)), &["f32 N"], &["y: i64[N]"]),
            row(node("Cast", &["a"]).with("to", Attribute::Int(8)), &["f32 N"], &["!data type 8"]),
            row(node("Softmax", &["a"]).with("axis", Attribute::Int(2)), &["f32 N 3"], &["!axis 2 is outside of 2"]),
            row(
                node("BatchNormalization", &["a", "b", "b", "b", "b"]),
                &["f32 N 3 4 4", "f32 3"],
                &["y: f32[N, 3, 4, 4]"],
            ),
            row(node("BatchNormalization", &["a", "b", "b", "b", "b"]), &["f32 N 3", "f32 4"], &["!4 entries for 3"]),
            row(
                Node::new("LayerNormalization", &["a", "b"], &["y", "m", "d"]),
                &["f32 N 5 8", "f32 8"],
                &["y: f32[N, 5, 8]", "m: f32[N, 5, 1]", "d: f32[N, 5, 1]"],
            ),
            row(Node::new("Dropout", &["a"], &["y", "m"]), &["f32 N"], &["y: f32[N]", "m: bool[N]"]),
            row(node("Relu", &[""]), &[], &["!input 0 is missing"]),
        ],
    );
}

#[test]
fn windows() {
    let conv = || node("Conv", &["a", "b"]);
    let pool = |kernel: &[i64]| node("MaxPool", &["a"]).with("kernel_shape", ints(kernel));
    let same = || Attribute::Text("SAME_UPPER".to_owned());
    check(
        17,
        &[
            row(conv(), &["f32 N 3 8 8", "f32 4 3 3 3"], &["y: f32[N, 4, 6, 6]"]),
            row(
                conv().with("pads", ints(&[1, 1, 1, 1])).with("strides", ints(&[2, 2])),
                &["f32 N 3 8 8", "f32 4 3 3 3"],
                &["y: f32[N, 4, 4, 4]"],
            ),
            row(conv().with("dilations", ints(&[2, 1])), &["f32 1 3 8 8", "f32 4 3 3 3"], &["y: f32[1, 4, 4, 6]"]),
            row(conv().with("group", Attribute::Int(3)), &["f32 1 3 8 8", "f32 6 1 3 3"], &["y: f32[1, 6, 6, 6]"]),
            row(conv().with("auto_pad", same()), &["f32 1 3 7 H", "f32 4 3 3 3"], &["y: f32[1, 4, 7, H]"]),
            row(conv().with("pads", ints(&[1, 1, 1, 1])), &["f32 1 3 H W", "f32 4 3 3 3"], &["y: f32[1, 4, H, W]"]),
            row(conv(), &["f32 1 3 H 8", "f32 4 3 3 3"], &["y: f32[1, 4, y.2, 6]"]),
            row(conv(), &["f32 1 3 9", "f32 4 3 3"], &["y: f32[1, 4, 7]"]),
            row(conv(), &["f32 1 4 8 8", "f32 4 3 3 3"], &["!the data has 4 channels, the weights are for 3"]),
            row(conv(), &["f32 1 3 2 8", "f32 4 3 3 3"], &["!reaches over 2 + 1 places"]),
            row(conv().with("strides", ints(&[0, 1])), &["f32 1 3 8 8", "f32 4 3 3 3"], &["!strides [0, 1]"]),
            row(conv().with("pads", ints(&[-1, 0, 0, 0])), &["f32 1 3 8 8", "f32 4 3 3 3"], &["!pads [-1"]),
            row(conv().with("group", Attribute::Int(0)), &["f32 1 3 8 8", "f32 4 3 3 3"], &["!weights are for 0"]),
            row(node("ConvInteger", &["a", "b"]), &["u8 1 3 8 8", "u8 4 3 3 3"], &["y: i32[1, 4, 6, 6]"]),
            row(
                node("QLinearConv", &["a", "c", "d", "b", "e", "d", "c", "d"]),
                &["u8 1 3 8 8", "i8 4 3 3 3", "f32", "u8", "f32 4"],
                &["y: u8[1, 4, 6, 6]"],
            ),
            row(pool(&[2, 2]).with("strides", ints(&[2, 2])), &["f32 N 3 9 8"], &["y: f32[N, 3, 4, 4]"]),
            row(
                pool(&[2, 2]).with("strides", ints(&[2, 2])).with("ceil_mode", Attribute::Int(1)),
                &["f32 N 3 9 8"],
                &["y: f32[N, 3, 5, 4]"],
            ),
            // The last window would begin in the padding behind the data.
            row(
                pool(&[1, 1])
                    .with("strides", ints(&[2, 2]))
                    .with("pads", ints(&[0, 0, 1, 1]))
                    .with("ceil_mode", Attribute::Int(1)),
                &["f32 1 1 2 2"],
                &["y: f32[1, 1, 1, 1]"],
            ),
            row(
                Node::new("MaxPool", &["a"], &["y", "i"]).with("kernel_shape", ints(&[2])),
                &["f32 1 1 4"],
                &["y: f32[1, 1, 3]", "i: i64[1, 1, 3]"],
            ),
            row(pool(&[2]), &["f32 N 3 9 8"], &["!a kernel of 1 axes"]),
            row(node("MaxPool", &["a"]), &["f32 N 3 9 8"], &["!kernel_shape is missing"]),
            row(node("GlobalAveragePool", &["a"]), &["f32 N 3 H W"], &["y: f32[N, 3, 1, 1]"]),
        ],
    );
}

#[test]
fn linear() {
    let gemm = || node("Gemm", &["a", "b", "c"]);
    check(
        17,
        &[
            row(gemm(), &["f32 N 8", "f32 8 3", "f32 3"], &["y: f32[N, 3]"]),
            row(gemm().with("transB", Attribute::Int(1)), &["f32 N 8", "f32 3 8", "f32 3"], &["y: f32[N, 3]"]),
            row(gemm().with("transA", Attribute::Int(1)), &["f32 8 N", "f32 8 3", "f32 1 3"], &["y: f32[N, 3]"]),
            row(gemm(), &["f32 N 8", "f32 7 3", "f32 3"], &["!8 on the left, 7 on the right"]),
            row(gemm(), &["f32 2 8", "f32 8 3", "f32 4"], &["!sizes 3 and 4"]),
            row(gemm(), &["f32 1 8", "f32 8 3", "f32 2 3"], &["!the bias c: f32[2, 3] does not spread"]),
            row(gemm(), &["f32 N 8 1", "f32 8 3", "f32 3"], &["!must have 2 axes"]),
            row(node("MatMul", &["a", "b"]), &["f32 N 5 8", "f32 8 3"], &["y: f32[N, 5, 3]"]),
            row(node("MatMul", &["a", "b"]), &["f32 2 1 5 8", "f32 7 8 3"], &["y: f32[2, 7, 5, 3]"]),
            row(node("MatMul", &["a", "b"]), &["f32 8", "f32 8 3"], &["y: f32[3]"]),
            row(node("MatMul", &["a", "b"]), &["f32 N 8", "f32 8"], &["y: f32[N]"]),
            row(node("MatMul", &["a", "b"]), &["f32 8", "f32 8"], &["y: f32[]"]),
            row(node("MatMul", &["a", "b"]), &["f32", "f32 8"], &["!a scalar is no matrix"]),
            row(node("MatMulInteger", &["a", "b"]), &["u8 N 8", "i8 8 3"], &["y: i32[N, 3]"]),
            row(
                node("QLinearMatMul", &["a", "c", "d", "b", "c", "d", "c", "d"]),
                &["u8 N 8", "i8 8 3", "f32", "u8"],
                &["y: u8[N, 3]"],
            ),
            row(node("QuantizeLinear", &["a", "b", "c"]), &["f32 N 8", "f32", "i8"], &["y: i8[N, 8]"]),
            row(node("QuantizeLinear", &["a", "b"]), &["f32 N 8", "f32"], &["y: u8[N, 8]"]),
            row(node("DequantizeLinear", &["a", "b"]), &["i8 4 8", "f32 4"], &["!4 scales for the 8 slices of axis 1"]),
            row(
                node("DequantizeLinear", &["a", "b", "c"]).with("axis", Attribute::Int(0)),
                &["i8 4 8", "f32 4", "i8 4"],
                &["y: f32[4, 8]"],
            ),
            row(node("DequantizeLinear", &["a", "b", "c"]), &["i8 4 8", "f32 8", "i8"], &["!have different shapes"]),
            row(
                Node::new("DynamicQuantizeLinear", &["a"], &["y", "s", "z"]),
                &["f32 N 8"],
                &["y: u8[N, 8]", "s: f32[]", "z: u8[]"],
            ),
        ],
    );
}

#[test]
fn movement() {
    let reshape =
        |target: &[i64]| row(node("Reshape", &["a", "t"]), &["f32 N 3 4 4"], &[]).with("t", int_tensor(target));
    let expect = |row: Row, expected: &'static [&'static str]| Row { expected, ..row };
    let axis = |node: Node, axis: i64| node.with("axis", Attribute::Int(axis));
    check(
        17,
        &[
            row(node("Flatten", &["a"]), &["f32 N 3 4 4"], &["y: f32[N, 48]"]),
            row(axis(node("Flatten", &["a"]), 0), &["f32 1 3 H"], &["y: f32[1, y.1]"]),
            row(axis(node("Flatten", &["a"]), 3), &["f32 2 3 4"], &["y: f32[24, 1]"]),
            expect(reshape(&[0, -1]), &["y: f32[N, 48]"]),
            expect(reshape(&[-1, 48]), &["y: f32[N, 48]"]),
            expect(reshape(&[-1, 24]), &["y: f32[y.0, 24]"]),
            expect(reshape(&[0, 0, 16]), &["y: f32[N, 3, 16]"]),
            expect(reshape(&[-1, -1]), &["!two sizes of -1"]),
            expect(reshape(&[-2]), &["!the size -2"]),
            row(node("Reshape", &["a", "t"]), &["f32 2 3"], &["!6 elements, the target 5"]).with("t", int_tensor(&[5])),
            row(node("Reshape", &["a", "t"]), &["f32 2 3"], &["!do not divide by 4"]).with("t", int_tensor(&[4, -1])),
            row(node("Reshape", &["a", "b"]), &["f32 N 3", "i64 2"], &["y: f32[y.0, y.1]"]),
            row(node("Transpose", &["a"]), &["f32 N 3 4"], &["y: f32[4, 3, N]"]),
            row(node("Transpose", &["a"]).with("perm", ints(&[0, 2, 1])), &["f32 N 3 4"], &["y: f32[N, 4, 3]"]),
            row(node("Transpose", &["a"]).with("perm", ints(&[0, 0, 1])), &["f32 N 3 4"], &["!each of 3 axes once"]),
            row(node("Squeeze", &["a", "t"]), &["f32 N 1 4 1"], &["y: f32[N, 4]"]).with("t", int_tensor(&[1, -1])),
            row(node("Squeeze", &["a", "t"]), &["f32 N 2"], &["!axis 1 of a: f32[N, 2] is not 1"])
                .with("t", int_tensor(&[1])),
            row(node("Squeeze", &["a"]), &["f32 2 1 4 1"], &["y: f32[2, 4]"]),
            row(node("Unsqueeze", &["a", "t"]), &["f32 N 4"], &["y: f32[1, N, 4, 1]"]).with("t", int_tensor(&[0, -1])),
            row(node("Unsqueeze", &["a", "t"]), &["f32 N"], &["!a place twice"]).with("t", int_tensor(&[0, 0])),
            row(axis(node("Concat", &["a", "b"]), 1), &["f32 N 3 4", "f32 N 5 4"], &["y: f32[N, 8, 4]"]),
            row(axis(node("Concat", &["a", "b"]), 0), &["f32 N 3", "f32 2 3"], &["y: f32[y.0, 3]"]),
            row(axis(node("Concat", &["a", "b"]), 1), &["f32 2 3", "f32 4 3"], &["!axis 0 is 4 in input 1"]),
            row(node("Gather", &["a", "b"]), &["f32 100 8", "i64 N 5"], &["y: f32[N, 5, 8]"]),
            row(axis(node("Gather", &["a", "b"]), 1), &["f32 N 8", "i64"], &["y: f32[N]"]),
            row(node("Shape", &["a"]), &["f32 N 3 4"], &["y: i64[3]"]),
            row(node("Shape", &["a"]).with("start", Attribute::Int(-2)), &["f32 N 3 4"], &["y: i64[2]"]),
            row(node("Expand", &["a", "t"]), &["f32 3 1"], &["y: f32[2, 3, 4]"]).with("t", int_tensor(&[2, 1, 4])),
            row(node("Tile", &["a", "t"]), &["f32 3 N"], &["y: f32[6, N]"]).with("t", int_tensor(&[2, 1])),
            row(axis(Node::new("Split", &["a"], &["y", "z"]), 1), &["f32 N 5"], &["y: f32[N, 3]", "z: f32[N, 2]"]),
            row(axis(Node::new("Split", &["a", "t"], &["y", "z"]), 1), &["f32 N 5"], &["y: f32[N, 1]", "z: f32[N, 4]"])
                .with("t", int_tensor(&[1, 4])),
            row(axis(Node::new("Split", &["a", "t"], &["y", "z"]), 1), &["f32 N 5"], &["!do not make 2 outputs"])
                .with("t", int_tensor(&[1, 3])),
            row(node("ConstantOfShape", &["t"]), &[], &["y: f32[2, 3]"]).with("t", int_tensor(&[2, 3])),
            row(node("Constant", &[]).with("value", Attribute::Tensor(float_tensor(&[2, 3]))), &[], &["y: f32[2, 3]"]),
            row(node("Constant", &[]).with("value_ints", ints(&[1, 2])), &[], &["y: i64[2]"]),
        ],
    );
}

#[test]
fn slicing_padding_scaling_reducing() {
    let slice = |start: i64, end: i64, step: i64, expected: &'static [&'static str]| {
        row(node("Slice", &["a", "s", "e", "x", "t"]), &["f32 N 10"], expected)
            .with("s", int_tensor(&[start]))
            .with("e", int_tensor(&[end]))
            .with("x", int_tensor(&[1]))
            .with("t", int_tensor(&[step]))
    };
    let axes =
        |node: Node, axes: &[i64], keep: i64| node.with("axes", ints(axes)).with("keepdims", Attribute::Int(keep));
    check(
        17,
        &[
            slice(2, 8, 1, &["y: f32[N, 6]"]),
            slice(0, i64::MAX, 3, &["y: f32[N, 4]"]),
            slice(-3, i64::MAX, 1, &["y: f32[N, 3]"]),
            slice(-1, i64::MIN, -1, &["y: f32[N, 10]"]),
            slice(8, 2, 1, &["y: f32[N, 0]"]),
            slice(0, 1, 0, &["!a step of 0"]),
            row(node("Slice", &["a", "s", "e"]), &["f32 N 10"], &["y: f32[N, 10]"])
                .with("s", int_tensor(&[0]))
                .with("e", int_tensor(&[i64::MAX])),
            row(node("Pad", &["a", "p"]), &["f32 N 3"], &["y: f32[N, 6]"]).with("p", int_tensor(&[0, 1, 0, 2])),
            row(node("Pad", &["a", "p"]), &["f32 2 3"], &["!pads of -4"]).with("p", int_tensor(&[0, -4, 0, 0])),
            row(node("Resize", &["a", "", "s"]), &["f32 N 3 4 5"], &["y: f32[N, 3, 8, 12]"])
                .with("s", Tensor::from_f32(vec![4], vec![1.0, 1.0, 2.0, 2.5]).unwrap()),
            row(node("Resize", &["a", "", "", "z"]), &["f32 1 3 4 5"], &["y: f32[1, 3, 8, 8]"])
                .with("z", int_tensor(&[1, 3, 8, 8])),
            row(axes(node("ReduceMean", &["a"]), &[2, 3], 0), &["f32 N 3 4 4"], &["y: f32[N, 3]"]),
            row(axes(node("ReduceMean", &["a"]), &[-1], 1), &["f32 N 3 4"], &["y: f32[N, 3, 1]"]),
            row(node("ReduceSum", &["a", "t"]), &["f32 N 3"], &["y: f32[N, 1]"]).with("t", int_tensor(&[1])),
            row(node("ReduceMax", &["a"]).with("keepdims", Attribute::Int(0)), &["f32 N 3"], &["y: f32[]"]),
            row(node("ArgMax", &["a"]).with("axis", Attribute::Int(1)), &["f32 N 3"], &["y: i64[N, 1]"]),
            row(node("OneHot", &["a", "d", "b"]), &["i64 N", "f32 2"], &["y: f32[N, 7]"])
                .with("d", Tensor::from_i64(vec![], vec![7]).unwrap()),
            row(node("Range", &["s", "e", "t"]), &[], &["y: i64[4]"])
                .with("s", Tensor::from_i64(vec![], vec![10]).unwrap())
                .with("e", Tensor::from_i64(vec![], vec![0]).unwrap())
                .with("t", Tensor::from_i64(vec![], vec![-3]).unwrap()),
        ],
    );
}

/// How exporters flatten a batch of unknown size: Shape, Gather, Unsqueeze, Concat, Reshape.
#[test]
fn a_computed_reshape_keeps_the_symbol() {
    let mut graph = crate::samples::graph(
        "f32 N 3 4 4",
        "f32 N 48",
        vec![
            Node::new("Shape", &["x"], &["shape"]),
            Node::new("Gather", &["shape", "zero"], &["batch"]).with("axis", Attribute::Int(0)),
            Node::new("Unsqueeze", &["batch", "axes"], &["batch_1"]),
            Node::new("Concat", &["batch_1", "rest"], &["target"]).with("axis", Attribute::Int(0)),
            Node::new("Reshape", &["x", "target"], &["y"]),
        ],
    );
    graph.initializers.insert("zero".to_owned(), Tensor::from_i64(vec![], vec![0]).unwrap());
    graph.initializers.insert("axes".to_owned(), int_tensor(&[0]));
    graph.initializers.insert("rest".to_owned(), int_tensor(&[-1]));
    let found = infer_shapes(&graph, 13, &BTreeMap::new()).unwrap();
    assert_eq!(found["y"], spec("y", "f32 N 48"));
}

#[test]
fn what_is_not_known_comes_from_the_file_or_stays_open() {
    let mut custom = Node::new("Custom", &["x"], &["c"]);
    custom.domain = "test".to_owned();
    let mut graph = crate::samples::graph("f32 N 4", "f32 N 9", vec![custom, Node::new("Relu", &["c"], &["y"])]);
    let found = infer_shapes(&graph, 13, &BTreeMap::new()).unwrap();
    assert!(!found.contains_key("c"));
    assert_eq!(found["y"], spec("y", "f32 N 9"), "declared");
    graph.values.insert("c".to_owned(), spec("c", "f32 N 8"));
    let error = infer_shapes(&graph, 13, &BTreeMap::new()).unwrap_err();
    assert!(matches!(error, GraphError::Shape { .. }));
    assert!(error.to_string().contains("the nodes make y: f32[N, 8], the graph declares y: f32[N, 9]"), "{error}");
    assert!(matches!(infer_shapes(&graph, 6, &BTreeMap::new()), Err(GraphError::Unsupported { .. })));
}

#[test]
fn multiply_accumulates_are_counted() {
    let rows = [
        (node("Conv", &["a", "b"]), ["f32 N 3 8 8", "f32 4 3 3 3"], 4 * 6 * 6 * 27),
        (node("Conv", &["a", "b"]).with("group", Attribute::Int(3)), ["f32 1 3 8 8", "f32 3 1 3 3"], 3 * 6 * 6 * 9),
        (node("Gemm", &["a", "b"]), ["f32 N 8", "f32 8 3"], 24),
        (node("Gemm", &["a", "b"]).with("transA", Attribute::Int(1)), ["f32 8 2", "f32 8 3"], 48),
        (node("MatMul", &["a", "b"]), ["f32 2 5 8", "f32 8 3"], 240),
        (node("Add", &["a", "b"]), ["f32 2 8", "f32 8"], 0),
    ];
    for (node, inputs, expected) in rows {
        let graph = Graph {
            nodes: vec![node.clone()],
            inputs: inputs.iter().zip(["a", "b"]).map(|(text, name)| spec(name, text)).collect(),
            ..Graph::default()
        };
        let shapes = infer_shapes(&graph, 17, &BTreeMap::new()).unwrap();
        assert_eq!(macs(&node, &shapes), expected, "{}", node.operator);
        assert_eq!(macs(&node, &BTreeMap::new()), 0, "unknown shapes cost nothing");
    }
    let wide = [("a", "f32 9223372036854775807 9"), ("b", "f32 9 9"), ("y", "f32 9223372036854775807 9")];
    let shapes = wide.iter().map(|(name, text)| (name.to_string(), spec(name, text))).collect();
    assert_eq!(macs(&node("Gemm", &["a", "b"]), &shapes), u64::MAX);
    assert_eq!(ElementType::F32.size_bytes(), 4);
}
