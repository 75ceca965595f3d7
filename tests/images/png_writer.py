"""A writer of PNG that can do whatever the format can, and what it cannot."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
_ADAM7 += ((0, 1, 1, 2),)
_Array = npt.NDArray[Any]


def chunk(kind: bytes, body: bytes, *, crc: int | None = None) -> bytes:
    """Returns a chunk, with a wrong CRC if one is given."""
    right = zlib.crc32(kind + body)
    return (
        struct.pack(">I", len(body))
        + kind
        + body
        + struct.pack(">I", right if crc is None else crc)
    )


def header(
    width: int, height: int, bits: int, kind: int, interlace: int = 0, crc: int | None = None
) -> bytes:
    """Returns the chunk IHDR."""
    body = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlace)
    return chunk(b"IHDR", body, crc=crc)


def write(
    values: _Array,
    bits: int,
    kind: int,
    *,
    interlace: int = 0,
    filters: Sequence[int] = (0, 1, 2, 3, 4),
    before: Iterable[bytes] = (),
    after: Iterable[bytes] = (),
    piece: int = 0,
) -> bytes:
    """Writes a PNG.

    Args:
      values: Samples [height, width] or [height, width, channels].
      bits: The bits of a sample.
      kind: The colour type.
      interlace: 1 for Adam7.
      filters: The filters of the rows, in turn.
      before: Chunks before the pixels.
      after: Chunks after the pixels.
      piece: The bytes of an IDAT chunk; 0 for all in one.
    """
    values = values if values.ndim == 3 else values[..., None]
    raw = pixels(values, bits, interlace, filters)
    return assemble(
        values.shape[1],
        values.shape[0],
        bits,
        kind,
        zlib.compress(raw),
        interlace,
        before,
        after,
        piece,
    )


def assemble(
    width: int,
    height: int,
    bits: int,
    kind: int,
    stream: bytes,
    interlace: int = 0,
    before: Iterable[bytes] = (),
    after: Iterable[bytes] = (),
    piece: int = 0,
) -> bytes:
    """Returns a file of a compressed stream."""
    step = piece or max(1, len(stream))
    idats = [chunk(b"IDAT", stream[i : i + step]) for i in range(0, max(1, len(stream)), step)]
    parts = (SIGNATURE, header(width, height, bits, kind, interlace), *before, *idats, *after)
    return b"".join(parts) + chunk(b"IEND", b"")


def pixels(values: _Array, bits: int, interlace: int, filters: Sequence[int]) -> bytes:
    """Returns the filtered rows of samples [height, width, channels], not yet compressed."""
    if not interlace:
        return _rows(values, bits, filters)
    passes = (values[y::down, x::across] for x, y, across, down in _ADAM7)
    return b"".join(_rows(part, bits, filters) for part in passes if part.size)


def _rows(values: _Array, bits: int, filters: Sequence[int]) -> bytes:
    height, _, channels = values.shape
    if bits == 16:
        packed = values.astype(">u2").reshape(height, -1).view(np.uint8)
    elif bits == 8:
        packed = values.astype(np.uint8).reshape(height, -1)
    else:
        shifts = np.arange(bits - 1, -1, -1)
        ones = (values.reshape(height, -1)[..., None] >> shifts & 1).astype(np.uint8)
        packed = np.packbits(ones.reshape(height, -1), axis=1)
    unit = max(1, channels * bits // 8)
    above = np.zeros(packed.shape[1] + unit, np.int64)
    out = []
    for y, row in enumerate(packed):
        here = np.concatenate((np.zeros(unit, np.int64), row))
        kind = filters[y % len(filters)]
        x, a, b, c = here[unit:], here[:-unit], above[unit:], above[:-unit]
        guess = (0 * x, a, b, (a + b) // 2, _paeth(a, b, c))[kind]
        out.append(bytes((kind,)) + ((x - guess) % 256).astype(np.uint8).tobytes())
        above = here
    return b"".join(out)


def _paeth(a: _Array, b: _Array, c: _Array) -> _Array:
    p = a + b - c
    pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
    return np.where((pa <= pb) & (pa <= pc), a, np.where(pb <= pc, b, c))


def exif(orientation: int) -> bytes:
    """Returns a block of EXIF that tells an orientation."""
    return struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
