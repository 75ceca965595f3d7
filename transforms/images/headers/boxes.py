"""The boxes of the ISO base media file format (ISO/IEC 14496-12), of which HEIF and JP2 consist."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.values import Reason

_MOST_OF_BRANDS = 1024
_DATA = frozenset({b"mdat", b"jp2c"})
# No honest container has nearly as many.
_MOST_BOXES = 50_000


class Box:
    """One box.

    Attributes:
      kind: Its four characters.
      data: The file.
      start: Where its content begins in the file.
      end: Where its content ends.
    """

    __slots__ = ("data", "end", "kind", "start")

    def __init__(self, kind: bytes, data: bytes, start: int, end: int) -> None:
        self.kind = kind
        self.data = data
        self.start = start
        self.end = end

    @property
    def content(self) -> bytes:
        """The bytes of the box after its header."""
        return self.data[self.start : self.end]

    def read(self, layout: str, offset: int = 0) -> tuple[int, ...]:
        """Reads big-endian fields, from so many bytes after the header on.

        Raises:
          struct.error: the box ends before.
        """
        if self.start + offset + struct.calcsize(">" + layout) > self.end:
            raise struct.error(f"the box {self.kind!r} is too short")
        return struct.unpack_from(">" + layout, self.data, self.start + offset)

    def children(self, offset: int = 0) -> Iterator[Box]:
        """Reads the boxes inside, from so many bytes after the header on."""
        return boxes(self.data, self.start + offset, self.end)

    def child(self, kind: bytes, offset: int = 0) -> Box | None:
        """Returns the first box inside of a kind."""
        return next((box for box in self.children(offset) if box.kind == kind), None)


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """Reads the boxes of a part of a file, one after the other.

    The data at the end of a file may reach beyond it: what is missing may not be needed.

    Raises:
      DecodeError: a box is larger than what holds it, or smaller than its header.
    """
    limit = len(data) if end is None else end
    for _ in range(_MOST_BOXES):
        if start + 8 > limit:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            header = 16
        elif size == 0:
            size = limit - start
        if kind == b"uuid":
            header += 16
        is_cut = start + size > limit and (end is not None or kind not in _DATA)
        if size < header or is_cut:
            reason = Reason.TRUNCATED if header <= size and limit == len(data) else Reason.CORRUPT
            raise DecodeError(reason, f"The box {kind!r} says that it has {size} bytes.")
        yield Box(kind, data, start + header, min(start + size, limit))
        start += size
    raise DecodeError(Reason.TOO_COSTLY, f"The file has more than {_MOST_BOXES} boxes in one.")


def brands(data: bytes) -> list[bytes]:
    """Returns the brands that a file names at its beginning, the major one first."""
    size = min(int.from_bytes(data[:4]), len(data), _MOST_OF_BRANDS)
    return [data[i : i + 4] for i in (8, *range(16, size - 3, 4))]
