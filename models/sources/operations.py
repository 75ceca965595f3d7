"""What TensorFlow's operations with constants do to the channels of a tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from image_features.models.sources.units import Normalization
from image_features.models.sources.variables import Array

NORMALIZATIONS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
ARITHMETIC: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "AddV2": np.add,
    "BiasAdd": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "RealDiv": np.divide,
    "Rsqrt": lambda value: 1.0 / np.sqrt(value),
    "Sqrt": np.sqrt,
    "Square": np.square,
    "Neg": np.negative,
    "Reshape": lambda value, shape: np.reshape(value, np.asarray(shape, np.int64)),
}


def clips(kind: str, others: list[Array]) -> tuple[bool, bool] | None:
    """Tells whether an operation clips at 0, and at 6; None if it is none that clips."""
    bounds = [value.item() if value.size == 1 else None for value in others]
    known: dict[tuple[Any, ...], tuple[bool, bool]] = {
        ("Relu6",): (True, True),
        ("Relu",): (True, False),
        ("Maximum", 0): (True, False),
        ("Minimum", 6): (False, True),
        ("ClipByValue", 0, 6): (True, True),
    }
    return known.get((kind, *bounds))


def normalization_of(node: Any, kind: str, others: list[Array], count: int) -> Normalization | None:
    """Returns what an operation with constants does to each channel; None if it is another."""
    vectors = [np.asarray(value, np.float32).ravel() for value in others]
    if any(vector.size not in (1, count) for vector in vectors):
        return None
    vectors = [np.broadcast_to(vector, count) for vector in vectors]
    if kind in NORMALIZATIONS or kind == "FusedBatchNorm":
        if len(vectors) != 4 or node.attr["is_training"].b:
            return None
        return Normalization(*vectors).with_epsilon(node.attr["epsilon"].f)
    one, zero = np.ones(count, np.float32), np.zeros(count, np.float32)
    if len(vectors) != 1:
        return None
    vector = vectors[0]
    if kind in ("Add", "AddV2", "BiasAdd"):
        return Normalization.of_affine(one, vector)
    if kind == "Sub":
        return Normalization.of_affine(one, -vector)
    if kind == "Mul":
        return Normalization.of_affine(vector, zero)
    return Normalization.of_affine(1.0 / vector, zero) if kind == "RealDiv" else None
