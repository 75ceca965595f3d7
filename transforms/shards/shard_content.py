"""What lies in a shard's file around its rows, and how they come there."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
from collections.abc import Iterator
from typing import IO, Protocol


class HashingSink:
    """A file for writing that knows its size and digest.

    Args:
      file: The file that takes the bytes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = 0
        self.digest = hashlib.sha256()
        self.closed = False

    def write(self, data: bytes) -> int:
        """Writes bytes; returns their number."""
        self.size += len(data)
        self.digest.update(data)
        self._file.write(data)
        return len(data)

    def tell(self) -> int:
        """Returns the number of bytes so far."""
        return self.size

    def flush(self) -> None:
        """Does nothing, as the file is flushed when it is closed."""


class Rows(Protocol):
    """What takes the rows of a shard, in order and in blocks that need not end with a row."""

    def write(self, data: bytes, /) -> object:
        """Takes a block."""


class ShardContent(Protocol):
    """The content of a shard's file: the same rows always give the same bytes."""

    def open(self, sink: HashingSink, rows: int) -> contextlib.AbstractContextManager[Rows]:
        """Begins a file; what the body writes are the bytes of its rows, and its end ends it.

        Args:
          sink: The file.
          rows: The number of its rows.
        """


@dataclasses.dataclass(frozen=True)
class PlainContent:
    """Rows and nothing else.

    Attributes:
      compressed: Whether they are a gzip stream.
    """

    compressed: bool = False

    @contextlib.contextmanager
    def open(self, sink: HashingSink, rows: int) -> Iterator[Rows]:
        """Begins a file."""
        if not self.compressed:
            yield sink
            return
        # The header has no name and no time, so that the same rows are the same bytes.
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=sink, mtime=0) as out:  # type: ignore[arg-type]
            yield out
