"""A writer of bitmaps that leaves every choice to who calls."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

HEIGHT, WIDTH = 12, 16
Values = npt.NDArray[np.integer]


def header(
    bits: int,
    *,
    size: int = 40,
    compression: int = 0,
    width: int = WIDTH,
    height: int = HEIGHT,
    colours: int = 0,
    masks: Sequence[int] = (),
    profile: tuple[bytes, int, int] = (b"sRGB", 0, 0),
) -> bytes:
    """Returns the header of a bitmap of so many bytes, with masks in it or, after 40, behind it."""
    if size == 12:
        return struct.pack("<I4H", 12, width, height, 1, bits)
    fields = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, compression, *[0] * 3, 0, 0)
    fields = fields[:32] + struct.pack("<I", colours) + fields[36:]
    behind = struct.pack(f"<{len(masks)}I", *masks)
    if size <= 40:
        return fields[:size] + behind
    if size == 64:  # OS/2's has other fields there.
        return fields.ljust(64, b"\0")
    fields = (fields + behind).ljust(56, b"\0")[:size]
    kind, offset, length = profile
    fields += kind[::-1] + bytes(48)
    return (fields.ljust(112, b"\0") + struct.pack("<III", offset, length, 0))[:size]


def file_of(head: bytes, palette: bytes, body: bytes, *, gap: int = 0, offset: int = -1) -> bytes:
    """Returns a bitmap's file."""
    begin = 14 + len(head) + len(palette) + gap if offset < 0 else offset
    size = 14 + len(head) + len(palette) + gap + len(body)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, begin) + head + palette + bytes(gap) + body


def packed(indices: Values, bits: int, *, top_down: bool = False) -> bytes:
    """Returns rows of indices, packed from the highest bits on, each filled up to four bytes."""
    rows = []
    for row in indices if top_down else indices[::-1]:
        text = "".join(format(int(value), f"0{bits}b") for value in row)
        text += "0" * (-len(text) % 32)
        rows.append(int(text, 2).to_bytes(len(text) // 8))
    return b"".join(rows)


def words(values: Values, size: int, *, top_down: bool = False) -> bytes:
    """Returns rows of pixels of so many bytes, each row filled up to four bytes."""
    rows = []
    for row in values if top_down else values[::-1]:
        data = b"".join(int(value).to_bytes(size, "little") for value in row)
        rows.append(data + bytes(-len(data) % 4))
    return b"".join(rows)


def colours(count: int) -> Values:
    """Returns uint8 [count, 3], different and in no order."""
    steps = np.arange(count)[:, None] * np.array([37, 101, 59]) + np.array([200, 30, 90])
    return (steps % 256).astype(np.uint8)


def palette_of(table: Values, entry: int = 4) -> bytes:
    """Returns a palette: blue, green, red, and perhaps a byte that means nothing."""
    return b"".join(bytes(row[::-1]) + b"\x55" * (entry - 3) for row in table.tolist())


def indices(count: int) -> Values:
    """Returns [12, 16] of indices below a number."""
    return (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 7 // 3) % count
