"""Rows on their way to pieces, which wait for others of their shard."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

# A piece is held in memory until it is whole.
PIECE_BYTES = 4 * 2**20
WAITING_BYTES = 16 * 2**20
# It is half of what a slice has, of which some rows may have failed.
_WORTH_A_PIECE = 128


@dataclasses.dataclass(frozen=True)
class ShardRow:
    """A serialised row on its way to a shard.

    Attributes:
      shard: The shard.
      key: The key of the row, by which rows are sorted.
      payload: The bytes of the row in the shard.
      label: The label under which the row is counted; empty for none.
      note: What the row tells the shard's index.
    """

    shard: int
    key: str
    payload: bytes
    label: str = ""
    note: bytes = b""


@dataclasses.dataclass
class Content:
    """The rows of one shard that are gathered for a piece."""

    shard: int
    keys: list[str] = dataclasses.field(default_factory=list)
    payloads: list[bytes] = dataclasses.field(default_factory=list)
    notes: list[bytes] = dataclasses.field(default_factory=list)
    labels: Counter[str] = dataclasses.field(default_factory=Counter)
    size: int = 0

    def add(self, row: ShardRow) -> None:
        """Adds a row."""
        self.keys.append(row.key)
        self.payloads.append(row.payload)
        self.notes.append(row.note)
        self.labels[row.label] += 1
        self.size += len(row.payload)


class Waiting:
    """The rows of a bundle by their shards.

    A piece is due when it is large enough, or is worth a file where the shard changes, as rows of
    files come shard by shard. Rows of an archive come for all shards in turn: they wait for each
    other, up to a bound for all shards together.
    """

    def __init__(self) -> None:
        self._contents: dict[int, Content] = {}
        self._last: int | None = None
        self._size = 0

    def add(self, row: ShardRow) -> Iterator[Content]:
        """Adds a row; yields what is to be written now."""
        last, self._last = self._last, row.shard
        if last is not None and last != row.shard:
            before = self._contents.get(last)
            if before is not None and len(before.keys) >= _WORTH_A_PIECE:
                yield self._take(last)
        content = self._contents.setdefault(row.shard, Content(row.shard))
        content.add(row)
        self._size += len(row.payload)
        if content.size >= PIECE_BYTES:
            yield self._take(row.shard)
        elif self._size >= WAITING_BYTES:
            yield from self.rest()

    def rest(self) -> Iterator[Content]:
        """Yields all that waits."""
        while self._contents:
            yield self._take(next(iter(self._contents)))

    def _take(self, shard: int) -> Content:
        content = self._contents.pop(shard)
        self._size -= content.size
        return content
