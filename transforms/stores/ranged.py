"""Files that are read in parts, wherever they are: the archives that hold images."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from typing import Any

from image_features.transforms.stores import versions
from image_features.transforms.stores.files import open_plain
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.uris import redact_uri


class RangedFile(io.RawIOBase):
    """A file to read forward, with seeks.

    Attributes:
      uri: The location of the file.
      shown: The location as messages may tell it.
      version: The version of the file, which is the same for all that is read; empty if unknown.
      size: The size of the file in bytes; None if unknown.
    """

    def __init__(self, uri: str, file: Any, version: str, size: int | None) -> None:
        self.uri = uri
        self.shown = redact_uri(uri)
        self.version = version
        self.size = size
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._file.close()
        super().close()


def open_ranged(
    uri: str, *, http: HttpPolicy, sleep: Callable[[float], None] = time.sleep
) -> RangedFile:
    """Opens a file wherever it is.

    Raises:
      FetchError: the file cannot be had.
    """
    file = open_plain(uri)
    if "://" in uri:
        return RangedFile(uri, file, "", None)
    status = os.stat(uri)
    return RangedFile(uri, file, versions.of_file(status), status.st_size)
