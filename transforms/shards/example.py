"""Serialises one row as a tf.train.Example, and parses it, without TensorFlow.

A worker that writes features needs nothing else of TensorFlow. The bytes must be the same
everywhere: protobuf leaves the order of a map's entries open, and here they are sorted.
Wire format: https://protobuf.dev/programming-guides/encoding/; messages:
tensorflow/core/example/feature.proto (Example.features = 1, Features.feature = 1,
Feature.bytes_list = 1, float_list = 2, int64_list = 3, each list's value = 1).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from image_features.transforms.archives.example import example_class
from image_features.transforms.values import FieldValue

_SMALL = [bytes((value,)) for value in range(0x80)]


def serialize_example(features: Mapping[str, FieldValue]) -> bytes:
    """Returns a serialised tf.train.Example, its features sorted by name.

    Args:
      features: By name, a list of bytes, a list of int64, or a float32 array. A feature that is
        empty is left out.
    """
    parts: list[bytes] = []
    for name in sorted(features):
        value = features[name]
        if len(value):
            number, items = _list(value)
            parts += (_head(name, number, len(items)), items)
    return _field(1, b"".join(parts))


def parse_example(data: bytes) -> Any:
    """Returns the map from a name to a tf.train.Feature that a tf.train.Example holds.

    `float_list.value` is the packed floats' bytes, little-endian.
    """
    return example_class(packed=True).FromString(data).features.feature


@functools.lru_cache(4096)
def _head(name: str, number: int, size: int) -> bytes:
    """Returns a map's entry up to the list in it, kept since rows differ in few sizes.

    Args:
      name: The name of the feature.
      number: The field of the feature that the list is.
      size: The bytes of the list.
    """
    feature = _start(number, size)
    own = _field(1, name.encode()) + _start(2, len(feature) + size)
    return _start(1, len(own) + len(feature) + size) + own + feature


def _list(value: FieldValue) -> tuple[int, bytes]:
    """Returns the number of a feature's field, and the list that lies in it."""
    if isinstance(value, np.ndarray):
        # Packed little-endian floats are the bytes of the array.
        return 2, _field(1, value.astype("<f4", copy=False).tobytes())
    if isinstance(value[0], bytes):
        items: Any = value
        return 1, b"".join([_field(1, item) for item in items])
    numbers: Any = value
    return 3, _field(1, b"".join([_varint(n & (2**64 - 1)) for n in numbers]))


@functools.lru_cache(4096)
def _start(number: int, size: int) -> bytes:
    return _SMALL[number << 3 | 2] + _varint(size)


def _field(number: int, payload: bytes) -> bytes:
    return _start(number, len(payload)) + payload


def _varint(value: int) -> bytes:
    if value < 0x80:
        return _SMALL[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
