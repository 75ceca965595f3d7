"""The store of every scheme that only Beam's file systems know."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from image_features.system.paths import absolute
from image_features.transforms.stores.files import reason_of
from image_features.transforms.stores.retries import (
    FetchError,
    PassingError,
    RetryPolicy,
    too_large,
    with_retries,
)
from image_features.transforms.stores.store import Content
from image_features.transforms.stores.uris import redact_text
from image_features.transforms.values import Reason

SCHEMES = ("s3", "hdfs", "azfs")
_BLOCK = 2**20


class BeamStore:
    """Files of Beam's file systems, which tell no versions.

    Args:
      retries: When to try again.
      max_bytes: Larger files fail while they are read.
      sleep: Waits between attempts; a fake in tests.
    """

    def __init__(
        self, retries: RetryPolicy, max_bytes: int, sleep: Callable[[float], None]
    ) -> None:
        self._retries = retries
        self._max_bytes = max_bytes
        self._sleep = sleep

    def read(self, uri: str) -> Content:
        """Reads a whole file.

        Raises:
          FetchError: the file cannot be had.
        """
        data, attempts = with_retries(lambda: self._read_once(uri), self._retries, self._sleep)
        return Content(data, "", attempts)

    def is_unchanged(self, uri: str, version: str) -> bool:
        """Cannot tell, and says no."""
        return False

    def close(self) -> None:
        """Does nothing: Beam keeps the connections."""

    def _read_once(self, uri: str) -> bytes:
        try:
            with contextlib.closing(
                FileSystems.open(absolute(uri), compression_type=CompressionTypes.UNCOMPRESSED)
            ) as file:
                return _read_bounded(file, uri, self._max_bytes)
        except FetchError:
            raise
        except Exception as error:  # Each file system has failures of its own.
            reason = reason_of(error)
            kind = PassingError if reason is Reason.READ_FAILED else FetchError
            raise kind(reason, f"{uri} cannot be read: {redact_text(str(error))[:300]}") from error


def _read_bounded(file: Any, uri: str, max_bytes: int) -> bytes:
    blocks = []
    size = 0
    while block := file.read(_BLOCK):
        size += len(block)
        if size > max_bytes:
            raise too_large(uri, max_bytes)
        blocks.append(block)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)
