"""Real architectures for the conformance suite, with ONNX Runtime's answers.

    real_models.py OUT [DATA]

ONNX's `light` models have the architectures of well known networks and no weights; here they get random ones, the
same at every run. Where the folder DATA has them, the three networks of MLPerf Tiny come too. Each network is written
to OUT/light or OUT/tiny as NAME.f32, NAME.qdq_u8 and NAME.qdq_s8 (by onnxruntime.quantization, s8 weights per channel): a `.onnx`, its
input `.in.pb` and ONNX Runtime's answer `.out.pb`. A network that is in OUT already is left as it is. The large ones
have one quantized form: their quantization takes most of the time.

The weights have 7 bits: with 8, ONNX Runtime's sums saturate on CPUs with AVX2 alone and its answers are wrong.
"""

import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper, version_converter
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

OPSET = 17
# Layers of 4096 channels behind the convolutions are cut to this many: half a gigabyte of weights tests nothing more.
WIDE, NARROW = 4096, 256
FORMS = {"qdq_u8": QuantType.QUInt8, "qdq_s8": QuantType.QInt8}
# Networks with more bytes of weights than this are quantized to u8 only.
BOTH_FORMS_MAX = 20 << 20
TINY = {
    "dscnn": "models/kws_dscnn_f32_op17.onnx",
    "mobilenet_v1_025": "models/vww_mobilenetv1_025_f32_op17.onnx",
    "resnet8": "models/resnet8_cifar10_f32_op17.onnx",
}


def generator(name):
    return np.random.default_rng(list(name.encode()))


def with_weights(model, name):
    """The model with random initializers in place of its ConstantOfShape nodes."""
    graph, random = model.graph, generator(name)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    roles = {}
    for node in graph.node:
        for position, read in enumerate(node.input):
            roles[read] = (node.op_type, position)
    kept, made = [], {}
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            shape = [NARROW if size == WIDE else int(size) for size in shapes[node.input[0]]]
            made[node.output[0]] = filled(random, shape, *roles[node.output[0]])
        elif node.op_type == "Unsqueeze" and node.input[0] in made:
            axes = next(list(attribute.ints) for attribute in node.attribute if attribute.name == "axes")
            made[node.output[0]] = np.expand_dims(made[node.input[0]], tuple(axes))
        else:
            kept.append(node)
    reads = {read for node in kept for read in node.input}
    given = {tensor.name for tensor in graph.initializer}
    constants = [tensor for tensor in graph.initializer if tensor.name in reads]
    constants += [numpy_helper.from_array(value, key) for key, value in made.items() if key in reads]
    inputs = [value for value in graph.input if value.name not in given]
    graph = helper.make_graph(kept, name, inputs, graph.output, constants)
    without_softmax(graph)
    model = helper.make_model(graph, opset_imports=model.opset_import, ir_version=8)
    return version_converter.convert_version(model, OPSET)


def filled(random, shape, operator, position):
    """Weights with which the values neither vanish nor explode on their way through a deep network."""
    if operator == "BatchNormalization":
        low, high = [(0.8, 1.2), (-0.1, 0.1), (-0.1, 0.1), (0.5, 1.5)][position - 1]
        return random.uniform(low, high, shape).astype(np.float32)
    if len(shape) > 1 and position == 1 and operator in ("Conv", "Gemm"):
        inner = int(np.prod(shape[1:]))
        return random.normal(0, np.sqrt(2 / inner), shape).astype(np.float32)
    if operator in ("Mul", "Unsqueeze"):
        return random.uniform(0.8, 1.2, shape).astype(np.float32)
    return random.uniform(-0.1, 0.1, shape).astype(np.float32)


def without_softmax(graph):
    """Leaves a last Softmax off: its quantized answer has a dozen steps, the numbers that it reads have 256."""
    for node in graph.node:
        if node.op_type == "Softmax" and node.output[0] == graph.output[0].name:
            logits = helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, None)
            graph.node.remove(node)
            graph.output[0].CopyFrom(logits)
            return


def run(path, feed):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)[0]


class Reader(CalibrationDataReader):
    """One sample: ranges need not be good here, only the same for every engine."""

    def __init__(self, feed):
        self.feeds = iter([feed])

    def get_next(self):
        return next(self.feeds, None)


def folded(source, target):
    """What every quantizer starts from: constants computed, BatchNormalization inside of its convolution."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def write(out, name, model_path, feed):
    tensor = numpy_helper.from_array(next(iter(feed.values())))
    (out / f"{name}.in.pb").write_bytes(tensor.SerializeToString())
    (out / f"{name}.out.pb").write_bytes(numpy_helper.from_array(run(model_path, feed)).SerializeToString())
    # The model comes last: it says that the tensors are there.
    model_path.rename(out / f"{name}.onnx")


def make(out, name, model):
    if (out / f"{name}.f32.onnx").exists():
        return
    random = generator(name + " input")
    with tempfile.TemporaryDirectory(dir=out) as folder:
        plain, basic = Path(folder) / "plain.onnx", Path(folder) / "basic.onnx"
        value = model.graph.input[0]
        shape = [size.dim_value or 1 for size in value.type.tensor_type.shape.dim]
        feed = {value.name: random.normal(0, 1, shape).astype(np.float32)}
        onnx.save(model, plain)
        folded(plain, basic)
        forms = list(FORMS) if plain.stat().st_size <= BOTH_FORMS_MAX else ["qdq_u8"]
        for form in forms:
            quantized = Path(folder) / f"{form}.onnx"
            quantize_static(
                str(basic),
                str(quantized),
                Reader(feed),
                quant_format=QuantFormat.QDQ,
                activation_type=FORMS[form],
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
            )
            write(out, f"{name}.{form}", quantized, feed)
        # The model as it was comes last: it says that the others are there.
        write(out, f"{name}.f32", plain, feed)


def main():
    logging.disable(logging.WARNING)
    out = Path(sys.argv[1])
    for group in ("light", "tiny"):
        (out / group).mkdir(parents=True, exist_ok=True)
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    for file in sorted(light.glob("light_*.onnx")):
        name = file.stem.removeprefix("light_")
        make(out / "light", name, with_weights(onnx.load(file), name))
    data = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    for name, path in TINY.items():
        if data and (data / path).exists():
            make(out / "tiny", name, onnx.load(data / path))


if __name__ == "__main__":
    main()
