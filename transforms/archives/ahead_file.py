"""A remote archive of which a thread receives the next blocks while earlier ones are listed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from image_features.transforms.runtime.read_ahead import read_ahead
from image_features.transforms.stores.ranged import RangedFile
from image_features.transforms.stores.remote_file import READ_THROUGH, RemoteFile
from image_features.transforms.stores.seeking import SeekingFile

# Some images at a time, so that threads seldom wake each other.
_PART = 2**20
# What is ahead comes for nothing where listing ends early.
_MAX_AHEAD = 4 * 2**20
_BUFFER = 64 * 1024


@contextlib.contextmanager
def received_ahead(file: RangedFile) -> Iterator[RangedFile]:
    """Lends a file so that reading it forward waits less; one that is not remote as it is."""
    if not isinstance(file.raw, RemoteFile):
        yield file
        return
    with RangedFile(_AheadFile(file.raw), file.uri, _BUFFER) as ahead:
        yield ahead


class _AheadFile(SeekingFile):
    """A file that a thread reads forward from where it was last sought; closing ends the thread.

    Only that thread uses the file from its first block on, until it has ended.
    """

    def __init__(self, file: RemoteFile) -> None:
        super().__init__(file.shown)
        self._file = file
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._blocks: Generator[memoryview, None, None] | None = None
        # The block that was read last, and its offset.
        self._block = memoryview(b"")
        self._at = 0

    @property
    def version(self) -> str:
        """The version of the file, as `RemoteFile` has it."""
        self._be_told()
        return self._file.version

    @property
    def size(self) -> int | None:
        """The size of the file, as `RemoteFile` has it."""
        self._be_told()
        return self._file.size

    @property
    def in_parts(self) -> bool:
        """Whether reading may begin anywhere, as `RemoteFile` has it."""
        self._be_told()
        return self._file.in_parts

    def readinto(self, buffer: Any) -> int:
        block = self._found(self._position)
        size = min(len(buffer), len(block))
        buffer[:size] = block[:size]
        self._position += size
        return size

    def close(self) -> None:
        self._leave()
        self._executor.shutdown()
        super().close()

    def _find_size(self) -> int:
        self._leave()
        return self._file.seek(0, os.SEEK_END)

    def _be_told(self) -> None:
        if self._blocks is None:
            self._found(self._position)

    def _found(self, position: int) -> memoryview:
        """Returns some bytes from a position on; none at the end of the file."""
        gap = position - self._at - len(self._block)
        goes_on = self._blocks is not None and position >= self._at
        if not goes_on or (gap > READ_THROUGH and self._file.in_parts):
            self._leave()
            self._file.seek(position)
            self._at = position
        while position >= self._at + len(self._block):
            self._at += len(self._block)
            self._block = self._next()
            if not self._block:
                return self._block
        self._block = self._block[position - self._at :]
        self._at = position
        return self._block

    def _next(self) -> memoryview:
        if self._blocks is None:
            self._blocks = self._received()
        try:
            return next(self._blocks, memoryview(b""))
        except BaseException:
            self._leave()  # It would look like the end of the file.
            raise

    def _received(self) -> Generator[memoryview, None, None]:
        parts = read_ahead(
            _parts_of(self._file),
            executor=self._executor,
            helped=None,
            max_bytes=_MAX_AHEAD,
            size_of=_size_of,
        )
        with contextlib.closing(cast("Generator[list[memoryview], None, None]", parts)):
            for part in parts:
                yield from part

    def _leave(self) -> None:
        """Waits until nobody else uses the file."""
        if self._blocks is not None:
            self._blocks.close()
            self._executor.submit(int).result()  # The thread does one thing after the other.
        self._blocks, self._block = None, memoryview(b"")


def _parts_of(file: RemoteFile) -> Iterator[list[memoryview]]:
    """Yields what a file has from where it is on, some blocks at a time."""
    part: list[memoryview] = []
    try:
        while block := file.block():
            part.append(block)
            if _size_of(part) >= _PART:
                yield part
                part = []
    except Exception:
        yield part  # What came before the failure counts as before.
        raise
    yield part


def _size_of(part: list[memoryview]) -> int:
    return sum(map(len, part))
