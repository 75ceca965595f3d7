"""Which way up an image is: the orientation of EXIF, and of nothing else."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

_TAG = 0x0112
TRANSPOSED = frozenset({5, 6, 7, 8})
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_MARK = b"Exif\0\0"
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
# The whole numbers that a tag's value may be: of one, two and four bytes.
_NUMBERS = {1: "B", 3: "H", 4: "I"}
_RAW_EXIF = "Raw profile type exif"
_XMP = ("xmp", "XML:com.adobe.xmp")


def orientation_of(image: Image.Image) -> int:
    """Returns the EXIF orientation of an opened image, 1 to 8; 1 if there is none that is sound."""
    try:
        if exif := image.info.get("exif"):
            return exif_orientation(exif)
        if text := image.info.get(_RAW_EXIF):
            return text_orientation(text)
        if image.format == "TIFF":
            return _sound(getattr(image, "tag_v2", {}).get(_TAG))
    except Exception:  # An image with broken EXIF is still an image.
        return 1
    return 1


def exif_orientation(exif: bytes) -> int:
    """Returns the orientation that EXIF tells, 1 to 8; 1 if it tells none.

    Nothing but this one tag is looked at: Pillow copies the values of all, which may be the same
    millions of bytes each.
    """
    start = 0
    while exif.startswith(_EXIF_MARK, start):  # Some writers set it twice.
        start += len(_EXIF_MARK)
    order = _BYTE_ORDERS.get(exif[start : start + 2])
    if order is None:
        return 1
    try:
        (offset,) = struct.unpack_from(order + "I", exif, start + 4)
        directory = start + offset
        (count,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, length = struct.unpack_from(order + "HHI", exif, entry)
            if tag == _TAG:
                if length != 1 or kind not in _NUMBERS:
                    return 1
                return _sound(struct.unpack_from(order + _NUMBERS[kind], exif, entry + 8)[0])
    except struct.error:  # It ends early.
        pass
    return 1


def text_orientation(text: str) -> int:
    """Returns the orientation of EXIF in the text that ImageMagick keeps it in, as in PNG.

    It is a line feed, a name, the length, and lines of hexadecimal digits.
    """
    try:
        return exif_orientation(bytes.fromhex("".join(text.split("\n")[3:])))
    except ValueError:
        return 1


@contextmanager
def without_xmp(image: Image.Image) -> Iterator[None]:
    """Hides the XMP of an opened image for a `with` block, in which it is loaded.

    Pillow turns a TIFF while it loads, and falls back to the orientation of XMP, by which no other
    viewer turns.
    """
    hidden = {name: image.info.pop(name) for name in _XMP if name in image.info}
    try:
        yield
    finally:
        image.info.update(hidden)


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Returns an image turned upright."""
    method = _TURNS.get(orientation)
    return image if method is None else image.transpose(method)


def _sound(value: object) -> int:
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
