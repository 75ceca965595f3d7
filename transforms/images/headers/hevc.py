"""HEVC: what sequence parameter sets say (ITU-T H.265, 7.3.2.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.bits import Bits
from image_features.transforms.values import Reason

_SEQUENCE_PARAMETERS = 33
_CONFIGURATION_BYTES = 23
_MOST_UNITS = 10_000
# The steps of samples across and down that a crop is counted in, for each format of colours.
_CROP_STEPS = {0: (1, 1), 1: (2, 2), 2: (2, 1), 3: (1, 1)}


@dataclasses.dataclass(frozen=True)
class Sequence:
    """What a sequence parameter set says.

    Attributes:
      width: The width of a picture in pixels, as it is shown.
      height: The height of a picture in pixels.
      bits: The bits of a sample, of the deepest.
      is_grey: Whether there are no samples of colour.
    """

    width: int
    height: int
    bits: int
    is_grey: bool


def read_sequences(configuration: bytes, data: bytes) -> list[Sequence]:
    """Reads all sequence parameter sets of an image; there should be one.

    Args:
      configuration: The content of its box hvcC.
      data: The data of the image.

    Raises:
      DecodeError: there is none.
      IndexError: the configuration ends before.
    """
    length_bytes = (configuration[21] & 3) + 1
    units = [*_configured(configuration), *_sized(data, length_bytes)]
    # Layers above the first have another view, and a syntax of their own.
    found = [
        _sequence(Bits(_unescaped(unit[2:])))
        for unit in units
        if len(unit) > 2 and unit[0] >> 1 == _SEQUENCE_PARAMETERS and not _layer(unit)
    ]
    if not found:
        raise DecodeError(Reason.CORRUPT, "The HEVC data of the image has no parameters.")
    return found


def _layer(unit: bytes) -> int:
    return (unit[0] & 1) << 5 | unit[1] >> 3


def _configured(configuration: bytes) -> Iterator[bytes]:
    position = _CONFIGURATION_BYTES
    for _ in range(configuration[position - 1]):
        count = int.from_bytes(configuration[position + 1 : position + 3])
        position += 3
        for _ in range(count):
            if position >= len(configuration):
                return
            end = position + 2 + int.from_bytes(configuration[position : position + 2])
            yield configuration[position + 2 : end]
            position = end


def _sized(data: bytes, length_bytes: int) -> Iterator[bytes]:
    position = 0
    for _ in range(_MOST_UNITS):
        start = position + length_bytes
        if start > len(data):
            return
        position = start + int.from_bytes(data[position:start])
        yield data[start : min(position, start + 512)]
    raise DecodeError(Reason.TOO_COSTLY, f"The HEVC data has more than {_MOST_UNITS} units.")


def _unescaped(unit: bytes) -> bytes:
    """Removes the bytes that keep a unit from looking like the beginning of another."""
    return unit[:512].replace(b"\0\0\3", b"\0\0")


def _sequence(bits: Bits) -> Sequence:
    bits.skip(4)
    sublayers = bits.read(3)
    bits.skip(1 + 96)  # The profile and the level.
    present = [(bits.read(1), bits.read(1)) for _ in range(sublayers)]
    if sublayers:
        bits.skip(2 * (8 - sublayers))
    for has_profile, has_level in present:
        bits.skip(88 * has_profile + 8 * has_level)
    bits.exponential()
    colours = bits.exponential()
    if colours == 3:
        bits.skip(1)
    width, height = bits.exponential(), bits.exponential()
    if bits.read(1):
        across, down = _CROP_STEPS[colours & 3]
        left, right, top, bottom = (bits.exponential() for _ in range(4))
        width -= across * (left + right)
        height -= down * (top + bottom)
    depth = 8 + max(bits.exponential(), bits.exponential())
    return Sequence(width, height, depth, colours == 0)
