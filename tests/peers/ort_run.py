#!/usr/bin/env python3
"""Runs an ONNX model with ONNX Runtime: ort_run.py MODEL.onnx INPUTS.npz OUTPUTS.npz

Inputs and outputs are named as in the model. One thread, CPU provider only, so that a second run gives the same
bytes. Exit code 0 when OUTPUTS.npz was written.
"""

import sys

import numpy
import onnxruntime


def main() -> int:
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    model, inputs, outputs = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    with numpy.load(inputs, allow_pickle=False) as given:
        feed = {name: given[name] for name in given.files}
    wanted = [output.name for output in session.get_outputs()]
    found = session.run(wanted, feed)
    numpy.savez(outputs, **dict(zip(wanted, found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
