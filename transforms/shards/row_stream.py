"""Rows that come in blocks of bytes, handed on one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


class RowStream:
    """Takes the bytes of rows in blocks of any size, and hands each row on when it is whole.

    Args:
      head: The number of bytes at a row's beginning that tell its size.
      size_of: A function that returns the size of a row, from these bytes.
      add: The function that takes a row.
    """

    def __init__(
        self, head: int, size_of: Callable[[bytes], int], add: Callable[[bytes], object]
    ) -> None:
        self._head = head
        self._size_of = size_of
        self._add = add
        self._bytes = bytearray()
        self._needed = head

    def write(self, data: bytes) -> int:
        """Takes a block."""
        self._bytes += data
        while len(self._bytes) >= self._needed:
            size = self._size_of(bytes(self._bytes[: self._head]))
            if len(self._bytes) < size:
                self._needed = size
                break
            row = bytes(self._bytes[:size])
            del self._bytes[:size]
            self._needed = self._head
            self._add(row)
        return len(data)

    @contextlib.contextmanager
    def whole(self) -> Iterator[RowStream]:
        """Hands the stream to the body, which must end with a whole row.

        Raises:
          ValueError: it does not.
        """
        yield self
        if self._bytes:
            raise ValueError(f"{len(self._bytes)} bytes are left of a row that is not whole.")
