"""Reads the quickstart's JSON object and folder: every figure holds, and ONNX Runtime gives the same bytes.

    check_quickstart.py REPORT.json FOLDER
"""

import json
import sys
from pathlib import Path

import onnxruntime as ort

from ort_equal import differing_answers

DEVICES = 3


def figures(report):
    images = report["answers_total"] // DEVICES
    rows = {
        "schema": report["schema"] == 1,
        "teacher": report["teacher_accuracy"] >= 0.97,
        "int8": report["int8_accuracy"] >= report["student_accuracy"] - 0.01,
        "bytes": report["int8_bytes"] < 0.45 * report["float_bytes"],
        "artifact": report["artifact_bytes"] > 0,
        "images": images >= 300,
        "active": report["devices_active"] == DEVICES,
        "answers": report["answers_equal"] == report["answers_total"],
        "offline": report["offline_answers_equal"] == report["answers_total"],
        "restart": report["restart_answers_equal"] == images,
        "refused": len(report["refused"]) == 5 and all(row["devices"] == DEVICES for row in report["refused"]),
        "reasons": len({row["reason"] for row in report["refused"]}) == 5,
        "rollback": report["rollback_ok"] is True,
    }
    return [name for name, holds in rows.items() if not holds]


def main():
    report = json.loads(Path(sys.argv[1]).read_text())
    wrong = figures(report)
    differing, total = differing_answers(Path(sys.argv[2]) / "run")
    print(f"quickstart: {total - differing} of {total} answers equal ONNX Runtime {ort.__version__}'s bytes")
    if wrong or differing:
        sys.exit(f"quickstart: these do not hold: {wrong}, {differing} answers differ")


main()
