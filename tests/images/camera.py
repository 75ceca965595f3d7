"""JPEGs as cameras write them: with EXIF, a thumbnail in it, and previews behind the picture."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence
from typing import Any

from PIL import Image

from tests.images import encode
from tests.images.jpeg_writer import segment

Entry = tuple[int, int, int]  # A tag, its type, and its value.
_SHORT, _LONG = 3, 4


@dataclasses.dataclass(frozen=True)
class Exif:
    """What EXIF tells.

    Attributes:
      thumbnail: A JPEG; empty for none.
      orientation: The picture's orientation; None to say nothing.
      size: The (width, height) of the picture; None to say nothing.
      turned: The thumbnail's own orientation; None to say nothing.
      order: The byte order as struct writes it.
    """

    thumbnail: bytes = b""
    orientation: int | None = 1
    size: tuple[int, int] | None = None
    turned: int | None = None
    order: str = ">"

    def segment(self) -> bytes:
        """Returns the segment of EXIF."""
        order = self.order
        first = [] if self.orientation is None else [(0x0112, _SHORT, self.orientation)]
        tags = (0xA002, 0xA003) if self.size else ()
        details = [(tag, _LONG, value) for tag, value in zip(tags, self.size or (), strict=True)]
        second = [] if self.turned is None else [(0x0112, _SHORT, self.turned)]
        # Each directory has a place that does not depend on its values.
        at_details = 8 + _length(len(first) + bool(details))
        at_second = at_details + (_length(len(details)) if details else 0)
        at_thumbnail = at_second + _length(len(second) + 3)
        if details:
            first.append((0x8769, _LONG, at_details))
        second += [
            (0x0103, _SHORT, 6),
            (0x0201, _LONG, at_thumbnail),
            (0x0202, _LONG, len(self.thumbnail)),
        ]
        body = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
        body += _directory(order, first, at_second if self.thumbnail else 0)
        if details:
            body += _directory(order, details, 0)
        body += _directory(order, sorted(second), 0) + self.thumbnail
        return segment(0xE1, b"Exif\0\0" + body)


def photograph(
    picture: Image.Image | bytes,
    exif: Exif | None = None,
    previews: Sequence[bytes] = (),
    *,
    kind: int = 0x010002,
    between: bytes = b"",
    **options: Any,
) -> bytes:
    """Returns a picture as a JPEG with EXIF, and previews behind it that MPF tells of.

    Args:
      picture: The picture, or a JPEG of it.
      exif: What EXIF tells; None for no EXIF.
      previews: JPEGs.
      kind: What MPF calls the previews.
      between: Further segments, ahead of the frame.
      options: What Pillow's encoder is told.
    """
    coded = picture if isinstance(picture, bytes) else encode(picture, **options)
    before = coded[:2] + (exif.segment() if exif else b"")
    after = between + coded[2:]
    if not previews:
        return before + after
    size = len(_mpf([0] * (len(previews) + 1), [0] * (len(previews) + 1), kind))
    header = len(before) + 8  # The offsets count from MPF's own byte order on.
    begins, at = [0], len(before) + size + len(after)
    for preview in previews:
        begins.append(at - header)
        at += len(preview)
    sizes = [len(before) + size + len(after), *map(len, previews)]
    return before + _mpf(begins, sizes, kind) + after + b"".join(previews)


def on_canvas(
    picture: Image.Image,
    size: tuple[int, int],
    filter: Image.Resampling = Image.Resampling.BOX,
) -> Image.Image:
    """Returns a picture in the middle of a black canvas of a (width, height)."""
    scale = min(size[0] / picture.width, size[1] / picture.height)
    inner = round(picture.width * scale), round(picture.height * scale)
    canvas = Image.new("RGB", size)
    corner = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas.paste(picture.resize(inner, filter), corner)
    return canvas


def _mpf(begins: Sequence[int], sizes: Sequence[int], kind: int) -> bytes:
    entries = b"".join(
        struct.pack(">IIII", kind if begin else 0x030000, size, begin, 0)
        for begin, size in zip(begins, sizes, strict=True)
    )
    body = b"MM\0*" + struct.pack(
        ">IHHHI4sHHIIHHIII",
        8,
        3,
        0xB000,
        7,
        4,
        b"0100",
        0xB001,
        _LONG,
        1,
        len(begins),
        0xB002,
        7,
        len(entries),
        50,
        0,
    )
    return segment(0xE2, b"MPF\0" + body + entries)


def _length(entries: int) -> int:
    return 2 + 12 * entries + 4


def _directory(order: str, entries: Sequence[Entry], following: int) -> bytes:
    body = struct.pack(order + "H", len(entries))
    for tag, kind, value in entries:
        layout = "HHIH2x" if kind == _SHORT else "HHII"
        body += struct.pack(order + layout, tag, kind, 1, value)
    return body + struct.pack(order + "I", following)
