"""The float networks: built here from their published architecture, or read from a public file.

Each function returns an ONNX model of opset 17 with fixed shapes, batch 1 and no unused initializers.
"""

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from network import Network

IMAGE = [1, 3, 224, 224]
CLASSES = 1000


def mobilenet_v2(seed, low, high):
    """MobileNetV2 (Sandler et al. 2018, table 2), width 1.0, ReLU6 as Clip."""
    net = Network(seed, [("input", IMAGE)], [("output", [1, CLASSES])])
    zero, six = net.constant("zero", 0.0), net.constant("six", 6.0)

    def relu6(x, name):
        return net.node("Clip", [x, zero, six], name)

    x = relu6(net.convolution("input", "stem", 3, 32, kernel=3, stride=2), "stem.act")
    channels = 32
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    block = 0
    for expansion, out, repeats, first_stride in table:
        for repeat in range(repeats):
            name, stride, wide = f"block{block}", first_stride if repeat == 0 else 1, channels * expansion
            y = x
            if expansion != 1:
                y = relu6(net.convolution(y, f"{name}.expand", channels, wide), f"{name}.expand.act")
            y = net.convolution(y, f"{name}.depthwise", wide, wide, kernel=3, stride=stride, groups=wide)
            y = relu6(y, f"{name}.depthwise.act")
            y = net.convolution(y, f"{name}.project", wide, out)
            x = net.node("Add", [x, y], f"{name}.add") if stride == 1 and channels == out else y
            channels, block = out, block + 1
    x = relu6(net.convolution(x, "head", channels, 1280), "head.act")
    classifier(net, x, 1280)
    net.settle(low, high)
    return net.model("mobilenetv2")


def resnet18(seed, low, high):
    """ResNet-18 (He et al. 2015, table 1)."""
    net = Network(seed, [("input", IMAGE)], [("output", [1, CLASSES])])
    x = net.relu(net.convolution("input", "stem", 3, 64, kernel=7, stride=2), "stem.act")
    x = net.node("MaxPool", [x], "stem.pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, out in enumerate([64, 128, 256, 512]):
        for block in range(2):
            name, stride = f"stage{stage}.block{block}", 2 if stage > 0 and block == 0 else 1
            y = net.relu(net.convolution(x, f"{name}.conv1", channels, out, 3, stride), f"{name}.act1")
            y = net.convolution(y, f"{name}.conv2", out, out, 3)
            if stride != 1 or channels != out:
                x = net.convolution(x, f"{name}.down", channels, out, 1, stride)
            x = net.relu(net.node("Add", [y, x], f"{name}.add"), f"{name}.act2")
            channels = out
    classifier(net, x, channels)
    net.settle(low, high)
    return net.model("resnet18")


def classifier(net, x, channels):
    x = net.node("GlobalAveragePool", [x], "pool")
    x = net.node("Flatten", [x], "flatten", axis=1)
    weight = net.weights("classifier.weight", (CLASSES, channels), channels)
    bias = net.constant("classifier.bias", np.zeros(CLASSES))
    net.node("Gemm", [x, weight, bias], "classifier", output="output", transB=1)


def transformer(seed, _low, _high, layers=4, tokens=64, width=256, heads=4):
    """Encoder blocks (Vaswani et al. 2017, GELU as in BERT), each operator as PyTorch's exporter writes it."""
    shape = [1, tokens, width]
    net = Network(seed, [("input", shape)], [("output", shape)])
    x = "input"
    for layer in range(layers):
        last = layer + 1 == layers
        attended = attention(net, x, f"layer{layer}.attention", tokens, width, heads)
        x = layer_norm(net, net.node("Add", [x, attended], f"layer{layer}.add1"), f"layer{layer}.norm1", width)
        y = linear(net, x, f"layer{layer}.up", width, 4 * width)
        y = gelu(net, y, f"layer{layer}.gelu")
        y = linear(net, y, f"layer{layer}.down", 4 * width, width)
        y = net.node("Add", [x, y], f"layer{layer}.add2")
        x = layer_norm(net, y, f"layer{layer}.norm2", width, "output" if last else None)
    return net.model("transformer")


def linear(net, x, name, width_in, width_out):
    """MatMul and Add: what a Linear over three axes becomes."""
    values = net.random.standard_normal((width_in, width_out), dtype=np.float32) / np.float32(math.sqrt(width_in))
    weight = net.constant(f"{name}.weight", values)
    bias = net.constant(f"{name}.bias", net.random.normal(0.0, 0.1, width_out))
    return net.node("Add", [bias, net.node("MatMul", [x, weight], f"{name}.matmul")], f"{name}.add")


def layer_norm(net, x, name, width, output=None):
    scale = net.constant(f"{name}.scale", net.random.uniform(0.6, 1.4, width))
    bias = net.constant(f"{name}.bias", net.random.normal(0.0, 0.1, width))
    return net.node("LayerNormalization", [x, scale, bias], name, output=output, axis=-1, epsilon=1e-5)


def gelu(net, x, name):
    """x * (1 + erf(x / sqrt(2))) * 0.5, spelled out, as opset 17 has no Gelu."""
    root, one, half = (net.constant(f"{name}.{key}", v) for key, v in [("root", math.sqrt(2)), ("one", 1), ("half", 0.5)])
    y = net.node("Erf", [net.node("Div", [x, root], f"{name}.div")], f"{name}.erf")
    y = net.node("Mul", [x, net.node("Add", [y, one], f"{name}.add")], f"{name}.mul1")
    return net.node("Mul", [y, half], f"{name}.mul2")


def attention(net, x, name, tokens, width, heads):
    depth = width // heads

    def split(key, perm):
        y = linear(net, x, f"{name}.{key}", width, width)
        y = net.node("Reshape", [y, shape], f"{name}.{key}.split")
        return net.node("Transpose", [y], f"{name}.{key}.transpose", perm=perm)

    shape = net.constant(f"{name}.split_shape", [1, tokens, heads, depth], np.int64)
    query, key, value = split("query", [0, 2, 1, 3]), split("key", [0, 2, 3, 1]), split("value", [0, 2, 1, 3])
    scale = net.constant(f"{name}.scale", math.sqrt(depth))
    scores = net.node("Div", [net.node("MatMul", [query, key], f"{name}.scores"), scale], f"{name}.scaled")
    shares = net.node("Softmax", [scores], f"{name}.softmax", axis=-1)
    mixed = net.node("MatMul", [shares, value], f"{name}.mix")
    mixed = net.node("Transpose", [mixed], f"{name}.mix.transpose", perm=[0, 2, 1, 3])
    merged = net.constant(f"{name}.merge_shape", [1, tokens, width], np.int64)
    return linear(net, net.node("Reshape", [mixed, merged], f"{name}.merge"), f"{name}.project", width, width)


def light(file, name):
    """A builder for one of ONNX's `light` architectures, whose weights are ConstantOfShape nodes."""

    def build(seed, low, high):
        return from_light(onnx.load(file).graph, name, seed, low, high)

    return build


def from_light(graph, name, seed, low, high):
    """The same nodes at opset 17: weights drawn, BatchNorm folded, Dropout dropped, a two-sided Sum an Add."""
    shapes = {row.name: numpy_helper.to_array(row) for row in graph.initializer}
    made = {node.output[0]: shapes[node.input[0]] for node in graph.node if node.op_type == "ConstantOfShape"}
    given = [row for row in graph.input if row.name not in shapes]
    sizes = lambda row: [axis.dim_value for axis in row.type.tensor_type.shape.dim]  # noqa: E731
    net = Network(seed, [(row.name, sizes(row)) for row in given], [(row.name, sizes(row)) for row in graph.output])
    alias = {}
    for position, node in enumerate(node for node in graph.node if node.op_type != "ConstantOfShape"):
        inputs = [alias.get(row, row) for row in node.input]
        if node.op_type in ("Dropout", "BatchNormalization"):
            # `settle` measures what BatchNorm would divide by, and folds it.
            alias[node.output[0]] = inputs[0]
            continue
        operator = "Add" if node.op_type == "Sum" and len(inputs) == 2 else node.op_type
        attributes = {row.name: helper.get_attribute_value(row) for row in node.attribute}
        label = f"{operator.lower()}{position}"
        if operator in ("Conv", "Gemm"):
            shape = made[inputs[1]]
            inputs = [inputs[0], net.weights(f"{label}.weight", tuple(shape), math.prod(shape[1:]))]
            inputs.append(net.constant(f"{label}.bias", np.zeros(shape[0])))
        elif operator == "Reshape":
            inputs[1] = net.constant(f"{label}.shape", shapes[inputs[1]], np.int64)
        elif operator == "Softmax":
            # Before opset 13 it went over all axes from 1 on; the others have size 1 here.
            attributes.setdefault("axis", 1)
        net.node(operator, inputs, label, output=node.output[0], **attributes)
    net.settle(low, high)
    return net.model(name)


def light_folder():
    """Where the installed package `onnx` keeps the `light` models."""
    return Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def mlperf_tiny(file):
    """A builder that reads a float model with trained weights as it is; seed and range don't matter."""

    def build(_seed, _low, _high):
        model = onnx.load(file)
        for position, node in enumerate(model.graph.node):
            # The quantizer finds nodes by name.
            node.name = node.name or f"{node.op_type.lower()}{position}"
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)

    return build
