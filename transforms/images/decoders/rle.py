"""The run lengths of bitmaps, in memory that their size alone decides."""

from __future__ import annotations

import numpy as np

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.values import Reason

_END_OF_LINE, _END, _DELTA = range(3)
_LONGEST = 255
# Of so many codes the pixels are made at once by numpy; up to so few it is slower than Python.
_MANY, _FEW = 4096, 8
_EIGHTS = [bytes([value]) * _LONGEST for value in range(256)]
_FOURS = [(bytes([value >> 4, value & 15]) * 128)[:_LONGEST] for value in range(256)]
_FROM_HEX = bytes.maketrans(b"0123456789abcdef", bytes(range(16)))


def decode_runs(
    data: bytes, start: int, width: int, height: int, *, bits: int, lenient: bool
) -> tuple[bytearray, int]:
    """Returns the indices of all pixels, row by row as in the file, and how many the codes tell.

    A pixel that is skipped, or that no code tells, has index 0. A run that is too long for its row
    is cut.

    Args:
      data: The file.
      start: Where the codes begin.
      width: The pixels of a row.
      height: The number of rows.
      bits: The bits of a pixel: 4 or 8.
      lenient: Whether codes that end early are taken as they are.

    Raises:
      DecodeError: the codes end early, or lead out of the picture.
    """
    out = bytearray(width * height)
    # A code is two bytes: a count and a value. Codes of count 0 are escapes.
    escapes = (np.frombuffer(data, np.uint8)[start : len(data) - 1 : 2] == 0).tobytes()
    code, end = 0, len(escapes)
    x = row = 0  # `row` is the index of its first pixel.
    while code < end:
        position = start + 2 * code
        if escapes[code]:
            code += 1
            value = data[position + 1]
            if value == _END_OF_LINE:
                x, row = 0, row + width
                continue
            if value == _END:
                return out, len(out)
            if value == _DELTA:
                if code == end:
                    break
                x, row = x + data[position + 2], row + width * data[position + 3]
                code += 1
                if x > width or row > len(out):
                    raise _outside()
                continue
            size = (value * bits + 7) // 8
            pixels = data[position + 2 : position + 2 + size]
            if len(pixels) < size:
                break
            if bits == 4:
                pixels = pixels.hex().encode().translate(_FROM_HEX)[:value]
            code += (size + 1) // 2
        else:
            stop = escapes.find(1, code, code + _MANY)
            stop = stop if stop >= 0 else min(code + _MANY, end)
            pixels = _expanded(data[position : start + 2 * stop], bits)
            code = stop
        if row >= len(out):
            raise _outside()
        count = min(len(pixels), width - x)
        out[row + x : row + x + count] = pixels[:count]
        x += count
    # Some writers leave the code of the end out.
    if not lenient and row + x < len(out):
        raise DecodeError(Reason.TRUNCATED, "The run lengths end before the picture does.")
    return out, min(row + x, len(out))


def _expanded(codes: bytes, bits: int) -> bytes:
    """Returns the pixels of codes without escapes."""
    if len(codes) <= 2 * _FEW:
        runs = _FOURS if bits == 4 else _EIGHTS
        pairs = zip(codes[::2], codes[1::2], strict=True)
        return b"".join([runs[value][:count] for count, value in pairs])
    counts, values = np.frombuffer(codes, np.uint8).reshape(-1, 2).T
    pixels = np.repeat(values, counts)
    if bits == 4:
        # The pixels of a run are the upper and the lower half of its value by turns.
        ends = np.cumsum(counts, dtype=np.int64)
        places = np.arange(len(pixels)) - np.repeat(ends - counts, counts)
        pixels = np.where(places % 2, pixels & np.uint8(15), pixels >> np.uint8(4))
    return pixels.tobytes()


def _outside() -> DecodeError:
    return DecodeError(Reason.CORRUPT, "The run lengths lead out of the picture.")
