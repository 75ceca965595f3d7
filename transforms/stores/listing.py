"""The files that a directory has, wherever it is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from apache_beam.io.filesystems import FileSystems

# So many requests are on their way at once, where each is waited for.
_AT_ONCE = 16
_Item = TypeVar("_Item")
_Found = TypeVar("_Found")


class Listed(NamedTuple):
    """A file in a listing.

    Attributes:
      path: The path of the file.
      size: The size of the file in bytes.
      written: The Unix time of its last change; 0 if the store does not tell.
    """

    path: str
    size: int
    written: float


def list_files(directory: str, prefix: str = "") -> list[Listed]:
    """Lists the files right in a directory whose names begin so; none if there is no directory.

    On disks no character of the path stands for others, as it does in a pattern.

    Raises:
      OSError: the directory cannot be listed.
    """
    if "://" in directory:
        return _matches(f"{directory}/{prefix}*")
    try:
        with os.scandir(directory) as entries:
            return [
                found
                for entry in entries
                if entry.name.startswith(prefix) and (found := _entry(entry))
            ]
    except FileNotFoundError:
        return []


def list_tree(directory: str) -> Iterator[Listed]:
    """Yields the files in a directory and below, of which there may be millions on disks."""
    if "://" in directory:
        yield from _matches(f"{directory}/**")
        return
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from list_tree(entry.path)
            elif found := _entry(entry):
                yield found


def side_by_side(
    place: str, look: Callable[[_Item], _Found], items: Iterable[_Item]
) -> list[_Found]:
    """Returns what a function finds of each item; in an object store it looks at many at once.

    Args:
      place: Where it looks; on disks there is nothing to wait for.
      look: The function, which threads may call.
      items: The items.
    """
    if "://" not in place:
        return [look(item) for item in items]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(look, items))


def _entry(entry: os.DirEntry[str]) -> Listed | None:
    """Returns a file of a local listing, unless it is none or has gone meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        if not entry.is_dir():
            status = entry.stat()
            return Listed(entry.path, status.st_size, status.st_mtime)
    return None


def _matches(pattern: str) -> list[Listed]:
    return [
        Listed(file.path, file.size_in_bytes, file.last_updated_in_seconds or 0.0)
        for file in FileSystems.match([pattern])[0].metadata_list
    ]
