"""The still picture that a HEIF file shows: what codes it, and what becomes of it then."""

from __future__ import annotations

import dataclasses
import math
import struct

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.boxes import Box, boxes
from image_features.transforms.images.headers.header import Alpha
from image_features.transforms.images.headers.items import Item, Items, read_items
from image_features.transforms.images.headers.track import read_first_frame
from image_features.transforms.values import Reason

_ALPHA = (
    b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha",
    b"urn:mpeg:hevc:2015:auxid:1",
)
_TRANSFORMATIONS = frozenset({b"clap", b"irot", b"imir"})
# A crop (left, top, right, bottom), turns by 90 degrees against the clock, or a mirror: `top` for
# top with bottom, `left` for left with right.
Step = tuple[int, int, int, int] | int | str


@dataclasses.dataclass(frozen=True)
class Still:
    """The picture of a file.

    Attributes:
      coded: The images that a codec has coded: one, or the tiles of a grid.
      alpha: The same for the opacity; empty if there is none.
      width: The width in pixels, before any transformation.
      height: The height in pixels.
      premultiplied: Whether colours are multiplied by the opacity.
      steps: What is done to the picture, in this order.
      profile: The ICC profile; empty if there is none.
      colour: The primaries, the transfer function and the matrix, by their numbers in H.273.
    """

    coded: tuple[Item, ...]
    alpha: tuple[Item, ...]
    width: int
    height: int
    premultiplied: bool = False
    steps: tuple[Step, ...] = ()
    profile: bytes = b""
    colour: tuple[int, int, int] | None = None

    @property
    def codec(self) -> bytes:
        """What has coded the picture, in four characters."""
        return self.coded[0].kind

    @property
    def transparency(self) -> Alpha:
        """How the file tells which pixels are transparent."""
        if not self.alpha:
            return Alpha.NONE
        return Alpha.PREMULTIPLIED if self.premultiplied else Alpha.STRAIGHT

    @property
    def shown(self) -> tuple[int, int]:
        """The width and the height after all transformations."""
        width, height = self.width, self.height
        for step in self.steps:
            if isinstance(step, tuple):
                left, top, right, bottom = step
                width, height = right - left, bottom - top
            elif isinstance(step, int) and step % 2:
                width, height = height, width
        return width, height


def read_still(data: bytes, *, is_sequence: bool = False) -> Still:
    """Reads which picture a HEIF file shows.

    Args:
      data: The file.
      is_sequence: Whether its first frame counts and not its cover, if it has any frames.

    Raises:
      DecodeError: there is none, or what tells of it is damaged.
      struct.error: a box ends early.
    """
    found: dict[bytes, Box] = {}
    for box in boxes(data):
        found.setdefault(box.kind, box)
        if b"meta" in found and (b"moov" in found or not is_sequence):
            break
    if is_sequence and b"moov" in found:
        frame, alpha, premultiplied, width, height = read_first_frame(found[b"moov"])
        return _still(frame, (frame,), (alpha,) if alpha else (), width, height, premultiplied)
    if b"meta" not in found:
        raise DecodeError(Reason.TRUNCATED, "The file ends before it tells of a picture.")
    items = read_items(found[b"meta"])
    primary = items.item(items.primary)
    width, height = _size(primary)
    coded = _coded(data, items, primary)
    auxiliary = [item for item in items.that_refer(b"auxl", primary.number) if _is_alpha(item)]
    alphas = _coded(data, items, auxiliary[0]) if auxiliary else _tile_alphas(items, coded)
    if auxiliary and _size(auxiliary[0]) != (width, height):
        raise DecodeError(
            Reason.UNSUPPORTED_PIXELS, "The file's opacity has another size than its picture."
        )
    premultiplied = bool(auxiliary) and auxiliary[0].number in items.references.get(
        (b"prem", primary.number), ()
    )
    return _still(primary, coded, alphas, width, height, premultiplied)


def _still(
    shown: Item,
    coded: tuple[Item, ...],
    alpha: tuple[Item, ...],
    width: int,
    height: int,
    premultiplied: bool,
) -> Still:
    still = Still(coded, alpha, width, height, premultiplied)
    for box in shown.properties:
        if box.kind in _TRANSFORMATIONS:
            step = _step(box, *still.shown)
            still = dataclasses.replace(still, steps=(*still.steps, step))
        elif box.kind == b"colr":
            still = _coloured(still, box)
    # The tiles of a grid may tell the colours instead of the whole.
    if not still.profile and still.colour is None:
        for box in coded[0].properties:
            if box.kind == b"colr":
                still = _coloured(still, box)
    return still


def _coloured(still: Still, box: Box) -> Still:
    kind = box.content[:4]
    if kind in (b"prof", b"rICC") and not still.profile:
        return dataclasses.replace(still, profile=box.content[4:])
    if kind == b"nclx" and still.colour is None:
        primaries, transfer, matrix = box.read("3H", 4)
        return dataclasses.replace(still, colour=(primaries, transfer, matrix))
    return still


def _coded(data: bytes, items: Items, item: Item) -> tuple[Item, ...]:
    """Returns the images that are coded for an image: itself, or the tiles of its grid."""
    if item.kind != b"grid":
        return (item,)
    layout = item.content(data)
    _, flags, rows, columns = struct.unpack_from("4B", layout)
    rows, columns = rows + 1, columns + 1
    size = struct.unpack_from(">II" if flags & 1 else ">HH", layout, 4)
    tiles = tuple(items.item(n) for n in items.references.get((b"dimg", item.number), ()))
    if len(tiles) != rows * columns or size != _size(item):
        raise DecodeError(Reason.CORRUPT, "The grid of the HEIF file lacks tiles or a size.")
    width, height = _size(tiles[0])
    fits = (columns - 1) * width < size[0] <= columns * width
    if not fits or not (rows - 1) * height < size[1] <= rows * height:
        raise DecodeError(Reason.CORRUPT, "The tiles of the HEIF file's grid do not cover it.")
    if any(tile.kind != tiles[0].kind or _size(tile) != (width, height) for tile in tiles):
        raise DecodeError(Reason.CORRUPT, "The tiles of the HEIF file's grid are not alike.")
    return tiles


def _tile_alphas(items: Items, tiles: tuple[Item, ...]) -> tuple[Item, ...]:
    """Returns the opacity of each tile, where a grid has it in parts."""
    numbers = {tile.number for tile in tiles}
    return tuple(
        items.items[source]
        for (kind, source), targets in items.references.items()
        if kind == b"auxl" and numbers.intersection(targets) and source in items.items
        if _is_alpha(items.items[source])
    )


def _size(item: Item) -> tuple[int, int]:
    box = item.property(b"ispe")
    if box is None:
        raise DecodeError(Reason.CORRUPT, "An image of the HEIF file has no size.")
    width, height = box.read("II", 4)
    return width, height


def _is_alpha(item: Item) -> bool:
    box = item.property(b"auxC")
    return box is not None and box.content[4:].split(b"\0")[0] in _ALPHA


def _step(box: Box, width: int, height: int) -> Step:
    if box.kind == b"irot":
        return box.read("B")[0] & 3
    if box.kind == b"imir":
        return "left" if box.read("B")[0] & 1 else "top"
    numbers = box.read("IIIIiIiI")
    if 0 in numbers[1::2]:
        raise DecodeError(Reason.CORRUPT, "The HEIF file's clean aperture is no number.")
    across, down, right, below = (
        numerator / denominator
        for numerator, denominator in zip(numbers[::2], numbers[1::2], strict=True)
    )
    # The offset is that of the centres, and a size may be any fraction.
    left = math.floor((width - across) / 2 + right + 0.5)
    top = math.floor((height - down) / 2 + below + 0.5)
    crop = (left, top, left + round(across), top + round(down))
    if not (0 <= left < crop[2] <= width and 0 <= top < crop[3] <= height):
        raise DecodeError(Reason.CORRUPT, "The HEIF file's clean aperture is outside its picture.")
    return crop
