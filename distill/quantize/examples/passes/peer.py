"""Runs ONNX models with ONNX Runtime, and makes samples, for the example `passes`: requests on stdin, answers on stdout.

A request is one byte for its kind and what follows; an answer is one byte (0 good, 1 a message) and what follows.
Numbers are little-endian u32; text and bytes have their length before them; a tensor is name, element, rank,
sizes, bytes. QDQ models run as they are written, in float: integer kernels that saturate have no say here.
"""
import struct
import sys

import numpy as np
import onnxruntime

ELEMENTS = [np.float32, np.int32, np.int64, np.uint8]
source, sink = sys.stdin.buffer, sys.stdout.buffer


def number():
    return struct.unpack("<I", exactly(4))[0]


def exactly(count):
    data = source.read(count)
    if len(data) < count:
        sys.exit(0)
    return data


def text():
    return exactly(number()).decode()


def read_tensor():
    name, element = text(), ELEMENTS[exactly(1)[0]]
    shape = [number() for _ in range(number())]
    return name, np.frombuffer(exactly(number()), element).reshape(shape)


def tensors(named):
    parts = [b"\0", struct.pack("<I", len(named))]
    for name, value in named:
        data, name = np.ascontiguousarray(value), name.encode()
        parts += [struct.pack("<I", len(name)), name, bytes([ELEMENTS.index(data.dtype.type)])]
        parts += [struct.pack("<I", data.ndim), struct.pack(f"<{data.ndim}I", *data.shape)]
        parts += [struct.pack("<I", data.nbytes), data.tobytes()]
    return b"".join(parts)


def load(sessions, model, threads):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.intra_op_num_threads, options.inter_op_num_threads = max(threads, 1), 1
    options.log_severity_level = 3
    handle = max(sessions, default=0) + 1
    sessions[handle] = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return b"\0" + struct.pack("<I", handle)


def answer(sessions, kind):
    if kind == 1:
        threads = number()
        return load(sessions, exactly(number()), threads)
    if kind == 2:
        handle = number()
        inputs = dict(read_tensor() for _ in range(number()))
        wanted = [text() for _ in range(number())]
        return tensors(list(zip(wanted, sessions[handle].run(wanted, inputs))))
    if kind == 3:
        del sessions[number()]
        return tensors([])
    import samples

    return tensors(samples.make(text(), text()))


def main():
    sessions = {}
    while kind := source.read(1):
        try:
            reply = answer(sessions, kind[0])
        except Exception as error:
            message = str(error).encode()[:2000]
            reply = b"\1" + struct.pack("<I", len(message)) + message
        sink.write(reply)
        sink.flush()


main()
