"""Disks: what has reached them and outlives a loss of power, and what is wrong with one.

A rename is atomic for those who look, and no more: after a loss of power the new name may stand for
an empty file, unless the content was flushed before, and the name after it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import IO

# Some file systems cannot flush a directory, or anything; what they promise is their own affair.
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def fault_of(error: BaseException) -> str:
    """Says which fault of a disk is behind an exception, or returns an empty text.

    TensorFlow and Beam have exceptions of their own, which tell it in their texts only.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno) if error.errno in _FAULTS else ""
    text = str(error)
    return next((fault for fault in map(os.strerror, _FAULTS) if fault in text), "")


@contextlib.contextmanager
def named_file(path: str) -> Iterator[None]:
    """Gives the name of a file to a fault of its disk, which the system tells without one.

    Raises:
      OSError: the body has raised it.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FAULTS and error.filename is None:
            error.filename = path
        raise


def sync_file(file: IO[bytes]) -> None:
    """Returns when what was written to a file is on the disk.

    Raises:
      OSError: the disk has failed, so that what was written may be lost.
    """
    file.flush()
    _sync(file.fileno())


def sync_directory(path: str) -> None:
    """Returns when the names in a directory are on the disk.

    Raises:
      OSError: the disk has failed, or there is no such directory.
    """
    # A directory that may be written to but not read cannot be opened.
    with contextlib.suppress(PermissionError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)


def sync_tree(path: str) -> None:
    """Returns when a directory is on the disk, with all that is in it.

    Raises:
      OSError: the disk has failed.
    """
    for directory, _, names in os.walk(path):
        for name in names:
            with open(os.path.join(directory, name), "rb") as file:
                _sync(file.fileno())
        sync_directory(directory)


def make_directories(path: str) -> None:
    """Makes a directory, and those above it that are missing; their names are on the disk then.

    Raises:
      OSError: a directory cannot be made.
    """
    if os.path.isdir(path):
        return
    parent = os.path.dirname(os.path.abspath(path))
    make_directories(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
    if not os.path.isdir(path):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    sync_directory(parent)


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
