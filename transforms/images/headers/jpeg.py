"""JPEG: what the marker segments say (ITU-T T.81, annex B)."""

from __future__ import annotations

import struct

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Colour, Header
from image_features.transforms.values import Reason

_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SOS = 0xDA
_COLOURS = {1: Colour.GREY, 3: Colour.YCBCR, 4: Colour.CMYK}
# These processes have sub-bands, losses of none, or hierarchies, which no decoder here knows.
_PROCESSES = {0xC0: "", 0xC1: "", 0xC2: "", 0xC9: "", 0xCA: ""}


def read_jpeg(data: bytes) -> Header:
    """Reads the frame header of a JPEG.

    Raises:
      DecodeError: there is none.
      struct.error: it ends early.
    """
    position = 2
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 4 > len(data):
            raise DecodeError(Reason.CORRUPT, "The JPEG ends before its frame header.")
        marker = data[position + 1]
        if marker in (0x00, 0xFF) or 0xD0 <= marker <= 0xD8:
            position += 1
        elif marker in _SOF:
            return _frame(data, position)
        elif marker == _SOS:
            raise DecodeError(Reason.CORRUPT, "The JPEG has a scan before its frame header.")
        else:
            length = int.from_bytes(data[position + 2 : position + 4])
            if length < 2:
                raise DecodeError(Reason.CORRUPT, "A segment of the JPEG has no length.")
            position += 2 + length


def _frame(data: bytes, position: int) -> Header:
    bits, height, width, channels = struct.unpack_from(">BHHB", data, position + 4)
    return Header(
        "jpeg",
        width,
        height,
        _COLOURS.get(channels, Colour.OTHER),
        bits,
        passes=max(1, data.count(b"\xff\xda", position)),
        unsupported="" if data[position + 1] in _PROCESSES else "a process",
    )
