"""Where the parts and the numbers of a file are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Literal

# A file with more is dissected so far only: a mutation meets one of them.
MOST = 2000
Order = Literal["big", "little", "text"]


@dataclasses.dataclass(frozen=True)
class Part:
    """A span that can be taken out, doubled or moved.

    Attributes:
      start: Its first byte.
      end: The byte after its last.
      parents: The first bytes of the parts that it lies in, the outermost first.
    """

    start: int
    end: int
    parents: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """The bytes of the part."""
        return self.end - self.start


@dataclasses.dataclass(frozen=True)
class Number:
    """A number that means something to a decoder."""

    start: int
    size: int
    order: Order


def nothing(data: bytes) -> Iterator[Part | Number]:
    """Knows nothing of a file."""
    yield from ()


def as_it_is(part: bytes) -> bytes:
    """Leaves a part without sums and lengths alone."""
    return part


def no_sizes(data: bytearray, parent: int, more: int) -> None:
    """Leaves parents without sizes alone."""


@dataclasses.dataclass(frozen=True)
class Format:
    """How the files of a format are made.

    Attributes:
      name: The name of the format.
      is_for: Whether a file is of the format, by its first bytes.
      dissect: Yields the parts and numbers of a file; it may raise where the file is damaged.
      seal: Returns a part with the lengths and sums that it needs.
      grow: Tells the parent that begins there that it holds so many bytes more.
      moves: Whether parts may be moved; where they are at fixed places, they are overwritten.
    """

    name: str
    is_for: Callable[[bytes], bool]
    dissect: Callable[[bytes], Iterator[Part | Number]] = nothing
    seal: Callable[[bytes], bytes] = as_it_is
    grow: Callable[[bytearray, int, int], None] = no_sizes
    moves: bool = True

    def anatomy(self, data: bytes) -> tuple[list[Part], list[Number]]:
        """Returns the parts and numbers of a file, as far as it is sound."""
        parts: list[Part] = []
        numbers: list[Number] = []
        found = self.dissect(data)
        while len(parts) < MOST and len(numbers) < MOST:
            try:
                piece = next(found)
            except Exception:  # A seed may be damaged anywhere: that ends its dissection.
                break
            if isinstance(piece, Part):
                if piece.start < piece.end <= len(data):
                    parts.append(piece)
            elif piece.start + piece.size <= len(data):
                numbers.append(piece)
        return parts, numbers


def fields(start: int, sizes: str, order: Order) -> Iterator[Number]:
    """Yields numbers that follow one another; each digit is a size in bytes."""
    for size in map(int, sizes):
        yield Number(start, size, order)
        start += size
