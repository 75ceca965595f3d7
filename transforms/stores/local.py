"""The store of local paths."""

from __future__ import annotations

import functools
import os
import stat

from image_features.transforms.stores import versions
from image_features.transforms.stores.retries import FetchError, too_large
from image_features.transforms.stores.store import Content, Look
from image_features.transforms.values import Reason

_BLOCK = 2**20


class LocalStore:
    """Files on disks, read in one attempt.

    Args:
      max_bytes: Larger files fail before they are read.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def read(self, path: str, look: Look | None = None) -> Content:
        """Reads a whole file, or what is enough of it.

        Raises:
          FetchError: the file is not there, is larger than allowed, or is no regular file.
          OSError: the disk fails.
        """
        descriptor, status = open_regular(path)
        try:
            if status.st_size > self._max_bytes:
                raise too_large(path, self._max_bytes)
            if look and (enough := look(functools.partial(_part, descriptor))):
                version = versions.of_file(status)
                return Content(enough.beginning, version, preview=enough.preview)
            # A buffered reader would cost as much again as the reading.
            blocks, left = [], status.st_size
            while left and (block := os.read(descriptor, min(_BLOCK, left))):
                blocks.append(block)
                left -= len(block)
            data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
            return Content(data, versions.of_file(status))
        finally:
            os.close(descriptor)

    def is_unchanged(self, path: str, version: str) -> bool:
        """Whether a file has the size and time of change of a version."""
        return versions.of_file(os.stat(path)) == version

    def close(self) -> None:
        """Does nothing: files are closed when they are read."""


def _part(descriptor: int, begin: int, end: int) -> bytes:
    """Reads a part of an open file, as `store.Read` does."""
    return os.pread(descriptor, end - begin, begin) if begin < end else b""


def open_regular(path: str) -> tuple[int, os.stat_result]:
    """Opens a file, and nothing else, for reading; returns its descriptor and its status.

    Raises:
      FetchError: the file is not there, may not be read, or is no regular file.
      OSError: the disk fails.
    """
    try:
        # Opening a pipe would wait for a writer that never comes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FetchError(Reason.NOT_FOUND, f"{path} does not exist.") from error
    except PermissionError as error:
        raise FetchError(Reason.ACCESS_DENIED, f"{path} may not be read.") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FetchError(Reason.READ_FAILED, f"{path} is not a regular file.")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status
