"""ICO and CUR: the pictures of an icon or a cursor, of which the best is taken."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.bmp import Bitmap, bitmap_header, parse_bitmap
from image_features.transforms.images.headers.header import Alpha, Header
from image_features.transforms.values import Reason

_PNG = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ICON, _CURSOR = 1, 2
# An icon has no room for other headers.
_HEADER_SIZES = frozenset({40, 52, 56, 108, 124})
_ALPHA = 0xFF000000


def is_ico(data: bytes) -> bool:
    """Tells whether a file is an icon or a cursor; Targa and JBIG begin as those of no picture."""
    if len(data) < 6:
        return False
    reserved, kind, count = struct.unpack_from("<3H", data)
    return reserved == 0 and kind in (_ICON, _CURSOR) and count > 0


def read_ico(data: bytes, read_header: Callable[[bytes], Header]) -> Header:
    """Reads what an icon says of its largest picture, of the deepest if some are as large.

    Args:
      data: The file.
      read_header: What reads the header of the PNG, where the picture is one.

    Raises:
      DecodeError: the icon or its picture is damaged.
      struct.error: it ends early.
    """
    format = "cur" if data[2] == _CURSOR else "ico"
    offset = best_picture(data)
    if data.startswith(_PNG, offset):
        header = read_header(data[offset:])
        return dataclasses.replace(header, format=format, coding="png")
    header = bitmap_header(icon_bitmap(data, offset), len(data), format=format)
    unsupported = header.unsupported or (header.coding and "run lengths")
    # Of pixels without alpha a mask says which are transparent.
    return dataclasses.replace(
        header, alpha=Alpha.STRAIGHT, pixel_bytes=20, unsupported=unsupported
    )


def best_picture(data: bytes) -> int:
    """Returns where the largest picture of an icon begins, by its own size and not the icon's."""
    (count,) = struct.unpack_from("<H", data, 4)
    offsets = [struct.unpack_from("<I", data, 18 + 16 * i)[0] for i in range(count)]
    return max(offsets, key=lambda offset: _rank(data, offset))


def icon_bitmap(data: bytes, offset: int) -> Bitmap:
    """Finds the parts of an icon's bitmap; the rows of its mask follow those of its pixels."""
    bitmap = parse_bitmap(data, offset)
    if bitmap.bits == 32 and bitmap.masks[3:] == (0,):
        bitmap = dataclasses.replace(bitmap, masks=(*bitmap.masks[:3], _ALPHA))
    return dataclasses.replace(bitmap, height=bitmap.height // 2)


def _rank(data: bytes, offset: int) -> tuple[int, int]:
    if data.startswith(_PNG, offset):
        width, height, bits, kind = struct.unpack_from(">IIBB", data, offset + 16)
        return width * height, bits * _CHANNELS.get(kind, 1)
    size, width, height, _, bits = struct.unpack_from("<IiiHH", data, offset)
    if size not in _HEADER_SIZES:
        raise DecodeError(Reason.CORRUPT, "A picture of the icon is neither a bitmap nor a PNG.")
    return width * abs(height) // 2, bits
