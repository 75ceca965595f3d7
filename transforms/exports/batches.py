"""Rows of shards that are taken together, some MiB at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from image_features.transforms.shards.record_format import RECORDS
from image_features.transforms.shards.shard_content import Rows

_ROWS = 1024
_BYTES = 8 * 2**20


@contextlib.contextmanager
def in_batches(take: Callable[[list[bytes]], object]) -> Iterator[Rows]:
    """Gives the body what takes the bytes of rows; hands payloads on, so many that it pays.

    Args:
      take: The function that takes payloads, which are never none.

    Raises:
      ValueError: the bytes do not end with a whole row.
    """
    waiting: list[bytes] = []
    size = 0

    def add(payload: bytes) -> None:
        nonlocal size
        waiting.append(payload)
        size += len(payload)
        if len(waiting) >= _ROWS or size >= _BYTES:
            hand_over()

    def hand_over() -> None:
        nonlocal size
        payloads = waiting.copy()
        waiting.clear()
        size = 0
        take(payloads)

    with RECORDS.stream(add).whole() as stream:
        yield stream
    if waiting:
        hand_over()
