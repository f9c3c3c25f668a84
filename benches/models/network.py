"""A float network under construction: nodes, seeded weights, and the pass that gives them sensible statistics.

Random weights alone make a deep network useless for measuring: channels die or saturate, and quantized answers say
nothing. So weights are drawn by He's rule and then `settle` runs the network node by node over seeded inputs and
gives each convolution the output statistics that a trained BatchNorm would have given it, folded into weights and
bias as every exporter folds them.
"""

import math

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
NUMPY_TO_ONNX = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}


class Network:
    """Nodes and initializers of one model, with every random number from one seed."""

    def __init__(self, seed, inputs, outputs):
        self.random = np.random.default_rng(seed)
        self.inputs = inputs
        self.outputs = outputs
        self.nodes = []
        self.initializers = {}

    def constant(self, name, values, dtype=np.float32):
        self.initializers[name] = np.asarray(values, dtype=dtype)
        return name

    def weights(self, name, shape, fan_in):
        """Normal numbers of variance 2 / fan_in (He)."""
        values = self.random.standard_normal(shape, dtype=np.float32) * np.float32(math.sqrt(2.0 / fan_in))
        return self.constant(name, values)

    def node(self, operator, inputs, name, output=None, **attributes):
        """Adds a node called `name`, and returns the name of its one output."""
        output = output or f"{name}_out"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=name, **attributes))
        return output

    def convolution(self, x, name, channels_in, channels_out, kernel=1, stride=1, groups=1):
        """A convolution that keeps the size at stride 1, with a bias."""
        per_group = channels_in // groups
        weight = self.weights(f"{name}.weight", (channels_out, per_group, kernel, kernel), per_group * kernel * kernel)
        bias = self.constant(f"{name}.bias", np.zeros(channels_out))
        pad = kernel // 2
        return self.node(
            "Conv",
            [x, weight, bias],
            name,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
            dilations=[1, 1],
            group=groups,
        )

    def relu(self, x, name):
        return self.node("Relu", [x], name)

    def model(self, graph_name):
        """The ONNX model, checked, with the shape of every value inferred."""
        describe = lambda row: helper.make_tensor_value_info(row[0], TensorProto.FLOAT, row[1])  # noqa: E731
        graph = helper.make_graph(
            self.nodes,
            graph_name,
            [describe(row) for row in self.inputs],
            [describe(row) for row in self.outputs],
            [numpy_helper.from_array(values, name) for name, values in self.initializers.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.checker.check_model(model, full_check=True)
        return model

    def settle(self, low, high, samples=4):
        """Folds normalization into every convolution and scales every Gemm.

        A convolution's output gets, channel by channel, a mean near 0 and a deviation near 1, both drawn from the
        seed as a BatchNorm's shift and scale; the classifier's get a deviation of 2 over all classes, so that the
        softmax behind it is neither flat nor a single one.
        """
        classifier = [node for node in self.nodes if node.op_type in ("Conv", "Gemm")][-1]
        values = {}
        for name, shape in self.inputs:
            batch = self.random.random((samples, *shape[1:]), dtype=np.float32)
            values[name] = np.float32(low) + batch * np.float32(high - low)
        for node in self.nodes:
            known = {**self.initializers, **values}
            result = run_node(node, [known[name] for name in node.input])
            if node.op_type == "Conv":
                result = self.fold_normalization(node, result, 2.0 if node is classifier else 0.3)
            elif node.op_type == "Gemm":
                factor = np.float32(2.0 / result.std(dtype=np.float64))
                self.initializers[node.input[1]] = self.initializers[node.input[1]] * factor
                result = result * factor
            values[node.output[0]] = result

    def fold_normalization(self, node, result, shift_deviation):
        channels = result.shape[1]
        mean = result.mean(axis=(0, 2, 3), dtype=np.float64)
        deviation = np.maximum(result.std(axis=(0, 2, 3), dtype=np.float64), 1e-3)
        scale = self.random.uniform(0.6, 1.4, channels) / deviation
        shift = self.random.normal(0.0, shift_deviation, channels) - mean * scale
        scale, shift = scale.astype(np.float32), shift.astype(np.float32)
        weight = self.initializers[node.input[1]]
        self.initializers[node.input[1]] = weight * scale[:, None, None, None]
        self.initializers[node.input[2]] = shift
        return result * scale[None, :, None, None] + shift[None, :, None, None]


def run_node(node, inputs):
    """One node, run by ONNX Runtime without optimizations."""
    if node.op_type == "Reshape":
        # Written for one sample; here a batch goes through.
        inputs = [inputs[0], np.concatenate([[inputs[0].shape[0]], inputs[1][1:]])]
    names = [f"in{position}" for position in range(len(inputs))]
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.input[:]
    copy.input.extend(names)
    given = [
        helper.make_tensor_value_info(name, NUMPY_TO_ONNX[array.dtype], array.shape)
        for name, array in zip(names, inputs)
    ]
    out = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)
    graph = helper.make_graph([copy], "node", given, [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(names, inputs)))[0]
