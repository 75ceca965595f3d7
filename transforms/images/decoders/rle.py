"""The run lengths of bitmaps, in memory that their size alone decides."""

from __future__ import annotations

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.values import Reason

_END_OF_LINE, _END, _DELTA = range(3)
_LONGEST = 255
_EIGHTS = [bytes([value]) * _LONGEST for value in range(256)]
_FOURS = [(bytes([value >> 4, value & 15]) * 128)[:_LONGEST] for value in range(256)]
_FROM_HEX = bytes.maketrans(b"0123456789abcdef", bytes(range(16)))


def decode_runs(
    data: bytes, start: int, width: int, height: int, *, bits: int, lenient: bool
) -> bytearray:
    """Returns the indices of all pixels, row by row as in the file.

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
    runs = _FOURS if bits == 4 else _EIGHTS
    position, end = start, len(data)
    x = row = 0  # `row` is the index of its first pixel.
    while position + 1 < end:
        count, value = data[position], data[position + 1]
        position += 2
        if not count:
            if value == _END_OF_LINE:
                x, row = 0, row + width
                continue
            if value == _END:
                return out
            if value == _DELTA:
                if position + 2 > end:
                    break
                x, row = x + data[position], row + width * data[position + 1]
                position += 2
                if x > width or row > len(out):
                    raise _outside()
                continue
        if row >= len(out):
            raise _outside()
        if count:
            pixels = runs[value]
        else:
            count = value
            size = (count * bits + 7) // 8
            pixels = data[position : position + size]
            if len(pixels) < size:
                break
            if bits == 4:
                pixels = pixels.hex().encode().translate(_FROM_HEX)
            position += size + size % 2
        count = min(count, width - x)
        out[row + x : row + x + count] = pixels[:count]
        x += count
    # Some writers leave the code of the end out.
    if not lenient and row + x < len(out):
        raise DecodeError(Reason.TRUNCATED, "The run lengths end before the picture does.")
    return out


def _outside() -> DecodeError:
    return DecodeError(Reason.CORRUPT, "The run lengths lead out of the picture.")
