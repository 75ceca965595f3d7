"""Rows that wait for others of their shard, on their way to pieces."""

from __future__ import annotations

from collections.abc import Iterator

from image_features.transforms.shards.staging import Content, ShardRow

# A piece is held in memory until it is whole.
PIECE_BYTES = 4 * 2**20
PIECES_WAITING = 4
WAITING_BYTES = PIECES_WAITING * PIECE_BYTES
# It is half of what a slice has, of which some rows may have failed.
WORTH_A_PIECE = 128
# So many rows of a shard in a row are a slice of files: what was made of it is not to be lost.
_SLICE = 8
# So many pieces at once are written as one file, where stores can read a part of it alone.
WORTH_A_SHEAF = 8


class Waiting:
    """The rows of a bundle by their shards.

    A piece is due when it is large enough, or where the shard changes after a slice, as rows of
    files come shard by shard. Rows of an archive come for all shards in turn: they wait for each
    other, up to a bound for all shards together, and are written together.

    Args:
      piece_bytes: The size of a piece that is large enough.
      sheaves: Whether pieces that are due at once are written as one file.
    """

    def __init__(self, piece_bytes: int = PIECE_BYTES, *, sheaves: bool = False) -> None:
        self._piece_bytes = piece_bytes
        self._sheaves = sheaves
        self._contents: dict[int, Content] = {}
        self._last, self._run = -1, 0
        self._size = 0

    def add(self, row: ShardRow) -> Iterator[list[Content]]:
        """Adds a row; yields what is to be written now, each list as one file."""
        if row.shard != self._last:
            before = self._contents.get(self._last)
            if before and (self._run >= _SLICE or len(before.keys) >= WORTH_A_PIECE):
                yield [self._take(before.shard)]
            self._last, self._run = row.shard, 0
        self._run += 1
        content = self._contents.setdefault(row.shard, Content(row.shard))
        content.add(row)
        self._size += len(row.payload)
        if content.size >= self._piece_bytes:
            yield [self._take(row.shard)]
        elif self._size >= PIECES_WAITING * self._piece_bytes:
            yield from self.rest()

    def rest(self) -> Iterator[list[Content]]:
        """Yields all that waits."""
        contents = [self._take(shard) for shard in list(self._contents)]
        if self._sheaves and len(contents) >= WORTH_A_SHEAF:
            yield contents
        else:
            yield from ([content] for content in contents)

    def _take(self, shard: int) -> Content:
        content = self._contents.pop(shard)
        self._size -= content.size
        return content
