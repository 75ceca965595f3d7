"""TIFF and BigTIFF: what the first page says (TIFF 6.0)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Alpha, Colour, Header, Sample
from image_features.transforms.images.headers.tiff_page import (
    INK_SET,
    PHOTOMETRIC,
    SUB_DIRECTORIES,
    WEBP,
    TiffPage,
    read_page,
)
from image_features.transforms.images.headers.tiff_tags import TiffTags, read_tags
from image_features.transforms.values import Reason

# Compressions of bytes, which know nothing of samples.
CODED_BYTES = {
    1: "no compression",
    5: "LZW",
    8: "Deflate",
    32773: "PackBits",
    32946: "Deflate",
    34925: "LZMA",
    50000: "Zstandard",
}
CODED_PIXELS = {
    2: "CCITT",
    3: "CCITT",
    4: "CCITT",
    6: "old JPEG",
    7: "JPEG",
    32771: "CCITT",
    WEBP: "WebP",
}
_COLOURS = {
    0: Colour.WHITE_IS_ZERO,
    1: Colour.GREY,
    2: Colour.RGB,
    3: Colour.PALETTE,
    5: Colour.CMYK,
    6: Colour.YCBCR,
    8: Colour.LAB,
    9: Colour.LAB,
}
_FORMATS = {1: Sample.UNSIGNED, 2: Sample.SIGNED, 3: Sample.FLOAT, 4: Sample.UNSIGNED}
_CAMERA_PHOTOMETRICS = frozenset({32803, 34892})
_DNG_VERSION, _LEAF_DATA = 50706, 34310
# No honest file has more strips or tiles, each of which takes some 20 microseconds.
_MOST_SEGMENTS = 2**18
# A tile that is larger than the picture is decoded as a whole.
_LARGE_TILE = 2**24
_PAGES_TO_ASK = 8


def read_tiff(data: bytes) -> Header:
    """Reads what a TIFF says of its first page.

    Raises:
      DecodeError: the page is damaged, would cost too much, or is the thumbnail of a camera's raw.
      struct.error: the file ends within its tags.
    """
    _refuse_camera_raw(data)
    page = read_page(data)
    _check_segments(page)
    return Header(
        "tiff",
        page.width,
        page.height,
        _COLOURS.get(page.photometric, Colour.OTHER),
        max(page.bits),
        _FORMATS.get(page.format, Sample.UNSIGNED),
        _alpha(page),
        page.planar,
        _coding(page),
        passes=2 if page.format == 3 or max(page.bits) > 16 else 1,
        steps=page.segments,
        pixel_bytes=_pixel_bytes(page),
        unsupported=_unsupported(page),
    )


def _alpha(page: TiffPage) -> Alpha:
    if page.alpha is None:
        return Alpha.NONE
    is_premultiplied = page.extras[page.alpha - page.samples] == 1
    return Alpha.PREMULTIPLIED if is_premultiplied else Alpha.STRAIGHT


def _coding(page: TiffPage) -> str:
    known = CODED_BYTES | CODED_PIXELS
    return known.get(page.compression, f"compression {page.compression}")


def _unsupported(page: TiffPage) -> str:
    if page.photometric not in _COLOURS:
        return f"samples of the photometric interpretation {page.photometric}"
    if len(set(page.bits)) > 1:
        return f"samples of {', '.join(map(str, page.bits))} bits"
    if page.format not in _FORMATS:
        return "complex numbers or samples of different formats"
    if page.photometric == 5 and page.tags.number(INK_SET, 1) != 1:
        return "other inks than cyan, magenta, yellow and black"
    bits, is_float = max(page.bits), page.format == 3
    predicted = {1: True, 2: bits in (8, 16, 32, 64), 3: is_float and bits in (16, 32, 64)}
    if not predicted.get(page.predictor, False):
        return f"{bits}-bit samples with the predictor {page.predictor}"
    return ""


def _check_segments(page: TiffPage) -> None:
    if page.segments > _MOST_SEGMENTS:
        raise DecodeError(
            Reason.TOO_COSTLY,
            f"The TIFF of {page.width} x {page.height} pixels is divided into {page.segments} "
            f"strips or tiles; {_MOST_SEGMENTS} are allowed. Write it again, with larger ones.",
        )
    tile = page.across * page.down
    if tile > max(_LARGE_TILE, 4 * page.width * page.height):
        raise DecodeError(
            Reason.TOO_COSTLY,
            f"The TIFF of {page.width} x {page.height} pixels has tiles of {page.across} x "
            f"{page.down}. Write it again, with smaller ones.",
        )


def _pixel_bytes(page: TiffPage) -> int:
    """Returns the bytes for a pixel: a segment as stored and as numbers, the picture, and RGB."""
    stored = 1 if page.planar else page.samples
    segment = page.across * page.down * stored * (max(page.bits) + 7) // 8
    pixels = max(1, page.width * page.height)
    return 8 + -(-2 * segment // pixels)


def _refuse_camera_raw(data: bytes) -> None:
    if data[8:10] == b"CR" or data[8:12] in (b"IIII", b"MMMM") or _has_sensor_data(data):
        raise DecodeError(
            Reason.UNSUPPORTED_FORMAT,
            "The file is a camera's raw, built as a TIFF, which is not read; its thumbnail is not "
            "the picture. Develop it, as to JPEG.",
        )


def _has_sensor_data(data: bytes) -> bool:
    return any(
        _DNG_VERSION in tags
        or _LEAF_DATA in tags
        or tags.number(PHOTOMETRIC, 0) in _CAMERA_PHOTOMETRICS
        for tags in _directories(data)
    )


def _directories(data: bytes) -> Iterator[TiffTags]:
    """Yields the first directory, and a few of those within and after it that can be read."""
    first = read_tags(data)
    yield first
    try:
        within = first.numbers(SUB_DIRECTORIES, _PAGES_TO_ASK)
    except (DecodeError, struct.error):
        within = ()
    following = first.next
    for place in within:
        try:
            yield read_tags(data, place)
        except (DecodeError, struct.error):
            continue
    for _ in range(_PAGES_TO_ASK):
        if not following:
            return
        try:
            tags = read_tags(data, following)
        except (DecodeError, struct.error):
            return
        yield tags
        following = tags.next
