"""Writes models and data for the tests of ONNX Runtime into a folder.

loop.onnx: y = x + n, one step of a loop for each 1, so that a large n never ends.
types.onnx: one Identity for each element type.
rows.onnx, rows.npz: y = x as two classes, four labelled samples of which three are right.
"""

import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper

folder = pathlib.Path(sys.argv[1])
TYPES = "bool u8 i8 u16 i16 u32 i32 u64 i64 f16 bf16 f32 f64".split()
ONNX = [T.BOOL, T.UINT8, T.INT8, T.UINT16, T.INT16, T.UINT32, T.INT32, T.UINT64, T.INT64, T.FLOAT16, T.BFLOAT16, T.FLOAT, T.DOUBLE]


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def save(name, nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    (folder / name).write_bytes(model.SerializeToString())


one = helper.make_tensor("one", T.FLOAT, [1], [1.0])
body = helper.make_graph(
    [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["sum_in", "one"], ["sum_out"])],
    "body",
    [value("step", T.INT64, []), value("go", T.BOOL, []), value("sum_in", T.FLOAT, [1])],
    [value("on", T.BOOL, []), value("sum_out", T.FLOAT, [1])],
    [one],
)
save(
    "loop.onnx",
    [helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)],
    [value("n", T.INT64, []), value("x", T.FLOAT, [1])],
    [value("y", T.FLOAT, [1])],
)
save(
    "types.onnx",
    [helper.make_node("Identity", [name], [name + "_out"]) for name in TYPES],
    [value(name, kind, ["batch", 2]) for name, kind in zip(TYPES, ONNX)],
    [value(name + "_out", kind, ["batch", 2]) for name, kind in zip(TYPES, ONNX)],
)
save(
    "rows.onnx",
    [helper.make_node("Identity", ["x"], ["y"])],
    [value("x", T.FLOAT, ["batch", 2])],
    [value("y", T.FLOAT, ["batch", 2])],
)
np.savez(folder / "rows.npz", x=np.array([[0, 1], [1, 0], [2, 3], [0, 1]], np.float32), y=np.array([1, 0, 1, 0], np.int64))
