"""The two photographs that scikit-learn ships, read without importing it."""
import importlib.util
import pathlib

import numpy as np


def load():
    from PIL import Image

    package = importlib.util.find_spec("sklearn")
    if package is None:
        raise ImportError("the photographs are those of PyPI's scikit-learn; install it (pillow reads them)")
    folder = pathlib.Path(package.origin).parent / "datasets" / "images"
    return [np.asarray(Image.open(folder / name).convert("RGB")) for name in ("china.jpg", "flower.jpg")]
