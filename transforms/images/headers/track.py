"""The first frame of an image sequence (ISO/IEC 23008-12, 7; ISO/IEC 14496-12, 8)."""

from __future__ import annotations

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.boxes import Box
from image_features.transforms.images.headers.items import Extent, Item
from image_features.transforms.values import Reason

# Where the boxes inside a sample entry for pictures begin.
_ENTRY_BYTES = 78
_WAY = (b"mdia", b"minf", b"stbl")


def read_first_frame(movie: Box) -> tuple[Item, Item | None, bool, int, int]:
    """Returns the first frame, its opacity, whether it is premultiplied, and the size.

    Raises:
      DecodeError: there is no track of pictures.
      struct.error: a box ends early.
    """
    colours = opacity = None
    for track in movie.children():
        if track.kind == b"trak" and _inside(track, *_WAY) is not None:
            references = track.child(b"tref")
            if references is not None and references.child(b"auxl") is not None:
                opacity = opacity or track
            else:
                colours = colours or track
    if colours is None:
        raise DecodeError(Reason.CORRUPT, "The image sequence has no track of pictures.")
    references = colours.child(b"tref")
    premultiplied = references is not None and references.child(b"prem") is not None
    return (
        _frame(colours),
        None if opacity is None else _frame(opacity),
        premultiplied,
        *_size(colours),
    )


def _frame(track: Box) -> Item:
    description = next(_table(track, b"stsd").children(8), None)
    if description is None:
        raise DecodeError(Reason.CORRUPT, "The image sequence does not tell its codec.")
    (size, count) = _table(track, b"stsz").read("II", 4)
    if not count:
        raise DecodeError(Reason.CORRUPT, "The image sequence has no frame.")
    if not size:
        (size,) = _table(track, b"stsz").read("I", 12)
    table = _inside(track, *_WAY)
    assert table is not None
    wide = table.child(b"co64")
    (start,) = wide.read("Q", 8) if wide is not None else _table(track, b"stco").read("I", 8)
    properties = tuple(description.children(_ENTRY_BYTES))
    return Item(0, description.kind, properties, (Extent(start, size),))


def _size(track: Box) -> tuple[int, int]:
    header = _inside(track, b"tkhd")
    if header is None:
        raise DecodeError(Reason.CORRUPT, "A track of the image sequence has no size.")
    width, height = header.read("II", 88 if header.read("B")[0] else 76)
    return width >> 16, height >> 16


def _table(track: Box, kind: bytes) -> Box:
    box = _inside(track, *_WAY, kind)
    if box is None:
        raise DecodeError(Reason.CORRUPT, f"The image sequence has no box {kind!r}.")
    return box


def _inside(box: Box | None, *kinds: bytes) -> Box | None:
    for kind in kinds:
        box = None if box is None else box.child(kind)
    return box
