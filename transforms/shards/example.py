"""Serialises one row as a tf.train.Example without TensorFlow.

A worker that writes features needs nothing else of TensorFlow, and the bytes must be the
same everywhere: protobuf leaves the order of map entries open, here they are sorted.
Wire format: https://protobuf.dev/programming-guides/encoding/; messages:
tensorflow/core/example/feature.proto (Example.features = 1, Features.feature = 1,
Feature.bytes_list = 1, float_list = 2, int64_list = 3, each list's value = 1).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_SMALL = [bytes((value,)) for value in range(0x80)]

FeatureValue = Sequence[bytes] | Sequence[int] | npt.NDArray[np.float32]


def serialize_example(features: Mapping[str, FeatureValue]) -> bytes:
    """Returns a serialised tf.train.Example, its features sorted by name.

    Args:
      features: For each name a list of bytes, a list of int64, or a float32 array.
        An empty list is written as an absent feature.
    """
    entries = []
    for name in sorted(features):
        value = features[name]
        if len(value):
            entries.append(_field(1, _name_field(name) + _field(2, _feature(value))))
    return _field(1, b"".join(entries))


@functools.cache
def _name_field(name: str) -> bytes:
    """Field 1 of a map's entry; a run has few names."""
    return _field(1, name.encode())


def _feature(value: FeatureValue) -> bytes:
    if isinstance(value, np.ndarray):
        # Packed little-endian floats are the array's own bytes.
        return _field(2, _field(1, value.astype("<f4", copy=False).tobytes()))
    if isinstance(value[0], bytes):
        items: Any = value
        return _field(1, b"".join([_field(1, item) for item in items]))
    numbers: Any = value
    return _field(3, _field(1, b"".join([_varint(n & (2**64 - 1)) for n in numbers])))


def _field(number: int, payload: bytes) -> bytes:
    return b"".join((_SMALL[number << 3 | 2], _varint(len(payload)), payload))


def _varint(value: int) -> bytes:
    if value < 0x80:
        return _SMALL[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
