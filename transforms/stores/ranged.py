"""Files that are read in parts, wherever they are: the archives that hold images."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from typing import Any

from image_features.system import descriptors
from image_features.transforms.stores import versions
from image_features.transforms.stores.beam import BeamFile
from image_features.transforms.stores.gcs_ranges import GcsRanges, shared_client
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.http_ranges import HttpRanges
from image_features.transforms.stores.local import open_regular
from image_features.transforms.stores.range_reader import RangeReader
from image_features.transforms.stores.reach import readable_scheme
from image_features.transforms.stores.remote_file import RemoteFile
from image_features.transforms.stores.uris import is_http, redact_uri

# The headers of a .tar file lie apart, so that more than one page would be read for nothing.
_LOCAL_BUFFER = 4 * 1024
_BUFFER = 64 * 1024
# Beam's file systems make a request of every read.
_BEAM_BUFFER = 4 * 2**20


class RangedFile(io.BufferedReader):
    """A file to read in any order, best forward: that is one request wherever the file is.

    It is opened without a request. The first read, or the first question for the version or the
    size, tells these; all that is read is of that version, or fails as changed.

    Args:
      raw: The file without a buffer, which has a version, a size and `in_parts`.
      uri: The location of the file.
      buffer_size: The bytes that a small read takes at once.

    Attributes:
      uri: The location of the file.
      shown: The location as messages may tell it.
    """

    raw: Any

    def __init__(self, raw: Any, uri: str, buffer_size: int) -> None:
        super().__init__(raw, buffer_size)
        self.uri = uri
        self.shown = redact_uri(uri)

    @property
    def version(self) -> str:
        """The version of the file, as of a loose one; empty if unknown."""
        return str(self.raw.version)

    @property
    def size(self) -> int | None:
        """The size of the file in bytes; None if it is not told before the end."""
        size: int | None = self.raw.size
        return size

    @property
    def in_parts(self) -> bool:
        """Whether reading may begin anywhere; otherwise all that comes before is read, too."""
        return bool(self.raw.in_parts)


class _LocalFile(io.FileIO):
    """A local file with what it was when it was opened."""

    in_parts = True

    def __init__(self, path: str) -> None:
        descriptor, status = open_regular(path)
        super().__init__(descriptor)
        self.version = versions.of_file(status)
        self.size = status.st_size


def open_ranged(
    uri: str, *, http: HttpPolicy, sleep: Callable[[float], None] = time.sleep
) -> RangedFile:
    """Opens a file wherever it is; a remote one is not asked for before it is read.

    Args:
      uri: The location: a local path, or one of gs://, http(s) or another of Beam's schemes.
      http: How patient and how trusting reading is.
      sleep: Waits between attempts; a fake in tests.

    Raises:
      FetchError: the file cannot be had, also while it is read.
      OSError: the disk fails.
    """
    scheme = readable_scheme(uri)
    if not scheme:
        file = descriptors.patiently(lambda: _LocalFile(uri), sleep)
        return RangedFile(file, uri, _LOCAL_BUFFER)
    if reader := _reader(uri, http, sleep):
        return RangedFile(RemoteFile(reader), uri, _BUFFER)
    return RangedFile(BeamFile(uri, http.retries, sleep), uri, _BEAM_BUFFER)


def version_of(uri: str, *, http: HttpPolicy, sleep: Callable[[float], None] = time.sleep) -> str:
    """Asks for the version that `open_ranged` would read, at the cost of a byte.

    Returns:
      The version; empty if it is unknown.

    Raises:
      FetchError: the file cannot be reached.
      OSError: there is no such local file.
    """
    if not readable_scheme(uri):
        return versions.of_file(os.stat(uri))
    reader = _reader(uri, http, sleep)
    return reader.ask_version() if reader else ""


def _reader(uri: str, http: HttpPolicy, sleep: Callable[[float], None]) -> RangeReader | None:
    """Returns the reader of a location that is read over HTTP; None for another."""
    if is_http(uri):
        return RangeReader(HttpRanges(uri, http), http, sleep=sleep)
    if readable_scheme(uri) == "gs":
        client = shared_client(http.connect_timeout, http.read_timeout)
        return RangeReader(GcsRanges(uri, client), http, sleep=sleep)
    return None
