"""GIF: what its blocks say up to the first frame (CompuServe, GIF 89a)."""

from __future__ import annotations

import dataclasses
import struct

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Alpha, Colour, Header
from image_features.transforms.values import Reason

_FRAME, _EXTENSION, _TRAILER, _PADDING = 0x2C, 0x21, 0x3B, 0x00
_GRAPHIC_CONTROL = 0xF9
_IS_TRANSPARENT = 1
_HAS_PALETTE, _IS_INTERLACED, _PALETTE_SIZE = 0x80, 0x40, 0x07
_LONGEST_CODE = 8
# A comment of 50 megabytes has fewer blocks, if they are as long as they may be.
_MOST_BLOCKS = 500_000


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """The first frame of a file, and the canvas that it is on.

    Attributes:
      canvas: The (width, height) of the canvas. As in browsers it takes in a frame that is larger.
      corner: The (left, top) of the frame on the canvas.
      size: The (width, height) of the frame.
      is_interlaced: Whether its rows are in the order of interlacing.
      palette: The bytes of red, green and blue of its palette; empty if the file has none,
        which viewers show in all kinds of colours.
      key: The index of the palette that is transparent; None if there is none.
      start: Where its compressed pixels begin.
      blocks: The blocks that lie before it.
    """

    canvas: tuple[int, int]
    corner: tuple[int, int]
    size: tuple[int, int]
    is_interlaced: bool
    palette: bytes
    key: int | None
    start: int
    blocks: int


def read_gif(data: bytes) -> Header:
    """Reads what a GIF says of its first frame.

    Raises:
      DecodeError: there is none.
      struct.error, IndexError: the file ends before it.
    """
    frame = find_frame(data)
    covers = frame.size == frame.canvas
    return Header(
        "gif",
        *frame.canvas,
        Colour.PALETTE,
        alpha=Alpha.NONE if frame.key is None and covers else Alpha.KEY,
        steps=frame.blocks,
        pixel_bytes=11,
        unsupported="" if frame.palette else "indices but no palette",
    )


def find_frame(data: bytes) -> Frame:
    """Finds the first frame of a GIF; raises as `read_gif` does."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position, key, blocks = 13, None, 0
    size = _palette_size(flags)
    palette = data[position : position + size]
    position += size
    while (kind := data[position]) != _FRAME:
        if kind == _EXTENSION:
            is_control = data[position + 1] == _GRAPHIC_CONTROL
            if is_control and data[position + 2] >= 4 and data[position + 3] & _IS_TRANSPARENT:
                key = data[position + 6]
            position += 2
            while length := data[position]:
                position += 1 + length
                blocks += 1
                if blocks > _MOST_BLOCKS:
                    break
        elif kind == _TRAILER:
            raise DecodeError(Reason.CORRUPT, "The GIF has no frame.")
        elif kind != _PADDING:
            raise DecodeError(Reason.CORRUPT, f"The GIF has a block of an unknown kind ({kind}).")
        position += 1
        blocks += 1
        if blocks > _MOST_BLOCKS:
            raise _too_many_blocks()
    left, top, across, down, flags = struct.unpack_from("<HHHHB", data, position + 1)
    position += 10
    if not across or not down:
        raise DecodeError(Reason.CORRUPT, f"The GIF's first frame is {across} x {down} pixels.")
    if size := _palette_size(flags):
        palette = data[position : position + size]
        position += size
    if not 1 <= data[position] <= _LONGEST_CODE:
        raise DecodeError(Reason.CORRUPT, "The GIF's pixels have codes of an impossible length.")
    return Frame(
        (max(width, left + across), max(height, top + down)),
        (left, top),
        (across, down),
        bool(flags & _IS_INTERLACED),
        palette,
        key,
        position,
        blocks,
    )


def end_of_blocks(data: bytes, position: int) -> int:
    """Returns where blocks of pixels end, the empty last one included, or where the file does.

    Raises:
      DecodeError: there are more of them than any frame needs.
    """
    size, blocks = len(data), 0
    while position < size and (length := data[position]):
        position += 1 + length
        blocks += 1
        if blocks > _MOST_BLOCKS:
            raise _too_many_blocks()
    return min(position + 1, size)


def _too_many_blocks() -> DecodeError:
    return DecodeError(
        Reason.TOO_COSTLY, f"The GIF's first frame takes more than {_MOST_BLOCKS} blocks."
    )


def _palette_size(flags: int) -> int:
    return 3 << ((flags & _PALETTE_SIZE) + 1) if flags & _HAS_PALETTE else 0
