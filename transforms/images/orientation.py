"""Which way up an image is: the orientation of EXIF, and of nothing else."""

from __future__ import annotations

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
# Pillow keeps EXIF in these entries, and falls back to XMP, by which no other viewer turns.
_EXIF = frozenset({"exif", "Raw profile type exif"})
_XMP = ("xmp", "XML:com.adobe.xmp")


def orientation_of(image: Image.Image) -> int:
    """Returns the EXIF orientation of an opened image, 1 to 8; 1 if there is none that is sound."""
    if not _EXIF.intersection(image.info) and image.format != "TIFF":
        return 1  # Pillow would set up an empty directory of tags to find out.
    for name in _XMP:
        image.info.pop(name, None)
    try:
        value = image.getexif().get(_TAG, 1)
    except Exception:  # An image with broken EXIF is still an image.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Returns an image turned upright."""
    method = _TURNS.get(orientation)
    return image if method is None else image.transpose(method)
