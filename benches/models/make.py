"""Makes the models of `bench inference`: eight float networks, each in five forms, or six with `--distill`.

    python3 -m venv venv && venv/bin/pip install -r tests/peers/requirements.txt
    venv/bin/python benches/models/make.py --data FOLDER [--distill target/release/distill] [--out target/bench-models]

Where they come from (FOLDER, or `CASK_DATA`, holds `models/` with the first three; without it they are left out):

| name | origin | how it was converted |
|---|---|---|
| kws_dscnn | github.com/mlcommons/tiny, benchmark/training/keyword_spotting, DS-CNN, Apache-2.0 | the trained TFLite file to ONNX opset 17, layout NCHW (`kws_dscnn_f32_op17.onnx`); its int8 convolution weights dequantized |
| resnet8 | the same, image_classification, ResNet-8 on CIFAR-10 | the trained TFLite file, the same way (`resnet8_cifar10_f32_op17.onnx`) |
| vww | the same, visual_wake_words, MobileNetV1 0.25 at 96 x 96 | the trained TFLite file, the same way (`vww_mobilenetv1_025_f32_op17.onnx`) |
| mobilenetv2 | arXiv 1801.04381, table 2 | built by `architectures.py`, seeded random weights |
| resnet18 | arXiv 1512.03385, table 1 | built by `architectures.py`, seeded random weights |
| squeezenet | PyPI onnx 1.20.0, onnx/backend/test/data/light/light_squeezenet.onnx, Apache-2.0 | ConstantOfShape weights replaced by seeded random ones, opset 17, Dropout dropped |
| shufflenet | the same, light_shufflenet.onnx | as above, BatchNorm folded, Sum of two written as Add |
| transformer | arXiv 1706.03762 with GELU: 4 layers, d = 256, 64 tokens, 4 heads | built by `architectures.py`, seeded random weights |

The forms, all but the last by onnxruntime.quantization 1.32 from the float file, without its pre-processing step:

| kind | how |
|---|---|
| f32 | the float network, BatchNorm folded |
| qdq | quantize_static, QDQ, activations u8, weights s8 per channel |
| qdq_s8 | quantize_static, QDQ, activations s8, weights s8 per channel |
| qop | quantize_static, QOperator, activations u8, weights s8 per channel |
| dyn | quantize_dynamic, weights u8 where there are convolutions, else s8: the faster of both in ONNX Runtime |
| pairsafe | `distill quantize --pair-safe`: QDQ, activations u8, weights s8 per channel, sums of two products in 16 bits |

Calibration data are uniform numbers in the range that `models.json` names for each input, from a fixed seed; the
bench draws its inputs from the same range. The same versions on the same machine give the same bytes; on another CPU
the last bits of measured statistics may differ, and with them some scales.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

import architectures

SCHEMA = 1
CALIBRATION_SAMPLES = 8
KINDS = ["f32", "qdq", "qdq_s8", "qop", "dyn", "pairsafe"]


def rows(data):
    """Name, seed, lowest and highest input, builder. Missing source files leave their row out, with a line."""
    tiny = [
        ("kws_dscnn", 1, -10.0, 10.0, "kws_dscnn_f32_op17.onnx"),
        ("resnet8", 2, 0.0, 255.0, "resnet8_cifar10_f32_op17.onnx"),
        ("vww", 3, 0.0, 1.0, "vww_mobilenetv1_025_f32_op17.onnx"),
    ]
    for name, seed, low, high, file in tiny:
        path = data / "models" / file
        if path.is_file():
            yield name, seed, low, high, architectures.mlperf_tiny(path)
        else:
            print(f"{name}: left out, no {path}; give --data or CASK_DATA", file=sys.stderr)
    light = architectures.light_folder()
    yield "mobilenetv2", 4, -1.0, 1.0, architectures.mobilenet_v2
    yield "resnet18", 5, -1.0, 1.0, architectures.resnet18
    yield "squeezenet", 6, -1.0, 1.0, architectures.light(light / "light_squeezenet.onnx", "squeezenet")
    yield "shufflenet", 7, -1.0, 1.0, architectures.light(light / "light_shufflenet.onnx", "shufflenet")
    yield "transformer", 8, -1.0, 1.0, architectures.transformer


class Uniform(CalibrationDataReader):
    """Seeded uniform numbers for the one input of a model."""

    def __init__(self, model, low, high, seed):
        given = model.graph.input[0]
        shape = [axis.dim_value for axis in given.type.tensor_type.shape.dim]
        random = np.random.default_rng(seed)
        draw = lambda: np.float32(low) + random.random(shape, dtype=np.float32) * np.float32(high - low)  # noqa: E731
        self.samples = iter([{given.name: draw()} for _ in range(CALIBRATION_SAMPLES)])

    def get_next(self):
        return next(self.samples, None)


def quantize(kind, source, target, low, high, seed, distill):
    """Writes the form `kind` of the float file `source`."""
    if kind == "pairsafe":
        samples = [sample for sample in iter(Uniform(onnx.load(source), low, high, seed).get_next, None)]
        calibration = target.with_name("calibration.npz")
        np.savez(calibration, x=np.concatenate([next(iter(sample.values())) for sample in samples]))
        command = [distill, "quantize", source, "--calibrate", calibration, "--out", target, "--pair-safe"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return
    if kind == "dyn":
        convolutions = any(node.op_type == "Conv" for node in onnx.load(source).graph.node)
        quantize_dynamic(source, target, weight_type=QuantType.QUInt8 if convolutions else QuantType.QInt8)
        return
    quantize_static(
        source,
        target,
        Uniform(onnx.load(source), low, high, seed),
        quant_format=QuantFormat.QOperator if kind == "qop" else QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8 if kind == "qdq_s8" else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def write(model, path):
    """A half-written file never has the final name."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        onnx.save(model, Path(folder) / "model.onnx")
        os.replace(Path(folder) / "model.onnx", path)


def make(name, seed, low, high, build, out, force, distill):
    """All forms of one network that are not there yet; yields an entry of `models.json` for each."""
    calibration = 1000 + seed
    source = out / f"{name}.f32.onnx"
    for kind in KINDS if distill else KINDS[:-1]:
        target = out / f"{name}.{kind}.onnx"
        if force or not target.is_file():
            if kind == "f32":
                write(build(seed, low, high), target)
            else:
                with tempfile.TemporaryDirectory(dir=out) as folder:
                    part = Path(folder) / "model.onnx"
                    quantize(kind, source, part, low, high, calibration, distill)
                    os.replace(part, target)
        model = onnx.load(target)
        entry = {
            "name": name,
            "kind": kind,
            "file": target.name,
            "bytes": target.stat().st_size,
            "nodes": len(model.graph.node),
            "input_low": low,
            "input_high": high,
            "weights_seed": seed,
            "calibration_seed": calibration,
        }
        print(f"{target.name:28} {entry['bytes']:>10} B {entry['nodes']:>6} nodes", flush=True)
        yield entry


def main():
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("CASK_DATA", root / ".." / "shared" / "data"))
    parser.add_argument("--out", type=Path, default=root / "target" / "bench-models")
    parser.add_argument("--distill", type=Path, help="the distill executable: makes the form pairsafe too")
    parser.add_argument("--only", default="", help="make only networks whose name contains this")
    parser.add_argument("--force", action="store_true", help="make files again that are there")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    ort.set_default_logger_severity(3)
    arguments.out.mkdir(parents=True, exist_ok=True)
    listing = arguments.out / "models.json"
    entries = []
    for name, seed, low, high, build in rows(Path(arguments.data)):
        if arguments.only in name:
            entries.extend(make(name, seed, low, high, build, arguments.out, arguments.force, arguments.distill))
    if arguments.only and listing.is_file():
        made = {entry["name"] for entry in entries}
        entries += [entry for entry in json.loads(listing.read_text())["models"] if entry["name"] not in made]
    versions = {"onnx": onnx.__version__, "onnxruntime": ort.__version__, "numpy": np.__version__}
    listing.write_text(json.dumps({"schema": SCHEMA, "versions": versions, "models": entries}, indent=1) + "\n")


if __name__ == "__main__":
    main()
