"""What a .zip file holds, by its directory or by what is left of it."""

from __future__ import annotations

import contextlib
import itertools
import operator
from collections.abc import Iterator
from typing import IO

from image_features.transforms.archives.member import CorruptArchiveError, NotAnArchiveError
from image_features.transforms.archives.zip_directory import (
    DamagedZip,
    find_directory,
    read_directory,
)
from image_features.transforms.archives.zip_entries import ZipEntry
from image_features.transforms.archives.zip_walk import find_first, walk

# Directories are mostly in order, and so many entries are put in order at a time.
_WINDOW = 2**15
# What is found without a directory is read to be found.
_WALKED = 256
_BEGIN = operator.attrgetter("begin")


def list_zip(file: IO[bytes], size: int, shown: str) -> Iterator[list[ZipEntry]]:
    """Yields the entries in the order in which they lie in the file, many at a time.

    Those of an archive with very many, in a directory that is in another order, are in order only
    within each list.

    Args:
      file: The archive, which may be read elsewhere between two lists.
      size: Its size.
      shown: Its location, for messages.

    Raises:
      NotAnArchiveError: it is no zip.
      CorruptArchiveError: in the end, if it is damaged.
      FetchError: it is one part of several.
    """
    if not size:
        raise NotAnArchiveError(f"{shown} is empty, and no zip.")
    directory = find_directory(file, size, shown)
    last = None
    try:
        if directory is None:
            first = find_first(file)
            if first is None:
                raise NotAnArchiveError(f"{shown} is no zip: it has neither directory nor entries.")
            yield from _walked(walk(file, first, size))
            return
        entries = read_directory(file, directory)
        while window := list(itertools.islice(entries, _WINDOW)):
            window.sort(key=_BEGIN)
            yield window
            last = window[-1]
        if directory.cut:
            raise CorruptArchiveError(f"{shown} is cut short at byte {size}, within its comment")
    except DamagedZip as error:
        if directory is not None:
            yield from _behind(file, last, size)
        raise CorruptArchiveError(f"{shown} {error}") from error


def _walked(entries: Iterator[ZipEntry]) -> Iterator[list[ZipEntry]]:
    window: list[ZipEntry] = []
    try:
        for entry in entries:
            window.append(entry)
            if len(window) == _WALKED:
                yield window
                window = []
    except DamagedZip:
        yield window
        raise


def _behind(file: IO[bytes], last: ZipEntry | None, size: int) -> Iterator[list[ZipEntry]]:
    """Yields the entries behind the last one that a damaged directory has told."""
    first = find_first(file) if last is None else last.begin
    if first is None:
        return
    with contextlib.suppress(DamagedZip):
        for window in _walked(walk(file, first, size)):
            yield [entry for entry in window if last is None or entry.begin > last.begin]
