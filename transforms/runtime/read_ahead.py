"""What comes one after the other from a store, read while what was read is worked on."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Generic, TypeVar

from image_features.transforms.runtime.concurrency import CpuPool

Item = TypeVar("Item")


def read_ahead(
    items: Iterator[Item],
    *,
    executor: Executor,
    helped: CpuPool | None,
    max_bytes: int,
    size_of: Callable[[Item], int],
) -> Iterator[Item]:
    """Yields items in their order, of which a thread takes the next ones meanwhile.

    The items are closed in that thread when they end, and when nobody wants more of them.

    Args:
      items: The items, which may raise.
      executor: The pool that has the thread.
      helped: The pool that the caller helps while it waits; None lets it wait.
      max_bytes: The most bytes that wait; an item that is larger waits alone.
      size_of: Tells the size of an item in bytes.
    """
    ahead = _Ahead(items, max_bytes, size_of)
    future = executor.submit(ahead.run)
    try:
        while True:
            while helped is not None and not ahead.ready() and helped.help():
                pass
            if not ahead.wait():
                break
            yield ahead.take()
        future.result()  # It raises what the items did.
    finally:
        ahead.stop()


class _Ahead(Generic[Item]):
    """The items between the thread that takes them and the caller."""

    def __init__(
        self, items: Iterator[Item], max_bytes: int, size_of: Callable[[Item], int]
    ) -> None:
        self._items = items
        self._max_bytes = max_bytes
        self._size_of = size_of
        self._there: collections.deque[tuple[Item, int]] = collections.deque()
        self._bytes = 0
        self._ended = self._stopped = self._is_full = False
        self._changed = threading.Condition()

    def run(self) -> None:
        """Takes items until they end or nobody wants more."""
        try:
            for item in self._items:
                size = self._size_of(item)
                with self._changed:
                    if self._bytes + size > self._max_bytes:
                        # Woken for each item, threads would take turns all the time.
                        self._is_full = True
                        self._changed.wait_for(self._has_room)
                        self._is_full = False
                    if self._stopped:
                        return
                    self._there.append((item, size))
                    self._bytes += size
                    self._changed.notify_all()
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def ready(self) -> bool:
        """Whether the caller need not wait."""
        return bool(self._there) or self._ended

    def wait(self) -> bool:
        """Waits for an item; returns whether there is one."""
        with self._changed:
            self._changed.wait_for(self.ready)
            return bool(self._there)

    def take(self) -> Item:
        """Returns the next item."""
        with self._changed:
            item, size = self._there.popleft()
            self._bytes -= size
            if self._is_full and self._has_room():
                self._changed.notify_all()
            return item

    def stop(self) -> None:
        """Lets the thread end at its next item."""
        with self._changed:
            self._stopped = True
            self._there.clear()
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return self._stopped or not self._there or 2 * self._bytes <= self._max_bytes
