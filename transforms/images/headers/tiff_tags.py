"""The tags of a TIFF's first directory (TIFF 6.0, section 2, and BigTIFF)."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.values import Reason

# The letters of struct for the types that are integers, and the sizes of all types.
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
# No honest directory has more.
_MOST_TAGS = 4096


class _Entry(NamedTuple):
    type: int
    length: int
    value: int
    place: int


@dataclasses.dataclass(frozen=True)
class TiffTags:
    """A directory of tags, whose values are read when they are asked for.

    Attributes:
      data: The file.
      order: The byte order as struct writes it.
      is_big: Whether the file is a BigTIFF.
      next: The place of the next directory; 0 if there is none.
    """

    data: bytes
    order: str
    is_big: bool
    next: int
    _entries: Mapping[int, _Entry]

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def count(self, tag: int) -> int:
        """Returns how many values a tag says that it has; 0 if it is absent."""
        return self._entries[tag].length if tag in self._entries else 0

    def numbers(self, tag: int, most: int | None = None) -> tuple[int, ...]:
        """Returns the integers of a tag, no more than so many; none if it is absent.

        Raises:
          DecodeError: the tag holds no integers.
          struct.error: the file ends before them.
        """
        if tag not in self._entries:
            return ()
        entry = self._entries[tag]
        if entry.type not in _INTEGERS:
            raise DecodeError(Reason.CORRUPT, f"Tag {tag} of the TIFF holds no integers.")
        count = entry.length if most is None else min(most, entry.length)
        if count > len(self.data):
            raise struct.error
        return struct.unpack_from(
            f"{self.order}{count}{_INTEGERS[entry.type]}", self.data, entry.value
        )

    def number(self, tag: int, default: int) -> int:
        """Returns the first integer of a tag, or the default where there is none."""
        numbers = self.numbers(tag, most=1)
        return numbers[0] if numbers else default

    def content(self, tag: int) -> bytes:
        """Returns the bytes of a tag of any type; none if it is absent or the file ends before."""
        if tag not in self._entries:
            return b""
        entry = self._entries[tag]
        size = entry.length * _SIZES.get(entry.type, 0)
        content = self.data[entry.value : entry.value + size]
        return content if len(content) == size else b""

    def only(self, tags: Iterable[int]) -> bytes:
        """Returns the file with no directory but one of those of the tags that are present."""
        kept = sorted(set(tags).intersection(self._entries))
        size, count, link = (20, "Q", "Q") if self.is_big else (12, "H", "I")
        directory = struct.pack(self.order + count, len(kept))
        for tag in kept:
            entry = self._entries[tag].place
            directory += self.data[entry : entry + size]
        directory += struct.pack(self.order + link, 0)
        place = len(self.data) + len(self.data) % 2
        head = self.data[: 8 if self.is_big else 4] + struct.pack(self.order + link, place)
        padding = b"\0" * (place - len(self.data))
        return b"".join((head, memoryview(self.data)[len(head) :], padding, directory))


def read_tags(data: bytes, place: int | None = None) -> TiffTags:
    """Reads a directory of a TIFF.

    Args:
      data: The file.
      place: Where the directory begins; the first one's place by default.

    Raises:
      DecodeError: the file has no directory there.
      struct.error: it ends within it.
    """
    order = "<" if data[:2] == b"II" else ">"
    (version,) = struct.unpack_from(order + "H", data, 2)
    is_big = version == 43
    # A number of entries, an entry without its value, a value or its place, and a place.
    number, entry, link = ("Q", "HHQ", "Q") if is_big else ("H", "HHI", "I")
    if place is None:
        (place,) = struct.unpack_from(order + link, data, 8 if is_big else 4)
    if not place:
        raise DecodeError(Reason.CORRUPT, "The TIFF has no directory.")
    (count,) = _unpack(order + number, data, place)
    if count > _MOST_TAGS:
        raise DecodeError(Reason.CORRUPT, f"The TIFF says that a page has {count} tags.")
    position = place + struct.calcsize(order + number)
    head, room = struct.calcsize(order + entry), struct.calcsize(order + link)
    entries: dict[int, _Entry] = {}
    for _ in range(count):
        tag, type, length = struct.unpack_from(order + entry, data, position)
        value = position + head
        if length * _SIZES.get(type, 0) > room:
            (value,) = struct.unpack_from(order + link, data, value)
        entries.setdefault(tag, _Entry(type, length, value, position))
        position += head + room
    # Some writers end the file without the place of a next directory.
    following = data[position : position + room].ljust(room, b"\0")
    return TiffTags(data, order, is_big, struct.unpack(order + link, following)[0], entries)


def _unpack(layout: str, data: bytes, place: int) -> tuple[int, ...]:
    if place > len(data):  # struct takes places of 63 bits only.
        raise struct.error
    return struct.unpack_from(layout, data, place)
