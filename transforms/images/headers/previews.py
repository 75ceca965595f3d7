"""Where a JPEG keeps smaller copies of its picture: EXIF's thumbnail, and MPF's previews."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Sequence

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Header
from image_features.transforms.images.headers.jpeg import segments
from image_features.transforms.images.headers.tiff_tags import TiffTags, read_tags

_EXIF, _MPF = b"Exif\0\0", b"MPF\0"
# Tags of EXIF 2.32, and of CIPA DC-007, which is MPF.
_ORIENTATION, _EXIF_DIRECTORY, _ACROSS, _DOWN = 0x0112, 0x8769, 0xA002, 0xA003
_COMPRESSION, _BEGIN, _SIZE = 0x0103, 0x0201, 0x0202
_JPEG = 6
_ENTRIES = 0xB002
_ENTRY = 16
# What is a large thumbnail by its type is the same picture. Others are the next one of a series or
# of a panorama, or a map of depth or of brightness.
_LARGE_THUMBNAILS = frozenset({0x010001, 0x010002})
_TYPE, _FORMAT = 0x00FFFFFF, 0x07000000
_MOST_IMAGES = 16
_LARGEST = 2 * 2**20

Span = tuple[int, int]


def preview_spans(beginning: bytes, header: Header) -> Sequence[Span]:
    """Returns where previews lie in a JPEG, each as (begin, end), the smallest first.

    There is none where EXIF tells of another picture than the file has: of another size, or of a
    thumbnail that is turned otherwise. An editor has forgotten them.

    Args:
      beginning: The file, at least up to its first scan.
      header: What its frame header says.
    """
    try:
        spans = list(_spans(beginning, header))
    except _ForgottenError:
        return []
    sizes = sorted((end - begin, begin) for begin, end in spans)
    return [(begin, begin + size) for size, begin in sizes if 0 < size <= _LARGEST]


class _ForgottenError(Exception):
    """EXIF tells of another picture."""


def _spans(beginning: bytes, header: Header) -> Iterator[Span]:
    for marker, position in segments(beginning):
        if marker not in (0xE1, 0xE2):
            continue
        start = position + 4
        content = beginning[start : position + 2 + int.from_bytes(beginning[start - 2 : start])]
        with contextlib.suppress(DecodeError, struct.error):
            if marker == 0xE1 and content.startswith(_EXIF):
                tags = content[len(_EXIF) :].removeprefix(_EXIF)  # Some writers set it twice.
                found = list(_thumbnail(tags, header))
                offset = start + len(content) - len(tags)
            elif marker == 0xE2 and content.startswith(_MPF):
                found = list(_large_thumbnails(content[len(_MPF) :]))
                offset = start + len(_MPF)
            else:
                continue
            yield from ((offset + begin, offset + end) for begin, end in found)


def _thumbnail(exif: bytes, header: Header) -> Iterator[Span]:
    first = read_tags(exif)
    if place := first.number(_EXIF_DIRECTORY, 0):
        _check_size(read_tags(exif, place), header)
    if not first.next:
        return
    second = read_tags(exif, first.next)
    turned = first.number(_ORIENTATION, 1)
    if second.number(_ORIENTATION, turned) != turned:
        raise _ForgottenError
    if second.number(_COMPRESSION, _JPEG) == _JPEG:
        begin = second.number(_BEGIN, 0)
        yield begin, begin + second.number(_SIZE, 0)


def _check_size(tags: TiffTags, header: Header) -> None:
    told = tags.number(_ACROSS, 0), tags.number(_DOWN, 0)
    # Some writers tell the sides of the picture when it is upright.
    if all(told) and sorted(told) != sorted((header.width, header.height)):
        raise _ForgottenError


def _large_thumbnails(mpf: bytes) -> Iterator[Span]:
    tags = read_tags(mpf)
    entries = tags.content(_ENTRIES)[: _MOST_IMAGES * _ENTRY]
    for attributes, size, begin, _ in struct.iter_unpack(
        tags.order + "IIII", entries[: len(entries) // _ENTRY * _ENTRY]
    ):
        if attributes & _TYPE in _LARGE_THUMBNAILS and not attributes & _FORMAT and begin:
            yield begin, begin + size
