"""Samples for the example `passes`: features of files for Magika, crops of photographs, digits."""
import json
import pathlib

import numpy as np


def make(what, data):
    """The named tensors of `what`; `data` is the folder of models and samples."""
    data = pathlib.Path(data)
    kind, _, rest = what.partition(" ")
    if kind == "magika-labelled":
        return labelled(data / "magika")
    if kind == "magika-made":
        import files

        seed, count = map(int, rest.split())
        made = [content for _, content in files.make(seed, count)]
        known = {path.read_bytes() for path in labelled_files(data / "magika")}
        return [("x", np.stack([features(content) for content in made if content not in known]))]
    if kind == "photos":
        seed, count = map(int, rest.split())
        return [("x", crops(seed, count))]
    if kind == "mnist":
        part, start, count = rest.split()
        found = np.load(data / "mnist" / f"mnist_{part}.npz")
        rows = slice(int(start), int(start) + int(count))
        return [("x", found["x"][rows].astype(np.float32)[:, None] / 255), ("y", found["y"][rows].astype(np.int64))]
    raise ValueError(f"found samples {what!r}, expected magika-labelled, magika-made, photos or mnist")


def labelled_files(magika):
    """The non-empty labelled files, in the order of their paths."""
    paths = [path for part in ("basic", "mitra") for path in (magika / "tests_data" / part).rglob("*")]
    return sorted(path for path in paths if path.is_file() and path.stat().st_size)


def labelled(magika):
    config = json.loads((magika / "assets/models/standard_v3_3/config.min.json").read_text())
    paths = labelled_files(magika)
    labels = [config["target_labels_space"].index(path.parent.name) for path in paths]
    return [("x", np.stack([features(path.read_bytes()) for path in paths])), ("y", np.array(labels, np.int64))]


def features(content, size=1024, block=4096, padding=256):
    """What Magika v3 looks at: the first and last 1024 bytes without white space at the ends."""
    first = np.frombuffer(content[:block].lstrip()[:size], np.uint8)
    last = np.frombuffer(content[-block:].rstrip()[-size:], np.uint8)
    found = np.full(2 * size, padding, np.int32)
    found[: len(first)] = first
    if len(last):
        found[-len(last) :] = last
    return found


def crops(seed, count, size=32):
    """Seeded crops of scikit-learn's photographs, as raw RGB from 0 to 255, channels first."""
    import sklearn_photos

    generator, photos = np.random.default_rng(seed), sklearn_photos.load()
    found = np.empty((count, 3, size, size), np.float32)
    for row in found:
        photo = photos[generator.integers(len(photos))]
        side = int(generator.integers(size, 257))
        top, left = (generator.integers(0, photo.shape[axis] - side) for axis in (0, 1))
        places = (np.arange(size) * side) // size
        row[:] = photo[top + places][:, left + places].transpose(2, 0, 1)
    return found
