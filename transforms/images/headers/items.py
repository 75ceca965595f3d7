"""The items of a HEIF file: its images, parts of images and metadata (ISO/IEC 23008-12)."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator, Mapping

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.boxes import Box
from image_features.transforms.values import Reason

# Tables of an honest file are far smaller: a grid has at most 65,536 tiles.
_MOST_BYTES = 4 * 2**20


@dataclasses.dataclass(frozen=True)
class Extent:
    """A part of an item's data: where it begins in the file, and its bytes."""

    start: int
    size: int


@dataclasses.dataclass(frozen=True)
class Item:
    """One item.

    Attributes:
      number: Its number.
      kind: What it is, in four characters.
      properties: Its properties in their order, the transformations among them.
      extents: Where its data lies.
    """

    number: int
    kind: bytes
    properties: tuple[Box, ...] = ()
    extents: tuple[Extent, ...] = ()

    def property(self, kind: bytes) -> Box | None:
        """Returns the first property of a kind."""
        return next((box for box in self.properties if box.kind == kind), None)

    def content(self, data: bytes) -> bytes:
        """Returns the item's data.

        Raises:
          DecodeError: some of it is beyond the end of the file.
        """
        if not self.extents:
            raise DecodeError(Reason.CORRUPT, "An image of the HEIF file has no data.")
        if any(extent.start + extent.size > len(data) for extent in self.extents):
            raise DecodeError(Reason.TRUNCATED, "The file ends within the data of its image.")
        if sum(extent.size for extent in self.extents) > len(data):
            raise DecodeError(Reason.CORRUPT, "Parts of an image's data are used many times.")
        return b"".join(data[e.start : e.start + e.size] for e in self.extents)


@dataclasses.dataclass(frozen=True)
class Items:
    """All items of a file.

    Attributes:
      primary: The number of the image to show.
      items: The items by their numbers.
      references: What items refer to, by the kind of the reference and the item's number.
    """

    primary: int
    items: Mapping[int, Item]
    references: Mapping[tuple[bytes, int], tuple[int, ...]]

    def item(self, number: int) -> Item:
        """Returns an item.

        Raises:
          DecodeError: there is none of this number.
        """
        if number not in self.items:
            raise DecodeError(Reason.CORRUPT, f"The HEIF file has no item {number}.")
        return self.items[number]

    def that_refer(self, kind: bytes, number: int) -> Iterator[Item]:
        """Returns the items that have a reference of a kind to an item."""
        for (reference, source), targets in self.references.items():
            if reference == kind and number in targets and source in self.items:
                yield self.items[source]


def read_items(meta: Box) -> Items:
    """Reads the box meta.

    Raises:
      DecodeError: it is damaged, or names no image to show.
      struct.error: a box in it is too short.
    """
    tables = {box.kind: box for box in reversed(list(meta.children(4)))}
    for box in tables.values():
        if box.kind in (b"iinf", b"iloc", b"iref", b"iprp") and box.end - box.start > _MOST_BYTES:
            raise DecodeError(Reason.TOO_COSTLY, f"The HEIF file's box {box.kind!r} is huge.")
    if b"pitm" not in tables or b"iinf" not in tables:
        raise DecodeError(Reason.CORRUPT, "The HEIF file does not name the image to show.")
    (primary,) = tables[b"pitm"].read("I" if _version(tables[b"pitm"]) else "H", 4)
    properties = dict(_properties(tables[b"iprp"])) if b"iprp" in tables else {}
    extents = dict(_extents(tables[b"iloc"], tables.get(b"idat"))) if b"iloc" in tables else {}
    items = {
        number: Item(number, kind, properties.get(number, ()), extents.get(number, ()))
        for number, kind in _kinds(tables[b"iinf"])
    }
    references = _references(tables[b"iref"]) if b"iref" in tables else {}
    return Items(primary, items, references)


def entries(information: Box) -> Iterator[tuple[int, Box]]:
    """Reads where the kind of each item stands in the box iinf, and its box."""
    for box in information.children(8 if _version(information) else 6):
        if box.kind == b"infe" and _version(box) >= 2:
            yield box.start + (10 if _version(box) > 2 else 8), box


def _version(box: Box) -> int:
    return box.read("B")[0]


def _kinds(information: Box) -> Iterator[tuple[int, bytes]]:
    for position, box in entries(information):
        (number,) = box.read("I" if _version(box) > 2 else "H", 4)
        yield number, box.data[position : position + 4]


def _references(box: Box) -> dict[tuple[bytes, int], tuple[int, ...]]:
    letter = "I" if _version(box) else "H"
    found: dict[tuple[bytes, int], tuple[int, ...]] = {}
    for reference in box.children(4):
        source, count = reference.read(f"{letter}H")
        targets = reference.read(f"{letter}H{count}{letter}")[2:]
        key = (reference.kind, source)
        found[key] = found.get(key, ()) + targets
    return found


def _properties(box: Box) -> Iterator[tuple[int, tuple[Box, ...]]]:
    container = box.child(b"ipco")
    if container is None:
        return
    known = list(container.children())
    for table in box.children():
        if table.kind != b"ipma":
            continue
        version, _, _, flags, count = table.read("4BI")
        position = 8
        for _ in range(count):
            number, used = table.read("IB" if version else "HB", position)
            position += 5 if version else 3
            indices = table.read(f"{used}{'H' if flags & 1 else 'B'}", position)
            position += used * (2 if flags & 1 else 1)
            mask = 0x7FFF if flags & 1 else 0x7F
            yield (
                number,
                tuple(
                    known[(index & mask) - 1] for index in indices if 0 < index & mask <= len(known)
                ),
            )


def _extents(box: Box, inline: Box | None) -> Iterator[tuple[int, tuple[Extent, ...]]]:
    version, _, _, _, sizes, more_sizes = box.read("6B")
    wide = "I" if version == 2 else "H"
    (count,) = box.read(wide, 6)
    reader = _Fields(box, 6 + struct.calcsize(">" + wide))
    for _ in range(count):
        number = reader.number(struct.calcsize(">" + wide))
        method = reader.number(2) & 15 if version in (1, 2) else 0
        reader.number(2)
        base = reader.number(more_sizes >> 4)
        if method == 1:
            base += inline.start if inline else len(box.data)
        extents = []
        for _ in range(reader.number(2)):
            if version in (1, 2):
                reader.number(more_sizes & 15)
            start = base + reader.number(sizes >> 4)
            size = reader.number(sizes & 15) or max(0, len(box.data) - start)
            extents.append(Extent(start, size))
        if method < 2:  # What is made of other items' data has no place of its own.
            yield number, tuple(extents)


class _Fields:
    def __init__(self, box: Box, offset: int) -> None:
        self._box = box
        self._position = box.start + offset

    def number(self, size: int) -> int:
        end = self._position + size
        if end > self._box.end:
            raise struct.error("the box iloc is too short")
        value = int.from_bytes(self._box.data[self._position : end])
        self._position = end
        return value
