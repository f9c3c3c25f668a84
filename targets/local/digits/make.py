#!/usr/bin/env python3
"""Makes digits.npz from scikit-learn's digits.csv.gz. Needs only Python's standard library.

    pip download --no-deps scikit-learn==1.9.1 && python3 make.py scikit_learn-1.9.1-*.whl

The argument is the wheel, or the digits.csv.gz inside it. The result is the same bytes every time.
"""

import gzip
import hashlib
import io
import pathlib
import struct
import sys
import zipfile

MEMBER = "sklearn/datasets/data/digits.csv.gz"
SOURCE_SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
SAMPLES, SIDE, WHITE = 1797, 8, 16


def npy(descr, shape, data):
    """An array in NumPy's format 1.0: its header is padded so that data begins at a multiple of 64 bytes."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def main(path):
    source = pathlib.Path(path).read_bytes()
    if path.endswith(".whl"):
        source = zipfile.ZipFile(io.BytesIO(source)).read(MEMBER)
    found = hashlib.sha256(source).hexdigest()
    if found != SOURCE_SHA256:
        sys.exit(f"{path}: SHA-256 of digits.csv.gz is {found}, expected {SOURCE_SHA256}")
    rows = [[int(float(value)) for value in line.split(",")] for line in gzip.decompress(source).decode().split()]
    assert len(rows) == SAMPLES and all(len(row) == SIDE * SIDE + 1 for row in rows)
    assert all(0 <= value <= WHITE for row in rows for value in row[:-1]) and {row[-1] for row in rows} == set(range(10))
    arrays = {
        "x": npy("|u1", (SAMPLES, 1, SIDE, SIDE), bytes(value for row in rows for value in row[:-1])),
        "y": npy("|u1", (SAMPLES,), bytes(row[-1] for row in rows)),
    }
    with zipfile.ZipFile(pathlib.Path(__file__).with_name("digits.npz"), "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        for name, data in arrays.items():
            out.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
