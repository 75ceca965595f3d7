"""TIFF and BigTIFF: what the first page says (TIFF 6.0)."""

from __future__ import annotations

import contextlib
import itertools
import re
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
_CODED_BYTES = {
    1: "no compression",
    5: "LZW",
    8: "Deflate",
    32773: "PackBits",
    32946: "Deflate",
    34925: "LZMA",
    50000: "Zstandard",
}
_CODED_PIXELS = {
    2: "CCITT",
    3: "CCITT",
    4: "CCITT",
    6: "old JPEG",
    7: "JPEG",
    WEBP: "WebP",
}
# What is not read, for its refusal.
_OTHER_CODINGS = {
    32771: "CCITT of whole words",
    32809: "ThunderScan",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34676: "LogLuv",
    34677: "LogLuv",
    34712: "JPEG 2000",
    34887: "LERC",
    34933: "PNG",
    34934: "JPEG XR",
    50002: "JPEG XL",
    52546: "JPEG XL",
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
_LEAN = frozenset({1, 8, 32946})  # They are decompressed with no second copy.
_MOST_PLANES = 5  # Inks and alpha.
# Photometric interpretations of a colour filter before the sensor, and of a linear raw.
_SENSORS = frozenset({(32803,), (34892,)})
_DNG_VERSION, _LEAF_DATA = 50706, 34310
# Canon's second raw and Phase One's have words of their own behind the place of the directory.
_MAKERS = re.compile(rb"II\*\0(\x10\0\0\0CR\x02|....IIII.waR)|MM\0\*....MMMMRaw", re.DOTALL)
# No honest file has more strips or tiles that are smaller. Each takes up to 150 microseconds.
_MOST_SEGMENTS, _SMALL_SEGMENT = 2**16, 4096
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
        steps=_steps(page),
        pixel_bytes=_pixel_bytes(page),
        unsupported=_unsupported(page),
    )


def _alpha(page: TiffPage) -> Alpha:
    if page.alpha is None:
        return Alpha.NONE
    is_premultiplied = page.extras[page.alpha - page.samples] == 1
    return Alpha.PREMULTIPLIED if is_premultiplied else Alpha.STRAIGHT


def _coding(page: TiffPage) -> str:
    known = _CODED_BYTES | _CODED_PIXELS | _OTHER_CODINGS
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
    pixels = page.width * page.height
    if not pixels:
        return  # Whoever asked for the header refuses it.
    if (found := page.places_told) < page.segments:
        raise DecodeError(
            Reason.CORRUPT,
            f"The TIFF has {found} strips or tiles; its size takes {page.segments}.",
        )
    if _steps(page) > max(_MOST_SEGMENTS, pixels // _SMALL_SEGMENT):
        raise DecodeError(
            Reason.TOO_COSTLY,
            f"The TIFF of {page.width} x {page.height} pixels is divided into {_steps(page)} "
            "strips or tiles. Write it again, with larger ones.",
        )
    if page.across * page.down > max(_LARGE_TILE, 4 * pixels):
        raise DecodeError(
            Reason.TOO_COSTLY,
            f"The TIFF of {page.width} x {page.height} pixels has tiles of {page.across} x "
            f"{page.down}. Write it again, with smaller ones.",
        )


def _steps(page: TiffPage) -> int:
    """Returns the strips or tiles that are decoded; of many bands, only the first are."""
    return page.columns * page.rows * (min(page.samples, _MOST_PLANES) if page.planar else 1)


def _pixel_bytes(page: TiffPage) -> int:
    """Returns the bytes for a pixel: a strip or tile as numbers, the picture, and its RGB."""
    stored = 1 if page.planar else page.samples
    segment = page.across * page.down * stored * (max(page.bits) + 7) // 8
    copies = 1 if page.compression in _LEAN else 3
    return 12 + -(-copies * segment // max(1, page.width * page.height))


def _refuse_camera_raw(data: bytes) -> None:
    if _MAKERS.match(data) or _has_sensor_data(data):
        raise DecodeError(
            Reason.UNSUPPORTED_FORMAT,
            "The file is a camera's raw, built as a TIFF, which is not read; its thumbnail is not "
            "the picture. Develop it, as to JPEG.",
        )


def _has_sensor_data(data: bytes) -> bool:
    first = read_tags(data)
    within = _numbers(first, SUB_DIRECTORIES, _PAGES_TO_ASK)
    return (
        _DNG_VERSION in first
        or _LEAF_DATA in first
        or any(
            PHOTOMETRIC in tags and _numbers(tags, PHOTOMETRIC, 1)[:1] in _SENSORS
            for tags in itertools.chain([first], _found(data, within), _following(first))
        )
    )


def _found(data: bytes, places: tuple[int, ...]) -> Iterator[TiffTags]:
    """Yields the directories at some places, but for those that are damaged."""
    for place in places:
        with contextlib.suppress(DecodeError, struct.error):
            yield read_tags(data, place)


def _following(tags: TiffTags) -> Iterator[TiffTags]:
    """Yields a few pages more, as long as there are; they may go in a circle."""
    with contextlib.suppress(DecodeError, struct.error):
        for _ in range(_PAGES_TO_ASK):
            tags = read_tags(tags.data, tags.next)
            yield tags


def _numbers(tags: TiffTags, tag: int, most: int) -> tuple[int, ...]:
    try:
        return tags.numbers(tag, most)
    except (DecodeError, struct.error):  # What is damaged here is no matter of the first page.
        return ()
