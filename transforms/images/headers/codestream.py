"""JPEG 2000 codestreams: what the marker segment SIZ says (ITU-T T.800, annex A.5.1)."""

from __future__ import annotations

import dataclasses
import struct

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.values import Reason

CODESTREAM = b"\xff\x4f\xff\x51"
_START_OF_TILE, _END_OF_CODESTREAM = 0xFF90, b"\xff\xd9"
_PADDING = 64
_MOST_PARTS = 200_000
# The number of a tile has 16 bits.
_MOST_TILES = 65_535
# How many samples the colour differences leave out across and down, as OpenJPEG converts them.
_SUBSAMPLED = frozenset({((1, 1), (2, 2), (2, 2)), ((1, 1), (2, 1), (2, 1))})


@dataclasses.dataclass(frozen=True)
class Component:
    """One component of a codestream.

    Attributes:
      bits: The bits of a sample.
      signed: Whether samples are signed.
      steps: How many pixels a sample is for, across and down.
    """

    bits: int
    signed: bool
    steps: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Codestream:
    """What a codestream says of its samples.

    Attributes:
      start: Where it begins in the file.
      end: Where it ends.
      width: The width in pixels.
      height: The height in pixels.
      components: Its components.
      tiles: The number of its tiles.
    """

    start: int
    end: int
    width: int
    height: int
    components: tuple[Component, ...]
    tiles: int

    @property
    def is_subsampled(self) -> bool:
        """Whether the second and the third component have fewer samples, in a known way."""
        return tuple(component.steps for component in self.components) in _SUBSAMPLED

    @property
    def unsupported(self) -> str:
        """Why its components cannot be read, if so."""
        first = self.components[0]
        if any((c.bits, c.signed) != (first.bits, first.signed) for c in self.components):
            return "components of different depths"
        if any(c.steps != (1, 1) for c in self.components) and not self.is_subsampled:
            return "components of different sizes"
        return ""


def read_codestream(data: bytes, start: int, end: int) -> Codestream:
    """Reads the size of a codestream.

    Raises:
      DecodeError: it has none that is possible.
      struct.error: the file ends before.
    """
    if start + len(CODESTREAM) > end:
        raise DecodeError(Reason.TRUNCATED, "The JPEG 2000 file ends before its codestream.")
    if not data.startswith(CODESTREAM, start):
        raise DecodeError(Reason.CORRUPT, "The codestream of the JPEG 2000 file has no size.")
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, count = (
        struct.unpack_from(">8IH", data, start + 8)
    )
    if not (count and tile_width and tile_height and left < right and top < bottom):
        raise DecodeError(Reason.CORRUPT, "The codestream of the JPEG 2000 file has no pixels.")
    if tile_left > left or tile_top > top:
        raise DecodeError(Reason.CORRUPT, "The tiles of the JPEG 2000 file miss its pixels.")
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    if tiles > _MOST_TILES:
        raise DecodeError(Reason.CORRUPT, f"The JPEG 2000 file says that it has {tiles} tiles.")
    components = tuple(_component(data, start + 42 + 3 * i) for i in range(count))
    return Codestream(start, end, right - left, bottom - top, components, tiles)


def check_tiles(data: bytes, stream: Codestream) -> None:
    """Looks for all tiles, since OpenJPEG leaves those black that are not there.

    Raises:
      DecodeError: some are missing.
    """
    found: set[int] = set()
    position, parts = stream.start + 2, 0
    while position + 12 <= stream.end:
        marker, length, tile, size = struct.unpack_from(">HHHI", data, position)
        if marker == _START_OF_TILE:
            found.add(tile)
            parts += 1
            position += size or stream.end  # Without a size, it is the last one.
        elif parts:
            break
        else:
            position += 2 + length
        if parts > _MOST_PARTS:
            raise DecodeError(Reason.TOO_COSTLY, f"The image has more than {parts} parts of tiles.")
    if len(found) < stream.tiles:
        raise damage(data, stream, f"only {len(found)} of {stream.tiles} tiles are there")


def damage(data: bytes, stream: Codestream, what: str) -> DecodeError:
    """Returns the failure of a codestream: it ends early, if the marker of its end is missing."""
    end = data[max(stream.start, stream.end - _PADDING) : stream.end].rstrip(b"\0")
    reason = Reason.CORRUPT if end.endswith(_END_OF_CODESTREAM) else Reason.TRUNCATED
    return DecodeError(reason, f"The image cannot be decoded: {what}.")


def _component(data: bytes, position: int) -> Component:
    depth, across, down = struct.unpack_from("3B", data, position)
    if not (across and down):
        raise DecodeError(Reason.CORRUPT, "A component of the JPEG 2000 file has no samples.")
    return Component((depth & 0x7F) + 1, depth >= 0x80, (across, down))
