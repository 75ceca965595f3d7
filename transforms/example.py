"""Serialises one row as a tf.train.Example without TensorFlow.

A worker that writes features needs nothing else of TensorFlow, and the bytes must be the
same everywhere: protobuf leaves the order of map entries open, here they are sorted.
Wire format: https://protobuf.dev/programming-guides/encoding/; messages:
tensorflow/core/example/feature.proto (Example.features = 1, Features.feature = 1,
Feature.bytes_list = 1, float_list = 2, int64_list = 3, each list's value = 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

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
            entry = _field(1, name.encode()) + _field(2, _feature(value))
            entries.append(_field(1, entry))
    return _field(1, b"".join(entries))


def _feature(value: FeatureValue) -> bytes:
    if isinstance(value, np.ndarray):
        # Packed little-endian floats are the array's own bytes.
        return _field(2, _field(1, value.astype("<f4", copy=False).tobytes()))
    if isinstance(value[0], bytes):
        return _field(1, b"".join(_field(1, item) for item in value))  # type: ignore[arg-type]
    packed = b"".join(_varint(item & (2**64 - 1)) for item in value)  # type: ignore[operator]
    return _field(3, _field(1, packed))


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
