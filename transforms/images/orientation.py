"""Which way up an image is: the orientation of EXIF, and of nothing else."""

from __future__ import annotations

import struct

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
# The types of a tag that may be one whole number: a byte, 16 and 32 bits.
_NUMBERS = {1: "B", 3: "H", 4: "I"}


def orientation_of(image: Image.Image) -> int:
    """Returns the EXIF orientation of an opened image, 1 to 8; 1 if there is none that is sound."""
    if image.format != "TIFF":
        exif = image.info.get("exif")
        return orientation_in(exif) if isinstance(exif, bytes) else 1
    image.info.pop("xmp", None)  # Pillow falls back to XMP, by which no other viewer turns.
    try:
        value = image.getexif().get(_TAG, 1)
    except Exception:  # An image with broken EXIF is still an image.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def orientation_in(exif: bytes) -> int:
    """Returns the orientation that a block of EXIF tells, 1 to 8; 1 if there is none that is sound.

    No other tag is read: Pillow copies the values of all, of which thousands may be the same bytes.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (offset,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, offset)
        for entry in range(offset + 2, offset + 2 + 12 * count, 12):
            tag, kind, length = struct.unpack_from(f"{order}HHI", exif, entry)
            if tag == _TAG:
                if kind not in _NUMBERS or length != 1:
                    return 1
                (value,) = struct.unpack_from(order + _NUMBERS[kind], exif, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Returns an image turned upright."""
    method = _TURNS.get(orientation)
    return image if method is None else image.transpose(method)
