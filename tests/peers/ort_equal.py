"""Compares the answers that `distill` saved in a run folder with ONNX Runtime's, byte for byte.

    ort_equal.py RUN
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort


def differing_answers(run):
    """How many of the saved answers differ in any bit, and how many there are."""
    saved = np.load(run / "test_outputs.npz")
    session = ort.InferenceSession(str(run / "student.int8.onnx"), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    answers = session.run(None, {name: saved["inputs"]})[0]
    expected = saved["outputs"]
    assert answers.dtype == expected.dtype and answers.shape == expected.shape, (answers.shape, expected.shape)
    differing = (answers.view(np.uint32) != expected.view(np.uint32)).reshape(len(answers), -1).any(axis=1)
    return int(differing.sum()), len(answers)


def main():
    differing, total = differing_answers(Path(sys.argv[1]))
    print(f"{total - differing} of {total} answers equal ONNX Runtime {ort.__version__}'s bytes")
    if differing:
        sys.exit(f"{differing} answers differ")


if __name__ == "__main__":
    main()
