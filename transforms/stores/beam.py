"""The store of every scheme that only Beam's file systems know."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

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
from image_features.transforms.stores.seeking import SeekingFile
from image_features.transforms.stores.store import Content, Look
from image_features.transforms.stores.uris import redact_text, redact_uri
from image_features.transforms.values import Reason

Out = TypeVar("Out")
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

    def read(self, uri: str, look: Look | None = None) -> Content:
        """Reads a whole file: each part would be a request for the file's description, too.

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
        with beams_failures(uri), contextlib.closing(open_beam(uri)) as file:
            return _read_bounded(file, uri, self._max_bytes)


class BeamFile(SeekingFile):
    """A file of Beam's file systems that seeks, and is opened again where it fails.

    Args:
      uri: The location of the file.
      retries: When to try again.
      sleep: Waits between attempts; a fake in tests.

    Attributes:
      version: An empty text, since these file systems tell none.
      in_parts: Whether reading may begin anywhere at the same cost, which it may.
    """

    version = ""
    in_parts = True

    def __init__(self, uri: str, retries: RetryPolicy, sleep: Callable[[float], None]) -> None:
        super().__init__(redact_uri(uri))
        self._uri = uri
        self._retries = retries
        self._sleep = sleep
        self._file: Any = None

    @functools.cached_property
    def size(self) -> int:
        """The size of the file."""
        return self._trying(lambda file: int(file.seek(0, os.SEEK_END) or file.tell()))

    def _find_size(self) -> int:
        return self.size

    def readinto(self, buffer: Any) -> int:
        def read(file: Any) -> bytes:
            if file.tell() != self._position:
                file.seek(self._position)
            return bytes(file.read(len(buffer)))

        block = self._trying(read)
        buffer[: len(block)] = block
        self._position += len(block)
        return len(block)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()

    def _trying(self, action: Callable[[Any], Out]) -> Out:
        def attempt() -> Out:
            with beams_failures(self._uri):
                try:
                    self._file = self._file or open_beam(self._uri)
                    return action(self._file)
                except BaseException:
                    self._file = None
                    raise

        return with_retries(attempt, self._retries, self._sleep)[0]


def open_beam(uri: str) -> Any:
    """Opens a file as it is."""
    return FileSystems.open(absolute(uri), compression_type=CompressionTypes.UNCOMPRESSED)


@contextlib.contextmanager
def beams_failures(uri: str) -> Iterator[None]:
    """Turns the failures of Beam's file systems, each of which has its own, into ours."""
    try:
        yield
    except FetchError:
        raise
    except Exception as error:
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
