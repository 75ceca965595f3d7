"""A writer of boxes and of HEIF files, by ISO/IEC 14496-12 and 23008-12, sound and odd ones."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence

from image_features.transforms.images.headers.heif import read_picture


def box(kind: bytes, *parts: bytes) -> bytes:
    """Returns a box."""
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    """Returns a box with a version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


@dataclasses.dataclass(frozen=True)
class Part:
    """An item of a file: what it is, its data, and its properties as boxes."""

    kind: bytes
    data: bytes
    properties: tuple[bytes, ...] = ()

    def but(self, *more: bytes, size: tuple[int, int] | None = None) -> Part:
        """Returns the item with properties more, and with another size declared."""
        kept = [p for p in self.properties if size is None or p[4:8] != b"ispe"]
        declared = [ispe(*size)] if size else []
        return dataclasses.replace(self, properties=(*kept, *declared, *more))


def ispe(width: int, height: int) -> bytes:
    """Returns the property of an image's size."""
    return full_box(b"ispe", 0, 0, struct.pack(">II", width, height))


def irot(turns: int) -> bytes:
    """Returns the property that turns an image by 90 degrees against the clock."""
    return box(b"irot", bytes([turns]))


def imir(axis: int) -> bytes:
    """Returns the property that mirrors: 0 top with bottom, 1 left with right."""
    return box(b"imir", bytes([axis]))


def clap(width: int, height: int, right: tuple[int, int], down: tuple[int, int]) -> bytes:
    """Returns the property of a crop, by its size and the offset of its centre as fractions."""
    return box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, *right, *down))


def nclx(primaries: int, transfer: int, matrix: int, full_range: bool = True) -> bytes:
    """Returns the property of colours that are told by numbers."""
    return box(b"colr", b"nclx", struct.pack(">3HB", primaries, transfer, matrix, full_range << 7))


def icc(profile: bytes) -> bytes:
    """Returns the property of an ICC profile."""
    return box(b"colr", b"prof", profile)


_ESSENTIAL, _TRANSFORMATIONS = 0x80, (b"irot", b"imir", b"clap")
ALPHA = full_box(b"auxC", 0, 0, b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")


def grid(rows: int, columns: int, width: int, height: int, *more: bytes) -> Part:
    """Returns an image that is put together of tiles."""
    data = struct.pack(">4BHH", 0, 0, rows - 1, columns - 1, width, height)
    return Part(b"grid", data, (ispe(width, height), *more))


def part_of(file: bytes, opacity: bool = False) -> Part:
    """Takes the coded image out of a file of an encoder, without what tells of its colours."""
    still = read_picture(file)
    item = (still.alpha if opacity else still.coded)[0]
    kept = [p for p in item.properties if p.kind in (b"ispe", b"av1C", b"hvcC", b"pixi")]
    properties = tuple(box(p.kind, p.content) for p in kept)
    return Part(item.kind, item.content(file), properties)


def heif(
    brand: bytes,
    parts: Sequence[Part],
    references: Sequence[tuple[bytes, int, Sequence[int]]] = (),
) -> bytes:
    """Returns a file that shows the first of some items, which are numbered from 1 on."""
    start = box(b"ftyp", brand, bytes(4), brand, b"mif1", b"miaf")
    size = len(_meta(parts, references, 0))
    content = box(b"mdat", *(part.data for part in parts))
    return start + _meta(parts, references, len(start) + size + 8) + content


def _meta(
    parts: Sequence[Part], references: Sequence[tuple[bytes, int, Sequence[int]]], place: int
) -> bytes:
    names, places, uses, properties = [], [], [], []
    for number, part in enumerate(parts, 1):
        names.append(full_box(b"infe", 2, 0, struct.pack(">HH", number, 0), part.kind, b"\0"))
        places.append(struct.pack(">HHHII", number, 0, 1, place, len(part.data)))
        place += len(part.data)
        first = len(properties) + 1
        indices = bytes(
            i | (_ESSENTIAL if p[4:8] in _TRANSFORMATIONS else 0)
            for i, p in enumerate(part.properties, first)
        )
        uses.append(struct.pack(">HB", number, len(indices)) + indices)
        properties += part.properties
    links = [
        box(kind, struct.pack(f">HH{len(targets)}H", source, len(targets), *targets))
        for kind, source, targets in references
    ]
    count = struct.pack(">H", len(parts))
    return full_box(
        b"meta",
        0,
        0,
        full_box(b"hdlr", 0, 0, bytes(4), b"pict", bytes(13)),
        full_box(b"pitm", 0, 0, struct.pack(">H", 1)),
        full_box(b"iloc", 0, 0, b"\x44\x00", count, *places),
        full_box(b"iinf", 0, 0, count, *names),
        *([full_box(b"iref", 0, 0, *links)] if links else []),
        box(
            b"iprp",
            box(b"ipco", *properties),
            full_box(b"ipma", 0, 0, struct.pack(">I", len(parts)), *uses),
        ),
    )
