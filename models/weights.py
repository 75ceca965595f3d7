"""The weights in the box: one compressed file of float16 arrays."""

from __future__ import annotations

import numpy as np

from models.mobilenet_v2 import Weights


def save_bundled(weights: Weights, path: str) -> None:
    """Writes weights as half-precision .npz; the same bytes on every run."""
    with open(path, "wb") as file:
        np.savez_compressed(file, **{n: a.astype(np.float16) for n, a in weights.items()})
