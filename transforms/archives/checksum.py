"""The CRC-32 of zlib, by libdeflate, which takes a sixth of zlib's time."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import Any


def crc32(data: bytes | memoryview) -> int:
    """Returns the checksum of data."""
    return _fastest()(data)


@functools.cache
def _fastest() -> Callable[[Any], int]:
    import imagecodecs

    found: Callable[[Any], int] = zlib.crc32
    if imagecodecs.DEFLATE.available:
        found = imagecodecs.deflate_crc32
    return found
