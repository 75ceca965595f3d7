"""How much memory the decoding of images may take in this process at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

_MOST = 2**30


class MemoryGate:
    """Lets through who asks for memory while there is some; what is larger than all passes alone.

    Args:
      most: The most bytes that are given out at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[object, int] = {}
        self._freed = threading.Condition()
        # Who waits keeps others behind it, or what is large would wait for all that is small.
        self._turn = threading.Lock()

    @contextmanager
    def taking(self, size: int) -> Iterator[None]:
        """Holds so many bytes during a `with` block, when there are as many."""
        holder = object()  # A signal may interrupt between any two steps: only what is held counts.
        try:
            with self._turn, self._freed:
                while self._held and sum(self._held.values()) + size > self._most:
                    self._freed.wait()
                self._held[holder] = size
            yield
        finally:
            with self._freed:
                self._held.pop(holder, None)
                self._freed.notify_all()


_gate = MemoryGate(_MOST)


def _renew() -> None:
    global _gate
    _gate = MemoryGate(_MOST)


# The threads that hold memory do not come along to a fork.
os.register_at_fork(after_in_child=_renew)


def decoding_memory(size: int) -> AbstractContextManager[None]:
    """Waits until the process may use so many bytes more for decoding, and holds them."""
    return _gate.taking(size)
