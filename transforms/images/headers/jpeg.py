"""JPEG: what the marker segments say (ITU-T T.81, annex B)."""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Iterator

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Colour, Header
from image_features.transforms.values import Reason

# A hierarchy (DHP) begins with a frame header of its own.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xDE}
_SCAN, _END, _LINES = 0xDA, 0xD9, 0xDC
# These begin a segment with a length, those of `_ALONE` have none.
_SEGMENTS = frozenset(range(0xC0, 0xF0)) - frozenset(range(0xD0, 0xDA)) | {0xFE}
_ALONE = frozenset(range(0xD0, 0xD8)) | {0x01}
_TELLING = FRAMES | {0xE0, 0xEE}
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})
_LOSSLESS = 0xC3
_UNREAD = {
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xDE), "several frames in a hierarchy"),
    0xCB: "samples in lossless arithmetic coding",
}
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
# The next marker within the data of a scan, where restarts and stuffed bytes are none.
_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# Encoders write some ten scans, and a few hundred segments at most. Each scan costs a decoder a
# visit of all blocks, however few bytes it has.
_MOST_SCANS = 1000
_MOST_SEGMENTS = 10_000


def read_jpeg(data: bytes) -> Header:
    """Reads the frame header of a JPEG, and counts its scans.

    Raises:
      DecodeError: there is none, it is damaged, or there are far too many scans.
      IndexError: the file ends early.
      struct.error: the file ends early.
    """
    frame = count = 0
    has_jfif, transform = False, -1
    for marker, position in segments(data):
        count += 1
        if marker not in _TELLING:
            continue
        if marker in FRAMES:
            if not frame:
                frame = position
            elif data[frame + 1] != 0xDE:
                raise DecodeError(Reason.CORRUPT, "The JPEG has two frame headers.")
        elif marker == 0xE0:
            has_jfif = has_jfif or data.startswith(b"JFIF\0", position + 4)
        elif data.startswith(b"Adobe", position + 4):
            transform = data[position + 15]
    if not frame:
        raise DecodeError(Reason.CORRUPT, "The JPEG has a scan before its frame header.")
    colour = _colour(data, frame, has_jfif, transform)
    coding = "lossless" if data[frame + 1] == _LOSSLESS else ""
    if transform >= 0 and colour is Colour.CMYK:
        coding = "Adobe"
    return _header(data, frame, count, colour, coding, position)


def segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yields the marker and the position of each segment, up to the first scan's.

    Raises:
      DecodeError: the segments are damaged, or there are far too many.
    """
    position, end = 2, len(data) - 4
    for _ in range(_MOST_SEGMENTS):
        if position > end:
            reason = Reason.TRUNCATED if position > 2 else Reason.CORRUPT
            raise DecodeError(reason, "The JPEG ends before its first scan.")
        marker = data[position + 1]
        if data[position] != 0xFF or marker not in _SEGMENTS:
            position = _next_segment(data, position)
            continue
        yield marker, position
        if marker == _SCAN:
            return
        length = data[position + 2] << 8 | data[position + 3]
        if length < 2:
            raise DecodeError(Reason.CORRUPT, f"The JPEG has no segment at byte {position}.")
        position += 2 + length
    raise DecodeError(
        Reason.TOO_COSTLY, f"The JPEG has more than {_MOST_SEGMENTS} segments before its scan."
    )


def _next_segment(data: bytes, position: int) -> int:
    """Returns the position of the next segment, behind padding and what else decoders skip."""
    found = _MARKER.search(data, position)
    if not found:
        raise DecodeError(Reason.CORRUPT, "The JPEG ends before its first scan.")
    position = found.start()
    marker = data[position + 1]
    if marker in _ALONE:
        return position + 2
    if marker == 0xF7:
        raise DecodeError(
            Reason.UNSUPPORTED_FORMAT,
            "The file is a JPEG-LS, which is not read; convert it, as to PNG.",
        )
    if marker not in _SEGMENTS:
        raise DecodeError(Reason.CORRUPT, f"The JPEG has no segment at byte {position}.")
    return position


def _colour(data: bytes, frame: int, has_jfif: bool, transform: int) -> Colour:
    """Returns what the samples mean, by the rules that all decoders have from libjpeg."""
    channels = data[frame + 9]
    if channels == 1:
        return Colour.GREY
    if channels == 4:
        return Colour.CMYK
    if channels != 3:
        return Colour.OTHER
    if data[frame + 1] == _LOSSLESS:
        return Colour.RGB
    if has_jfif:
        return Colour.YCBCR
    if transform >= 0:
        return Colour.YCBCR if transform else Colour.RGB
    return Colour.RGB if data[frame + 10 : frame + 19 : 3] == b"RGB" else Colour.YCBCR


def _header(data: bytes, frame: int, steps: int, colour: Colour, coding: str, scan: int) -> Header:
    length, bits, height, width, channels = struct.unpack_from(">HBHHB", data, frame + 2)
    process = data[frame + 1]
    if length != 8 + 3 * channels:
        raise DecodeError(Reason.CORRUPT, "The frame header of the JPEG has a wrong length.")
    unsupported = _UNREAD.get(process, "")
    kept, passes = 0, 1
    if unsupported:
        pass
    elif not height:
        height, unsupported = _lines(data, scan), "its height only behind its first scan (DNL)"
    elif colour is Colour.OTHER:
        unsupported = f"{channels} channels"
    else:
        ratios = _sampling(data[frame + 11 : frame + 10 + 3 * channels : 3])
        if not ratios:
            unsupported = "channels whose sampling factors are no multiples of each other"
        elif process not in _SEQUENTIAL or data[scan + 4] < channels:
            # Only then a decoder goes on after the first scan, and holds all coefficients.
            kept, passes = round(2 * ratios), _scans(data, scan)
    return Header(
        "jpeg",
        width,
        height,
        colour,
        bits,
        coding=coding,
        passes=passes,
        steps=steps,
        pixel_bytes=12,  # The picture as decoded, in other colours, and turned upright.
        kept_bytes=kept,
        unsupported=unsupported,
    )


@functools.lru_cache(maxsize=256)
def _sampling(factors: bytes) -> float:
    """Returns the samples of a pixel in all channels; 0 where libjpeg cannot scale them."""
    across, down = max(byte >> 4 for byte in factors), max(byte & 15 for byte in factors)
    total = 0
    for byte in factors:
        if not byte >> 4 or not byte & 15:
            raise DecodeError(Reason.CORRUPT, "The JPEG has a channel without samples.")
        if across % (byte >> 4) or down % (byte & 15):
            return 0
        total += (byte >> 4) * (byte & 15)
    return total / (across * down)


def _lines(data: bytes, scan: int) -> int:
    """Returns the height that a DNL segment tells behind the first scan."""
    _, marker, position = next(scan_parts(data, scan), (0, _END, 0))
    if marker != _LINES:
        raise DecodeError(Reason.CORRUPT, "The JPEG does not say how many rows it has.")
    (height,) = struct.unpack_from(">H", data, position + 4)
    return int(height)


def _scans(data: bytes, scan: int) -> int:
    """Counts the scans of a frame whose first one is at a position."""
    scans = 1
    for steps, marker, _ in scan_parts(data, scan):
        scans += marker == _SCAN
        if scans > _MOST_SCANS or steps > 4 * _MOST_SCANS + _MOST_SEGMENTS:
            raise DecodeError(
                Reason.TOO_COSTLY,
                f"The JPEG has more than {_MOST_SCANS} scans, or {_MOST_SEGMENTS} segments between "
                "them.",
            )
    return scans


def scan_parts(data: bytes, position: int) -> Iterator[tuple[int, int, int]]:
    """Yields number, marker and position of each segment behind a scan's, to the frame's end."""
    steps = 0
    while position + 4 <= len(data):
        position += 2 + (data[position + 2] << 8 | data[position + 3])
        found = _AFTER_SCAN.search(data, position)
        if not found or data[found.start() + 1] in (0xD8, _END):
            return
        position = found.start()
        steps += 1
        yield steps, data[position + 1], position
