"""Examples taken apart without a copy of the image in them, which is most of their bytes."""

from __future__ import annotations

import functools
from typing import NamedTuple

from image_features.transforms.archives.example import Features, parse_features

# protobuf copies less than what it takes to look for an image.
_LEAST_BYTES = 16 * 1024
_MOST_ENTRIES = 32
# The tags of fields 1 and 2, if they have a length.
_FIRST, _SECOND = 0x0A, 0x12
_LONGEST_LENGTH = 28  # So many bits are in four bytes.


class DividedExample(NamedTuple):
    """An example.

    Attributes:
      features: Its features; without the image if that is apart.
      image: The slice of the data that is the image; None if it is among the features.
    """

    features: Features
    image: slice | None


def divide_example(data: bytes, feature: str) -> DividedExample:
    """Takes an example apart.

    Whatever is not written as almost all write it is left to protobuf.

    Args:
      data: The example, which anyone may have written.
      feature: The name of the feature that holds the image; empty if none does.

    Raises:
      NotAnExampleError: the data is none.
    """
    if feature and len(data) >= _LEAST_BYTES and (found := _divided(data, feature)):
        return found
    return DividedExample(parse_features(data), None)


def _divided(data: bytes, feature: str) -> DividedExample | None:
    """Divides an example that consists of features, one of which is one value of bytes."""
    try:
        first, end = _only(data, 0, len(data))
        head, begin = _head_of(feature), first
        for _ in range(_MOST_ENTRIES):
            at, behind = _within(data, begin, end)
            if data.startswith(head, at):
                break
            begin = behind
        else:
            return None
        # The feature, its list of bytes, and the value, behind each of which nothing follows.
        at, stop = _lengthy(data, at + len(head))
        at, stop = _only(data, at, stop)
        image, stop = _only(data, at, stop)
        if stop != behind:
            return None
    except (IndexError, ValueError):
        return None
    others = data[first:begin] + data[behind:end]
    features = parse_features(bytes([_FIRST]) + _varint(len(others)) + others)
    # Of two features of one name the latter counts.
    return None if feature in features else DividedExample(features, slice(image, stop))


@functools.lru_cache(64)
def _head_of(feature: str) -> bytes:
    """Returns what the entry of a feature begins with, up to the length of the feature."""
    name = feature.encode()
    return bytes([_FIRST]) + _varint(len(name)) + name + bytes([_SECOND])


def _only(data: bytes, begin: int, end: int) -> tuple[int, int]:
    """Returns where the content of a field is that is all there is up to an end."""
    found = _within(data, begin, end)
    if found[1] != end:
        raise ValueError("something else follows")
    return found


def _within(data: bytes, begin: int, end: int) -> tuple[int, int]:
    """Returns where the content of the next field is, which ends before an end."""
    if data[begin] != _FIRST:
        raise ValueError("another field")
    found = _lengthy(data, begin + 1)
    if found[1] > end:
        raise ValueError("too long")
    return found


def _lengthy(data: bytes, at: int) -> tuple[int, int]:
    """Returns where the content is whose length is at an offset."""
    size = shift = 0
    while shift < _LONGEST_LENGTH:
        byte = data[at]
        at += 1
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            return at, at + size
        shift += 7
    raise ValueError("a long length")


def _varint(number: int) -> bytes:
    parts = []
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
