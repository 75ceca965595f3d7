"""AV1: what sequence headers say (AV1 Bitstream & Decoding Process Specification, 5.5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.bits import Bits
from image_features.transforms.values import Reason

_SEQUENCE_HEADER = 1
_UNSPECIFIED = 2
# A still picture has a handful of units, and one for each of its at most 4,096 tiles.
_MOST_UNITS = 10_000


@dataclasses.dataclass(frozen=True)
class Sequence:
    """What a sequence header says.

    Attributes:
      width: The largest width of a frame in pixels.
      height: The largest height of a frame in pixels.
      bits: The bits of a sample.
      is_grey: Whether there are no samples of colour.
      colour: The primaries, the transfer function and the matrix, by their numbers in H.273.
    """

    width: int
    height: int
    bits: int
    is_grey: bool
    colour: tuple[int, int, int]


def read_sequences(data: bytes) -> list[Sequence]:
    """Reads all sequence headers in the data of an image; there should be one.

    Raises:
      DecodeError: there is none.
      IndexError: the data ends before.
    """
    found = [_sequence(Bits(unit)) for kind, unit in _units(data) if kind == _SEQUENCE_HEADER]
    if not found:
        raise DecodeError(Reason.CORRUPT, "The AV1 data of the image has no sequence header.")
    return found


def _units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Reads the kinds of the units, each with its first bytes."""
    position = count = 0
    while position < len(data):
        first = data[position]
        position += 2 if first & 4 else 1
        size = len(data) - position
        if first & 2:
            size, position = _leb128(data, position)
        yield first >> 3 & 15, data[position : position + min(size, 512)]
        position += size
        count += 1
        if count > _MOST_UNITS:
            raise DecodeError(Reason.TOO_COSTLY, f"The AV1 data has more than {count} units.")


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 56, 7):
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
    return value, position


def _sequence(bits: Bits) -> Sequence:
    profile, _, is_reduced = bits.read(3), bits.read(1), bits.read(1)
    if is_reduced:
        bits.skip(5)
    else:
        _operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    width, height = bits.read(width_bits) + 1, bits.read(height_bits) + 1
    if not is_reduced and bits.read(1):  # Frames have numbers.
        bits.skip(7)
    bits.skip(3)
    if not is_reduced:
        _tools(bits)
    bits.skip(3)
    depth = 10 if bits.read(1) else 8
    if profile == 2 and depth == 10 and bits.read(1):
        depth = 12
    is_grey = profile != 1 and bool(bits.read(1))
    colour = (_UNSPECIFIED, _UNSPECIFIED, _UNSPECIFIED)
    if bits.read(1):
        colour = (bits.read(8), bits.read(8), bits.read(8))
    return Sequence(width, height, depth, is_grey, colour)


def _operating_points(bits: Bits) -> None:
    delay_bits = 0
    if bits.read(1):  # There is timing.
        bits.skip(64)
        if bits.read(1):
            bits.exponential()
        if bits.read(1):  # There is a model of the decoder.
            delay_bits = bits.read(5) + 1
            bits.skip(42)
    has_delays = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.skip(12)
        if bits.read(5) > 7:
            bits.skip(1)
        if delay_bits and bits.read(1):
            bits.skip(2 * delay_bits + 1)
        if has_delays and bits.read(1):
            bits.skip(4)


def _tools(bits: Bits) -> None:
    bits.skip(4)
    has_order = bits.read(1)
    if has_order:
        bits.skip(2)
    for_screens = 2 if bits.read(1) else bits.read(1)
    if for_screens and not bits.read(1):
        bits.skip(1)
    if has_order:
        bits.skip(3)
