"""Threads within a bundle: many items in flight, bounded, their order kept."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

In = TypeVar("In")
Out = TypeVar("Out")


def in_global_window(row: Any) -> Any:
    """Gives a row that finish_bundle yields the window that process gives its own."""
    window = GlobalWindow()
    if isinstance(row, TaggedOutput):
        value = WindowedValue(row.value, window.max_timestamp(), [window])
        return TaggedOutput(row.tag, value)
    return WindowedValue(row, window.max_timestamp(), [window])


class OrderedPool(Generic[In, Out]):
    """Maps a function over a bundle's items on threads; results come in order.

    Args:
      function: What to do with an item; must be safe to call from several threads.
      threads: Items worked on at once.
      max_items: Items submitted and not yet yielded, at most.
      max_bytes: Sum of their sizes, at most; one larger item passes alone.
      size_of: The size of a result in bytes, where that differs from its item's.
    """

    def __init__(
        self,
        function: Callable[[In], Out],
        *,
        threads: int,
        max_items: int,
        max_bytes: int = 2**63,
        size_of: Callable[[Out], int] | None = None,
    ) -> None:
        self._function = function
        self._pool = ThreadPoolExecutor(threads)
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._size_of = size_of
        self._flying: collections.deque[tuple[Future[Out], int]] = collections.deque()

    def submit(self, item: In, size: int = 0) -> Iterator[Out]:
        """Starts an item; yields the oldest results, waiting where bounds are reached.

        Args:
          item: What to work on.
          size: Its size in bytes, or a guess at its result's.
        """
        while self._flying and (
            len(self._flying) >= self._max_items or self.bytes + size > self._max_bytes
        ):
            yield self._take()
        self._flying.append((self._pool.submit(self._function, item), size))
        while self._flying and self._flying[0][0].done():
            yield self._take()

    def drain(self) -> Iterator[Out]:
        """Yields all that is left."""
        while self._flying:
            yield self._take()

    def close(self) -> None:
        """Forgets what is in flight and ends the threads."""
        self._flying.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def bytes(self) -> int:
        """Bytes in flight: of results where they are there, else what was said."""
        if self._size_of is None:
            return sum(size for _, size in self._flying)
        return sum(
            self._size_of(future.result()) if _succeeded(future) else size
            for future, size in self._flying
        )

    def _take(self) -> Out:
        return self._flying.popleft()[0].result()


def _succeeded(future: Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
